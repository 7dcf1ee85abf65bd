"""
============================
Pictures with missing pixels
============================

Half of the pixels are missing: at random, or the whole lower half of the picture.
:class:`~skvae.ConvVAETransformer` takes them as they are, if it is told what marks a missing pixel:
``missing_values=np.nan``. `impute` fills the holes, and is compared with `SimpleImputer`,
`KNNImputer` and `IterativeImputer` of scikit-learn.

Where the lower half is missing, a mean of all that may have been there is blurred.
``impute(X, sample=True)`` draws one possibility, and another one with another seed.

``python examples/plot_holes.py`` takes 10,000 images of MNIST; ``--data openml`` or ``--data
FOLDER`` (its IDX files) takes all 60,000.
"""

import argparse
import warnings
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from _datasets import load
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skvae import ConvVAETransformer

parser = argparse.ArgumentParser(description="Fill missing pixels.")
parser.add_argument(
    "--data", default="mnist", help="mnist (a part of it), digits, openml, or a folder of IDX files"
)
parser.add_argument("--out", default="pictures", type=Path, help="folder for the pictures")
parser.add_argument("--max-iter", type=int, help="epochs; none: 10 for the part of MNIST")
parser.add_argument("--n-train", type=int, default=1_000, help="pictures for the comparison")
parser.add_argument("--n-test", type=int, default=500)
args = parser.parse_args()

digits = load(args.data)
shape = digits.train_images.shape[1:]
high = 16 if digits.name == "digits" else 255
X_train = digits.train_images.astype(np.float32)
X_test = digits.test_images[: args.n_test].astype(np.float32)
y_test = digits.test_labels[: args.n_test]

# %%
# Make holes
# ----------
rng = np.random.default_rng(0)
train, test = X_train.copy(), X_test.copy()
for X in (train, test):
    X[rng.random(X.shape) < 0.5] = np.nan
train[::2] = X_train[::2]  # every second one loses its lower half instead
train[::2, shape[0] // 2 :] = np.nan

# %%
# Train on what is left
# ---------------------
max_iter = args.max_iter or (10 if args.data == "mnist" else None)
vae = ConvVAETransformer(
    missing_values=np.nan, pixel_range=(0, high), max_iter=max_iter, random_state=0, verbose=1
)
vae.fit(train)

# %%
# Fill the holes, and classify what comes out
# -------------------------------------------
# Each imputer is the first step of a pipeline. The others see 1,000 pictures only, as they would
# take long otherwise; so does logistic regression.
imputers = {
    "SimpleImputer": SimpleImputer(keep_empty_features=True),
    "KNNImputer": KNNImputer(n_neighbors=10, keep_empty_features=True),
    "IterativeImputer": IterativeImputer(
        n_nearest_features=20, max_iter=2, keep_empty_features=True, random_state=0
    ),
    "ConvVAETransformer": FunctionTransformer(
        lambda X: vae.impute(X.reshape(-1, *shape), n_draws=16).reshape(len(X), -1)
    ),
}
rows, rows_test = train[: args.n_train].reshape(args.n_train, -1), test.reshape(len(test), -1)
targets = digits.train_labels[: args.n_train]
holes = np.isnan(rows_test)
warnings.simplefilter("ignore", ConvergenceWarning)  # two rounds of IterativeImputer must do here
table, filled = {}, {}
for name, imputer in imputers.items():
    start = perf_counter()
    linear = make_pipeline(imputer, StandardScaler(), LogisticRegression(max_iter=200, tol=1e-2))
    accuracy = linear.fit(rows, targets).score(rows_test, y_test)
    filled[name] = linear[0].transform(rows_test)
    error = (filled[name] - X_test.reshape(len(X_test), -1))[holes]
    table[name] = {
        "error": f"{np.sqrt(np.mean(error**2)) / high:.4f}",
        "accuracy": f"{accuracy:.1%}",
        "seconds": f"{perf_counter() - start:.0f}",
    }
linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, tol=1e-2))
linear.fit(X_train[: args.n_train].reshape(args.n_train, -1), targets)
whole = linear.score(X_test.reshape(len(X_test), -1), y_test)
table["nothing missing"] = {"error": "", "accuracy": f"{whole:.1%}", "seconds": ""}
print("Root mean square error of the filled pixels (0 to 1); accuracy of logistic regression")
print(pd.DataFrame(table).T.to_string())

# %%
# The pictures
# ------------
args.out.mkdir(parents=True, exist_ok=True)
n = 10
lines = {"with holes": rows_test[:n], **{k: X[:n] for k, X in filled.items()}, "true": X_test[:n]}
fig, axes = plt.subplots(len(lines), 1, figsize=(9, 5.4), layout="compressed")
gray = plt.get_cmap("gray").with_extremes(bad="#7a3b69")
for ax, (name, X) in zip(axes, lines.items(), strict=True):
    ax.imshow(np.hstack(X.reshape(n, *shape)), cmap=gray, vmin=0, vmax=high)
    ax.set(xticks=[], yticks=[])
    ax.set_ylabel(name, rotation=0, ha="right", va="center")
fig.suptitle("Half of the pixels are missing, at random")
fig.savefig(args.out / "holes.png", dpi=120)

halves = X_test[:n].copy()
halves[:, shape[0] // 2 :] = np.nan
draws = [vae.impute(halves, sample=True, random_state=seed) for seed in range(5)]
lines = [halves, vae.impute(halves), *draws, X_test[:n]]
names = ["hole", "mean", "draws", "", "", "", "", "true"]
fig, axes = plt.subplots(len(lines), 1, figsize=(9, 7.4), layout="compressed")
for ax, name, X in zip(axes, names, lines, strict=True):
    ax.imshow(np.hstack(X), cmap=gray, vmin=0, vmax=high)
    ax.set(xticks=[], yticks=[])
    ax.set_ylabel(name, rotation=0, ha="right", va="center")
fig.suptitle("The lower half is missing: what may have been there?")
fig.savefig(args.out / "halves.png", dpi=120)
plt.close("all")
print(f"Pictures: {args.out / 'holes.png'}, {args.out / 'halves.png'}")
