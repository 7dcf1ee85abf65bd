"""
===========================
What does a component mean?
===========================

The components of :class:`~skvae.ConvVAETransformer` have no names. Three displays show what they
stand for: how much each one tells about a picture, what a picture becomes when one of them changes,
and all pictures in the plane of two of them.
"""

# %%
# Train on handwritten digits
# ---------------------------
import matplotlib.pyplot as plt
from _datasets import load

from skvae import (
    ComponentInformationDisplay,
    ConvVAETransformer,
    LatentManifoldDisplay,
    LatentTraversalDisplay,
)

digits = load("mnist")
images = digits.train_images[:6_000]
vae = ConvVAETransformer(n_components=10, max_iter=8, random_state=0).fit(images)

# %%
# How much does each component tell?
# ----------------------------------
# The KL divergence of a component says, in nats, how much it tells about a picture, on average. The
# components are sorted by it. An idle one would be at 0.
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ComponentInformationDisplay.from_estimator(vae, ax=ax)
total = vae.kl_per_component_.sum()
ax.set_title(f"What each component tells about a digit: {total:.1f} nats in all")
plt.show()

# %%
# What changes with it?
# ---------------------
# The middle column is a digit after its way through the model. Each row changes one component, by
# up to 3 standard deviations of the prior. A component is not one property such as the slant: it
# changes what varies together in the pictures.
fig, ax = plt.subplots(figsize=(7.4, 6.2), layout="compressed")
LatentTraversalDisplay.from_estimator(vae, digits.test_images[0], n_components=7, ax=ax)
ax.set_title("A handwritten 7, changed along one component at a time")
plt.show()

# %%
# The plane of two components
# ---------------------------
# With two components, one picture shows all that a model can draw. The classes were never told;
# they have places of their own all the same.
plane = ConvVAETransformer(n_components=2, max_iter=8, random_state=0).fit(images)
fig, ax = plt.subplots(figsize=(7, 7), layout="compressed")
LatentManifoldDisplay.from_estimator(plane, n_images=20, ax=ax)
ax.set_title("All digits of a model with two components")
# sphinx_gallery_thumbnail_number = 3
plt.show()
