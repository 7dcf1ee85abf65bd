"""
===================================
Colour pictures, and PCA beside them
===================================

Where is a variational auto-encoder better than PCA, and where is it not? Here are two sets of colour
pictures: patches of photographs, and drawings of ellipses. Both are reconstructed from as many
components.
"""

# %%
# Two sets of pictures
# --------------------
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
    rows = rng.integers(0, photograph.shape[0] - side, n)
    columns = rng.integers(0, photograph.shape[1] - side, n)
    cut = [
        photograph[row : row + side, column : column + side]
        for row, column in zip(rows, columns, strict=True)
    ]
    return np.stack(cut)


def ellipses(n, side=16):
    """One ellipse in each picture, (n, side, side, 3)."""
    y, x = np.mgrid[:side, :side] / side
    row, column = rng.uniform(0.3, 0.7, (2, n, 1, 1))
    height, width = rng.uniform(0.15, 0.35, (2, n, 1, 1))
    distance = ((y - row) / height) ** 2 + ((x - column) / width) ** 2
    mask = 1 / (1 + np.exp(np.clip(8 * (distance - 1), -50, 50)))[..., None]
    colour, ground = rng.uniform(0, 255, (2, n, 1, 1, 3))
    return (mask * colour + (1 - mask) * ground).astype(np.uint8)


photographs = load_sample_images().images
edge = 450
sets = {
    "photographs": tuple(
        np.concatenate([patches(part, n) for part in parts])
        for parts, n in (
            ([photograph[:, :edge] for photograph in photographs], 1_500),
            ([photograph[:, edge:] for photograph in photographs], 500),
        )
    ),
    "ellipses": (ellipses(3_000), ellipses(1_000)),
}

# %%
# As many components for both
# ---------------------------
# R² is the share of the variance of the test pictures that the reconstructions explain.
K = 10
reconstructions, r2 = {}, {}
for name, (train, test) in sets.items():
    rows_train, rows_test = (X.reshape(len(X), -1).astype(float) for X in (train, test))
    pca = PCA(K, random_state=0).fit(rows_train)
    vae = ConvVAETransformer(n_components=K, max_iter=30, random_state=0).fit(train)
    for method, X in {
        "PCA": pca.inverse_transform(pca.transform(rows_test)),
        "VAE": vae.reconstruct(test).reshape(rows_test.shape),
    }.items():
        reconstructions[name, method] = X.reshape(test.shape)
        r2[name, method] = r2_score(rows_test, X, multioutput="variance_weighted")
        print(f"{name}: R² of {method} {r2[name, method]:.3f}")

# %%
# Side by side
# ------------
# XXX
n = 12
fig, axes = plt.subplots(6, 1, figsize=(9, 5.4), layout="compressed")
lines = [
    (label, X)
    for name, (_, test) in sets.items()
    for label, X in (
        (name, test),
        *((f"{m}, R² {r2[name, m]:.2f}", reconstructions[name, m]) for m in ("PCA", "VAE")),
    )
]
for ax, (label, X) in zip(axes, lines, strict=True):
    ax.imshow(np.hstack(list(X[-n:].clip(0, 255) / 255)))
    ax.set(xticks=[], yticks=[])
    ax.set_ylabel(label, rotation=0, ha="right", va="center")
fig.suptitle(f"What {K} components keep of colour pictures: PCA and a VAE")
plt.show()
