"""
==============================
Your own images, from a folder
==============================

:func:`~skvae.read_images` reads a folder of images of different sizes into one array. The names of
the sub-folders are the labels. :class:`~skvae.ConvVAETransformer` takes the array as it is. This
example first makes such a folder: 1,500 drawings of arrows, rings and stars.
"""

# %%
# A folder of drawings
# --------------------
# You have such a folder already, so skip this. The drawings have random sizes, colours, places and
# angles. There is a sub-folder for each kind: ``drawings/arrow/0.png`` and so on.
import colorsys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw
from sklearn.decomposition import PCA

from skvae import (
    ConvVAETransformer,
    LatentSpaceDisplay,
    LatentTraversalDisplay,
    ReconstructionDisplay,
    read_images,
)

turns = np.linspace(0, 2 * np.pi, 10, endpoint=False)
outlines = {
    "arrow": np.array(
        [[1, 0], [0, 0.7], [0, 0.25], [-1, 0.25], [-1, -0.25], [0, -0.25], [0, -0.7]]
    ),
    "star": np.tile([1, 0.45], 5)[:, None] * np.stack([np.cos(turns), np.sin(turns)], axis=1),
}


def draw(kind, rng, scale=4):
    """One drawing of a random size, enlarged for smooth edges and made small again."""
    side = int(rng.integers(40, 97))
    drawing = Image.new("RGB", (scale * side, scale * side), "white")
    colour = tuple(int(255 * value) for value in colorsys.hsv_to_rgb(rng.uniform(), 0.85, 0.75))
    centre, radius = rng.uniform(0.4, 0.6, 2), rng.uniform(0.2, 0.38)
    angle = rng.uniform(-0.6, 0.6)
    if kind == "ring":
        box = [*(centre - radius), *(centre + radius)]
        width = int(scale * side * radius * 0.35)
        canvas = ImageDraw.Draw(drawing)
        canvas.ellipse([scale * side * value for value in box], outline=colour, width=width)
    else:
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = scale * side * (centre + radius * outlines[kind] @ turn)
        ImageDraw.Draw(drawing).polygon([tuple(point) for point in points.tolist()], fill=colour)
    return drawing.resize((side, side), Image.Resampling.BOX)


rng = np.random.default_rng(0)
temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name, "drawings")
for kind in ("arrow", "ring", "star"):
    (folder / kind).mkdir(parents=True)
    for i in range(500):
        draw(kind, rng).save(folder / kind / f"{i}.png")

# %%
# Read them
# ---------
# ``labels=True`` also returns the name of the folder of each image. ``mode="RGB"`` makes all of
# them colour images of 8 bits. ``size`` resizes them to one size. Without it, images of different
# sizes are an error.
images, kinds = read_images(folder, labels=True, mode="RGB", size=(24, 24))
temporary.cleanup()
print(images.shape, images.dtype, np.unique(kinds))

# %%
# Train, and compare with PCA
# ---------------------------
# Training uses no label. 150 images are kept for the test. To be quick, the training has 60 epochs;
# the default is up to 200 epochs for so few images. `explained_variance_ratio` is the share of the
# variance of the pixels that the reconstructions explain.
order = rng.permutation(len(images))
train, test = images[order[150:]], images[order[:150]]
vae = ConvVAETransformer(n_components=8, max_iter=60, random_state=0).fit(train)

pca = PCA(8, random_state=0).fit(train.reshape(len(train), -1))
rows = test.reshape(len(test), -1)
errors = rows - pca.inverse_transform(pca.transform(rows))
of_pca = 1 - (errors**2).sum() / ((rows - rows.mean(0)) ** 2).sum()
print("Share of the variance of the test images that is explained:")
print(f"VAE {vae.explained_variance_ratio(test):.3f}, PCA {of_pca:.3f}")

# %%
# Images and their reconstructions
# --------------------------------
# Each image of 1,728 numbers becomes eight components, and an image again. None of these images was
# in the training.
display = ReconstructionDisplay.from_estimator(vae, test, n_images=20)
display.ax_.set_title("Test images, and their reconstructions from 8 components")
plt.show()

# %%
# The two most informative components
# -----------------------------------
# The names of the folders give the colours.
LatentSpaceDisplay.from_estimator(vae, images, kinds)
plt.show()

# %%
# The meaning of the components
# -----------------------------
# Each row changes one component, and leaves the others as they are.
display = LatentTraversalDisplay.from_estimator(vae, test[0])
display.ax_.set_title("A test image, changed along one component at a time")
plt.show()
