"""
===============================
From one picture to another one
===============================

Half-way between two pictures, what is there? The mean of their pixels is a double exposure. The
straight line between their latent variables goes through other pictures instead.
"""

# %%
# Train on handwritten digits
# ---------------------------
import matplotlib.pyplot as plt
import numpy as np
from _datasets import load

from skvae import ConvVAETransformer

digits = load("mnist")
images = digits.train_images[:8_000]
vae = ConvVAETransformer(n_components=16, max_iter=8, random_state=0).fit(images)

# %%
# Two straight lines
# ------------------
# One is drawn between the pixels of two test images, the other between their latent variables. The
# second one does not end at the images themselves, but at their reconstructions.
pairs = [(7, 1), (4, 9), (3, 5), (0, 6)]
ends = np.array([[np.flatnonzero(digits.test_labels == c)[3] for c in pair] for pair in pairs])
shares = np.linspace(0, 1, 9)

fig, axes = plt.subplots(len(pairs), 1, figsize=(7.6, 7), layout="compressed")
for ax, (first, last) in zip(axes, digits.test_images[ends], strict=True):
    z_first, z_last = vae.transform(np.stack([first, last]))
    pixels = [(1 - share) * first + share * last for share in shares]
    latents = vae.inverse_transform([(1 - share) * z_first + share * z_last for share in shares])
    mosaic = np.vstack([np.hstack(pixels), np.hstack(list(latents))])
    ax.imshow(mosaic, cmap="gray", vmin=0, vmax=255)
    ax.set(xticks=[])
    ax.set_yticks([14, 42], ["pixels", "latent variables"])
    ax.tick_params(length=0)
fig.suptitle("From one digit to another: by pixels, and by latent variables")
plt.show()
