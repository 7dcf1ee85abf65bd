"""
===================================================
What a variational auto-encoder learns about digits
===================================================

Train :class:`~skvae.ConvVAETransformer` on handwritten digits and look at the result: t-SNE of the
pixels and of the components, test images above their reconstructions, new images, and the loss
curve. A table compares the components with the pixels and with as many components of PCA.

``python examples/plot_digits.py`` trains on 10,000 images of MNIST. ``--data openml`` takes all
60,000, and so does ``--data FOLDER`` with a folder of the IDX files of MNIST. ``--data digits``
takes the small digits of scikit-learn.
"""

import argparse
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from _datasets import load
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import ConvVAETransformer, LatentSpaceDisplay, ReconstructionDisplay

parser = argparse.ArgumentParser(description="Train a VAE on digits and draw the results.")
parser.add_argument(
    "--data", default="mnist", help="mnist (a part of it), digits, openml, or a folder of IDX files"
)
parser.add_argument("--out", default="figures", type=Path, help="folder for the figures")
parser.add_argument("--n-components", default=10, type=int)
parser.add_argument("--max-iter", type=int, help="epochs; none: 30 for the part of MNIST")
args = parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has none

digits = load(args.data)
K = args.n_components
print(
    f"{digits.name}: {len(digits.train_images):,} training images, "
    f"{len(digits.test_images):,} test images, {K} components",
    flush=True,
)

# %%
# Training
# --------
# No label is used. `pixel_range` is needed only for the small digits, whose uint8 pixels go from 0
# to 16 instead of 255. To be quick, the part of MNIST trains for a quarter of the default epochs.
pixel_range = (0, 16) if digits.name == "digits" else None
max_iter = args.max_iter or (30 if args.data == "mnist" else None)
vae = ConvVAETransformer(
    n_components=K, pixel_range=pixel_range, max_iter=max_iter, random_state=0, verbose=1
)
vae.fit(digits.train_images)
vae_train, vae_test = vae.transform(digits.train_images), vae.transform(digits.test_images)

# %%
# Do the components separate the classes better than the pixels do?
# -----------------------------------------------------------------
# Logistic regression and five nearest neighbours (5-NN) train on the training images, and are
# scored on the test images. t-SNE maps (at most 5,000) test images to a plane. In the plane, the
# accuracy of 5-NN is cross-validated.
pixels_train = digits.train_images.reshape(len(digits.train_images), -1) / 255
pixels_test = digits.test_images.reshape(len(digits.test_images), -1) / 255
pca = PCA(K, random_state=0).fit(pixels_train)
features = {
    "pixels": (pixels_train, pixels_test),
    f"PCA, {K} components": (pca.transform(pixels_train), pca.transform(pixels_test)),
    f"VAE, {K} components": (vae_train, vae_test),
}
shown = slice(0, 5_000)
classes = digits.test_labels[shown]
table, planes = {}, {}
for name, (train, test) in features.items():
    print(f"Evaluating {name} ...", flush=True)
    # Features of about unit size: the solver converges in fewer steps.
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000, tol=1e-3))
    neighbours = KNeighborsClassifier(5)
    planes[name] = TSNE(random_state=0).fit_transform(test[shown])
    table[name] = {
        "logistic regression": linear.fit(train, digits.train_labels).score(
            test, digits.test_labels
        ),
        "5-NN": neighbours.fit(train, digits.train_labels).score(test, digits.test_labels),
        "5-NN in the t-SNE plane": cross_val_score(neighbours, planes[name], classes).mean(),
    }

# %%
# The experiment in one figure
# ----------------------------
# From images to ten components each, and back to images.
args.out.mkdir(parents=True, exist_ok=True)


def mosaic(images, side=9):
    """The first images as one, in rows of `side`."""
    height, width = images.shape[1:]
    rows = images[: side**2].reshape(side, side, height, width)
    return rows.swapaxes(1, 2).reshape(side * height, side * width)


