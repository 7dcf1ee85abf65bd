"""
=========================
From one image to another
=========================

The mean of the pixels of two images shows both at once, like a double exposure. The mean of their
components decodes to a third image, which looks like one digit.
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
# In each pair of rows, the upper row mixes the pixels of two test images, and the lower row mixes
# their components. So the lower row begins and ends with reconstructions.
pairs = [(7, 1), (4, 9), (3, 5), (0, 6)]
ends = np.array([[np.flatnonzero(digits.test_labels == c)[3] for c in pair] for pair in pairs])
shares = np.linspace(0, 1, 9)

fig, axes = plt.subplots(len(pairs), 1, figsize=(7.6, 6.75), layout="compressed")
for ax, (first, last) in zip(axes, digits.test_images[ends], strict=True):
    z_first, z_last = vae.transform(np.stack([first, last]))
    pixels = [(1 - share) * first + share * last for share in shares]
    decoded = vae.inverse_transform([(1 - share) * z_first + share * z_last for share in shares])
    mosaic = np.vstack([np.hstack(pixels), np.hstack(list(decoded))])
    ax.imshow(mosaic, cmap="gray", vmin=0, vmax=255)
    ax.set(xticks=[])
    ax.set_yticks([14, 42], ["pixels", "components"])
    ax.tick_params(length=0)
fig.suptitle("From one digit to another: by pixels, and by components")
plt.show()
