"""
==========================
Images with missing pixels
==========================

Half of the pixels are missing: at random, or the whole lower half of the image.
:class:`~skvae.ConvVAETransformer` takes such images as they are. The parameter `missing_values`
says what marks a missing pixel, here NaN. `impute` fills the holes, and is compared with
:class:`~sklearn.impute.SimpleImputer` and :class:`~sklearn.impute.KNNImputer`. `IterativeImputer`
is among the :doc:`benchmarks </benchmarks>`.

If the lower half is missing, the mean of all possible fillings is blurred. With ``sample=True``,
`impute` draws one possible filling. Another seed gives another one.
"""

# %%
# Make holes
# ----------
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from _datasets import load
from sklearn.impute import KNNImputer, SimpleImputer

from skvae import ConvVAETransformer

digits = load("mnist")
X_train = digits.train_images[:6_000].astype(np.float32)
X_test = digits.test_images[:300].astype(np.float32)
rng = np.random.default_rng(0)
train, test = X_train.copy(), X_test.copy()
for X in (train, test):
    X[rng.random(X.shape) < 0.5] = np.nan
train[::2] = X_train[::2]  # every second image loses its lower half instead
train[::2, 14:] = np.nan

# %%
# Train on the observed pixels
# ----------------------------
# No complete image is needed. The training is shorter than by default.
vae = ConvVAETransformer(
    missing_values=np.nan, pixel_range=(0, 255), max_iter=12, random_state=0
).fit(train)

# %%
# Fill the holes
# --------------
# The two other imputers are fitted to 1,000 of the images, because the search for neighbours is
# slow. The error is the root mean square over the filled pixels, which go from 0 to 255.
rows, rows_test = train[:1_000].reshape(-1, 784), test.reshape(-1, 784)
holes = np.isnan(rows_test)
filled = {}
for imputer in (
    SimpleImputer(keep_empty_features=True),
    KNNImputer(n_neighbors=10, keep_empty_features=True),
):
    filled[type(imputer).__name__] = imputer.fit(rows).transform(rows_test)
filled["ConvVAETransformer"] = vae.impute(test, n_draws=16).reshape(rows_test.shape)
true = X_test.reshape(rows_test.shape)
errors = {name: np.sqrt(np.mean((X - true)[holes] ** 2)) for name, X in filled.items()}
print(pd.Series(errors).round(1).to_string())

# %%
# Pixels that are missing at random
# ---------------------------------
n = 10
names = [f"{name}, error {errors[name]:.0f}" for name in filled]
lines = [rows_test, *filled.values(), true]
gray = plt.get_cmap("gray").with_extremes(bad="#7a3b69")
fig, axes = plt.subplots(len(lines), 1, figsize=(9, 4.3), layout="compressed")
for ax, name, X in zip(axes, ["with holes", *names, "true"], lines, strict=True):
    ax.imshow(np.hstack(list(X[:n].reshape(n, 28, 28))), cmap=gray, vmin=0, vmax=255)
    ax.set(xticks=[], yticks=[])
    ax.set_ylabel(name, rotation=0, ha="right", va="center")
fig.suptitle("Half of the pixels are missing at random, and filled by three imputers")
plt.show()

# %%
# Several fillings of the lower half
# ----------------------------------
halves = X_test[:n].copy()
halves[:, 14:] = np.nan
draws = [vae.impute(halves, sample=True, random_state=seed) for seed in range(5)]
lines = [halves, vae.impute(halves), *draws, X_test[:n]]
names = ["hole", "mean", *[f"draw {i}" for i in range(1, 6)], "true"]
fig, axes = plt.subplots(len(lines), 1, figsize=(8.4, 6.85), layout="compressed")
for ax, name, X in zip(axes, names, lines, strict=True):
    ax.imshow(np.hstack(list(X)), cmap=gray, vmin=0, vmax=255)
    ax.set(xticks=[], yticks=[])
    ax.set_ylabel(name, rotation=0, ha="right", va="center")
fig.suptitle("The lower half is missing: the mean of possible fillings, and five draws")
plt.show()
