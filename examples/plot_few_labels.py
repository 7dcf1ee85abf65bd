"""
===========================================
A hundred labels, and ten thousand pictures
===========================================

:class:`~skvae.ConvVAEClassifier` learns from pictures without a label, too. Here all but a few of
the digits have none, and the test error is compared with that of methods of scikit-learn that see
the same labels: logistic regression on the pixels and on principal components, `LabelSpreading` and
`SelfTrainingClassifier`, which also use the other pictures, and, in two stages,
:class:`~skvae.ConvVAETransformer` with logistic regression after it.

The classifier is a transformer as well, so that its latent variables can be drawn; and it can draw
digits of each class.

``python examples/plot_few_labels.py`` takes 10,000 images of MNIST; ``--data openml`` or ``--data
FOLDER`` (its IDX files) takes all 60,000.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from _datasets import load
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from skvae import ConvVAEClassifier, ConvVAETransformer, LatentSpaceDisplay

parser = argparse.ArgumentParser(description="Classify digits of which few have a label.")
parser.add_argument(
    "--data", default="mnist", help="mnist (a part of it), digits, openml, or a folder of IDX files"
)
parser.add_argument("--out", default="pictures", type=Path, help="folder for the picture")
parser.add_argument("--labels", type=int, nargs="+", default=[50, 100, 500])
parser.add_argument("--max-iter", type=int, help="epochs; none: 8 for the part of MNIST")
args = parser.parse_args()

digits = load(args.data)
X_train, X_test = digits.train_images, digits.test_images
pixels_train, pixels_test = (X.reshape(len(X), -1) / 255 for X in (X_train, X_test))
max_iter = args.max_iter or (8 if args.data == "mnist" else None)
pixel_range = (0, 16) if digits.name == "digits" else None
params = {
    "n_components": 10,
    "pixel_range": pixel_range,
    "max_iter": max_iter,
    "random_state": 0,
    "verbose": 1,
}

# %%
# Draw the labels
# ---------------
# -1 marks a picture without a label. Each class keeps as many labels.
rng = np.random.default_rng(0)
order = rng.permutation(len(X_train))
ranks = np.empty(len(order), int)  # place of each picture among those of its class
for label in range(10):
    members = order[digits.train_labels[order] == label]
    ranks[members] = np.arange(len(members))


def labels_of(n_labels):
    return np.where(ranks < n_labels // 10, digits.train_labels.astype(int), -1)


# %%
# The test error
# --------------
linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
pca = PCA(10, random_state=0).fit(pixels_train)
vae = ConvVAETransformer(**params).fit(X_train)
spaces = {
    "pixels": (pixels_train, pixels_test),
    "PCA": (pca.transform(pixels_train), pca.transform(pixels_test)),
    "ConvVAETransformer": (vae.transform(X_train), vae.transform(X_test)),
}
errors = {}
for n_labels in args.labels:
    y = labels_of(n_labels)
    known = y >= 0
    row = errors[n_labels] = {}
    for name, (train, test) in spaces.items():
        model = linear.fit(train[known], y[known])
        row[f"logistic regression on {name}"] = 1 - model.score(test, digits.test_labels)
    for name, model in {
        "LabelSpreading": LabelSpreading(kernel="knn", n_neighbors=10, alpha=0.5),
        "SelfTrainingClassifier": SelfTrainingClassifier(linear, threshold=0.9),
    }.items():
        row[name] = 1 - model.fit(pixels_train, y).score(pixels_test, digits.test_labels)
    clf = ConvVAEClassifier(unlabeled=-1, **params).fit(X_train, y)
    row["ConvVAEClassifier"] = 1 - clf.score(X_test, digits.test_labels)
errors = pd.DataFrame(errors)
errors.columns.name = "labels"
print(errors.map("{:.1%}".format).to_string())

# %%
# The picture
# -----------
# Left: the errors. Middle: latents of test images, by the last classifier, in the plane in which
# the means of its classes differ most. Right: what it draws for each digit.
args.out.mkdir(parents=True, exist_ok=True)
fig, axes = plt.subplots(1, 3, figsize=(17, 5.6), layout="constrained")
for name, row in errors.iterrows():
    ours = name == "ConvVAEClassifier"
    axes[0].plot(row.index, row * 100, marker="o", lw=3 if ours else 1.2, label=name)
axes[0].set(xscale="log", yscale="log", xlabel="labels", ylabel="test error, %")
axes[0].set_xticks(args.labels, args.labels)
axes[0].set_xticks([], minor=True)
axes[0].yaxis.set_major_formatter("{x:g}")
axes[0].yaxis.set_minor_formatter("{x:g}")
axes[0].grid(alpha=0.3, which="both")
axes[0].legend(fontsize=8)
axes[0].set_title(f"{len(X_train):,} pictures, few of them with a label")

std = np.sqrt(clf.variances_)  # within a class
plane = PCA(2).fit(clf.means_ / std)
points = plane.transform(clf.transform(X_test) / std)
LatentSpaceDisplay(points=points, y=digits.test_labels).plot(axes[1])
axes[1].set_title("Test images, where the classes differ most")

rows = [np.hstack(list(clf.sample(10, y=label, random_state=0))) for label in range(10)]
low, high = clf.pixel_range_
axes[2].imshow(np.vstack(rows), cmap="gray", vmin=low, vmax=high)
axes[2].set_axis_off()
axes[2].set_title("Digits that nobody wrote: ten of each class")
fig.savefig(args.out / "few_labels.png", dpi=120)
plt.close(fig)
print(f"Picture: {args.out / 'few_labels.png'}")
