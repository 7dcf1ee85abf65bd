"""
========================================
Photographs and drawings: a VAE, or PCA?
========================================

When is a variational auto-encoder (VAE) better than PCA? This example has two sets of colour
images: patches of photographs, and drawings of ellipses. PCA and
:class:`~skvae.ConvVAETransformer` reconstruct both from the same number of components.
"""

# %%
# Two sets of images
# ------------------
# The patches for the test come from the right part of the photographs, those for the training from
# the left part. The ellipses have random colours, places and sizes.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score

from skvae import ConvVAETransformer

rng = np.random.default_rng(0)


def patches(photograph, n, side=16):
    """Random patches of a photograph, (n, side, side, 3)."""
    windows = np.lib.stride_tricks.sliding_window_view(photograph, (side, side), axis=(0, 1))
    rows, columns = (rng.integers(0, n_places, n) for n_places in windows.shape[:2])
    return np.moveaxis(windows[rows, columns], 1, -1)


def ellipses(n, side=16):
    """One ellipse in each image, (n, side, side, 3)."""
    y, x = np.mgrid[:side, :side] / side
    row, column = rng.uniform(0.3, 0.7, (2, n, 1, 1))
    height, width = rng.uniform(0.15, 0.35, (2, n, 1, 1))
    distance = ((y - row) / height) ** 2 + ((x - column) / width) ** 2
    mask = 1 / (1 + np.exp(np.clip(8 * (distance - 1), -50, 50)))[..., None]
    colour, ground = rng.uniform(0, 255, (2, n, 1, 1, 3))
    return (mask * colour + (1 - mask) * ground).astype(np.uint8)


temple, flower = (photograph[::2, ::2] for photograph in load_sample_images().images)
edge = 220
sets = {
    "photographs": (
        np.concatenate([patches(temple[:, :edge], 1_000), patches(flower[:, :edge], 1_000)]),
        np.concatenate([patches(temple[:, edge:], 500), patches(flower[:, edge:], 500)]),
    ),
    "ellipses": (ellipses(2_000), ellipses(1_000)),
}

# %%
# Fit both methods
# ----------------
# R² is the share of the variance of the test images that the reconstructions explain.
K = 10
reconstructions, r2 = {}, {}
for name, (train, test) in sets.items():
    rows_train, rows_test = (X.reshape(len(X), -1).astype(float) for X in (train, test))
    pca = PCA(K, random_state=0).fit(rows_train)
    vae = ConvVAETransformer(n_components=K, max_iter=25, random_state=0).fit(train)
    reconstructions[name, "PCA"] = pca.inverse_transform(pca.transform(rows_test))
    reconstructions[name, "VAE"] = vae.reconstruct(rows_test)
    for method in ("PCA", "VAE"):
        X = reconstructions[name, method]
        r2[name, method] = r2_score(rows_test, X, multioutput="variance_weighted")
        print(f"{name}: R² of {method} {r2[name, method]:.3f}")

# %%
# Compare the reconstructions
# ---------------------------
# For patches of photographs, PCA is as good. It is better if the test patches come from another
# photograph than the training patches (see :doc:`the benchmarks </benchmarks>`). There is little to
# learn about such textures that is not linear. The ellipses differ in place and size. A moved
# ellipse is not a sum of a few fixed images, so PCA blurs its edge, and the VAE does not. The
# figure shows images of high contrast.
n = 12
lines = []
for name, (_, test) in sets.items():
    contrast = test.std(axis=(1, 2)).mean(1)
    chosen = np.argsort(-contrast)[: 25 * n : 25]
    lines.append((name, test[chosen]))
    for method in ("PCA", "VAE"):
        X = reconstructions[name, method][chosen].reshape(n, *test.shape[1:])
        lines.append((f"{method}, R² {r2[name, method]:.2f}", X))

fig, axes = plt.subplots(6, 1, figsize=(9, 5), layout="compressed")
for ax, (label, X) in zip(axes, lines, strict=True):
    ax.imshow(np.hstack(list(X)).clip(0, 255) / 255)
    ax.set(xticks=[], yticks=[])
    ax.set_ylabel(label, rotation=0, ha="right", va="center")
fig.suptitle(f"Reconstructions from {K} components: PCA, and a VAE")
plt.show()
