"""
================================
Your own pictures, from a folder
================================

:func:`~skvae.read_images` makes one array of a folder of pictures, and
:class:`~skvae.ConvVAETransformer` takes the array as it is. This example first makes such a folder:
1,500 PNG files of ellipses, of random colours, places and sizes.
"""

# %%
# A folder of pictures
# --------------------
# With pictures of your own, you have one already.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skvae import ConvVAETransformer, LatentTraversalDisplay, ReconstructionDisplay, read_images

rng = np.random.default_rng(0)
y, x = np.mgrid[:64, :64] / 64
temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
for i in range(1_500):
    (row, column), radii = rng.uniform(0.3, 0.7, 2), rng.uniform(0.15, 0.35, 2)
    colour = np.array(plt.get_cmap("rainbow")(rng.uniform())[:3])
    distance = ((y - row) / radii[0]) ** 2 + ((x - column) / radii[1]) ** 2
    mask = 1 / (1 + np.exp(np.clip(8 * (distance - 1), -50, 50)))[..., None]
    plt.imsave(folder / f"ellipse{i}.png", mask * colour)

# %%
# Read them
# ---------
# The pictures come in the natural order of their names: ``ellipse2.png`` before ``ellipse10.png``.
# ``mode="RGB"`` makes all of them colour pictures of 8 bits. ``size`` resizes them; without it,
# they stay as they are.
images = read_images(folder, mode="RGB", size=(24, 24))
temporary.cleanup()
print(images.shape, images.dtype)

# %%
# Train
# -----
# No label is needed. The last hundred pictures are kept for the test. To be quick, the training is
# short; the default is up to 200 epochs for so few pictures.
vae = ConvVAETransformer(n_components=8, max_iter=60, random_state=0).fit(images[:-100])
print(f"{vae.n_iter_} epochs; {vae.n_active_components_} of 8 components are active")

# %%
# What eight numbers keep of a picture
# ------------------------------------
# Each picture of 1,728 numbers becomes eight numbers, and a picture again. None of these pictures
# was in the training.
fig, ax = plt.subplots(figsize=(10, 4.2), layout="compressed")
ReconstructionDisplay.from_estimator(vae, images[-100:], n_images=20, ax=ax)
ax.set_title("Pictures that the training has not seen, and what 8 numbers keep of them")
plt.show()

# %%
# What the numbers mean
# ---------------------
# Each row changes one of the numbers, and leaves the others as they are.
fig, ax = plt.subplots(figsize=(7.4, 5.8), layout="compressed")
LatentTraversalDisplay.from_estimator(vae, images[-1], ax=ax)
ax.set_title("One picture, changed along one component at a time")
plt.show()
