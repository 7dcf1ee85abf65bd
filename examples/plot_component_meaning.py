"""
===========================
What does a component mean?
===========================

The components of :class:`~skvae.ConvVAETransformer` have no names. Three displays show what they
mean: how informative each component is, how an image changes with each component, and the images
over the plane of two components.
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
# How informative is each component?
# ----------------------------------
# The mean KL divergence of a component is its information about an image, in nats. The components
# are sorted by it, the most informative first. An idle component is at 0.
ComponentInformationDisplay.from_estimator(vae)
plt.show()

# %%
# What changes with each component?
# ---------------------------------
# The middle column is the reconstruction of a test image. Each row changes one component, by up to
# 3 standard deviations of the prior. A component is seldom one property, such as the slant: it
# changes several properties that vary together in the images.
display = LatentTraversalDisplay.from_estimator(vae, digits.test_images[0], n_components=7)
display.ax_.set_title("A handwritten 7, changed along one component at a time")
plt.show()

# %%
# The plane of two components
# ---------------------------
# With two components, one figure shows all images that the decoder can generate. The training used
# no labels, and yet each digit has a region of its own.
plane = ConvVAETransformer(n_components=2, max_iter=8, random_state=0).fit(images)
display = LatentManifoldDisplay.from_estimator(plane, n_images=20)
display.ax_.set_title("Decoded images over the plane of two components")
# sphinx_gallery_thumbnail_number = 3
plt.show()