fig, (left, middle, right) = plt.subplots(
    1, 3, figsize=(15, 5.2), width_ratios=(1, 1.15, 1), layout="constrained"
)
low, high = vae.pixel_range_
for ax, images in ((left, digits.test_images), (right, vae.reconstruct(digits.test_images[:81]))):
    ax.imshow(mosaic(images), cmap="gray", vmin=low, vmax=high)
    ax.set_axis_off()
AXES = ("t-SNE 1", "t-SNE 2")
LatentSpaceDisplay(points=planes[f"VAE, {K} components"], y=classes, names=AXES).plot(middle)
left.set_title("Test images")
middle.set_title(f"{K} components of {len(classes):,} test images, in a plane by t-SNE")
right.set_title(f"Reconstructions from {K} components")
fig.savefig(args.out / "overview.png", dpi=120)

# %%
# Pixels and components in a plane
# --------------------------------
fig, axes = plt.subplots(1, 2, figsize=(13, 6.8), layout="constrained")
for ax, name in zip(axes, ("pixels", f"VAE, {K} components"), strict=True):
    LatentSpaceDisplay(points=planes[name], y=classes, names=AXES).plot(ax)
    accuracy = table[name]["5-NN in the t-SNE plane"]
    ax.set_title(f"t-SNE of {name}\n5-NN accuracy in this plane: {accuracy:.1%}")
fig.suptitle(f"{len(classes):,} test images of {digits.name}, coloured by digit")
fig.savefig(args.out / "tsne.png", dpi=120)

# %%
# What the components keep
# ------------------------
display = ReconstructionDisplay.from_estimator(vae, digits.test_images, n_images=20)
display.ax_.set_title(f"Test images, and their reconstructions from {K} components")
display.figure_.savefig(args.out / "reconstructions.png", dpi=120)

# %%
# New images
# ----------
# `sample` draws components from a normal distribution, and decodes them.
fig, axes = plt.subplots(6, 12, figsize=(9, 4.9), layout="constrained")
for ax, image in zip(axes.flat, vae.sample(axes.size, random_state=0), strict=True):
    ax.imshow(image, cmap="gray", vmin=vae.pixel_range_[0], vmax=vae.pixel_range_[1])
    ax.set_axis_off()
fig.suptitle("New images, generated by sample")
fig.savefig(args.out / "samples.png", dpi=120)

# %%
# How the training went
# ---------------------
fig, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
ax.plot(vae.history_["epoch"], vae.loss_curve_, marker=".", color="#3f90da")
ax.set(xlabel="epoch", ylabel="\N{MINUS SIGN}ELBO of the training images, nats per image")
ax.set_title("Loss curve of the training")
ax.grid(alpha=0.3)
fig.savefig(args.out / "loss_curve.png", dpi=120)

# %%
# The numbers
# -----------
pca_images = pca.inverse_transform(pca.transform(pixels_test)) * 255
vae_images = vae.inverse_transform(vae_test).reshape(len(vae_test), -1)
explained = {
    "PCA": r2_score(pixels_test * 255, pca_images, multioutput="variance_weighted"),
    "VAE": r2_score(pixels_test * 255, vae_images, multioutput="variance_weighted"),
}

print(f"\nFigures: {', '.join(str(path) for path in sorted(args.out.glob('*.png')))}")
print(f"Training took {vae.history_['duration'].sum():.0f} s, {vae.n_iter_} epochs")
print(f"Active components: {vae.n_active_components_} of {K}\n")
print(f"-ELBO of the test images: {-vae.score(digits.test_images):.2f} nats ({vae.likelihood_})")
print("Share of their variance that the reconstructions explain:")
print(f"  PCA {explained['PCA']:.1%}, VAE {explained['VAE']:.1%}\n")
print("Accuracy on the test images")
print(pd.DataFrame(table).T.map("{:.1%}".format).to_string())
planes_accuracy = {name: row["5-NN in the t-SNE plane"] for name, row in table.items()}
better = planes_accuracy[f"VAE, {K} components"] > planes_accuracy["pixels"]
print(
    f"\nIn the t-SNE plane, the components separate the digits "
    f"{'better' if better else 'no better'} than the pixels do."
)
