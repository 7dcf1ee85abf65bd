"""
================================
A hundred labels, 5,000 pictures
================================

:class:`~skvae.ConvVAEClassifier` learns from pictures without a label, too. Here all but a few of
the digits have none, and the test error is compared with that of methods of scikit-learn that see
the same labels: logistic regression on the pixels and on principal components, `LabelSpreading`,
which also uses the other pictures, and, in two stages, :class:`~skvae.ConvVAETransformer` with
logistic regression after it.

The classifier is a transformer as well, so that its latent variables can be drawn; and it can draw
digits of each class.
"""

# %%
# Draw the labels
# ---------------
# -1 marks a picture without a label. Each class keeps as many labels.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from _datasets import load
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading

from skvae import ConvVAEClassifier, ConvVAETransformer, LatentSpaceDisplay

digits = load("mnist")
X_train, y_train = digits.train_images[:5_000], digits.train_labels[:5_000].astype(int)
X_test, y_test = digits.test_images, digits.test_labels
ranks = np.empty(len(y_train), int)  # place of each picture among those of its class
for label in range(10):
    members = np.flatnonzero(y_train == label)
    ranks[members] = np.arange(len(members))
targets = {n: np.where(ranks < n // 10, y_train, -1) for n in (50, 100, 500)}

# %%
# The test error
# --------------
# To be quick, the trainings are short: 8 epochs of 5,000 pictures. With all of MNIST and the default
# number of epochs, the error with 100 labels is 3 to 9 %.
params = {"n_components": 10, "max_iter": 8, "random_state": 0}
rows_train, rows_test = (X.reshape(len(X), -1) / 255 for X in (X_train, X_test))
pca = PCA(10, random_state=0).fit(rows_train)
vae = ConvVAETransformer(**params).fit(X_train)
spaces = {
    "pixels": (rows_train, rows_test),
    "PCA": (pca.transform(rows_train), pca.transform(rows_test)),
    "ConvVAETransformer": (vae.transform(X_train), vae.transform(X_test)),
}
linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
errors = {}
for n_labels, y in targets.items():
    known = y >= 0
    row = errors[n_labels] = {}
    for name, (train, test) in spaces.items():
        model = linear.fit(train[known], y[known])
        row[f"logistic regression on {name}"] = 1 - model.score(test, y_test)
    spreading = LabelSpreading(kernel="knn", n_neighbors=10, alpha=0.5).fit(rows_train, y)
    row["LabelSpreading"] = 1 - spreading.score(rows_test, y_test)
    clf = ConvVAEClassifier(unlabeled=-1, **params).fit(X_train, y)
    row["ConvVAEClassifier"] = 1 - clf.score(X_test, y_test)
errors = pd.DataFrame(errors)
errors.map("{:.1%}".format)

# %%
# Errors by the number of labels
# ------------------------------
fig, ax = plt.subplots(figsize=(7, 4.8), layout="constrained")
colors = ["#94a4a2", "#a96b59", "#832db6", "#ffa90e", "#3f90da"]
for (name, row), color, marker in zip(errors.iterrows(), colors, "sv^Do", strict=True):
    width = 3 if name == "ConvVAEClassifier" else 1.4
    ax.plot(row.index, row * 100, marker=marker, color=color, linewidth=width, label=name)
ax.set(xscale="log", yscale="log", xlabel="labels", ylabel="test error, %")
ax.set_xticks(errors.columns, errors.columns)
ax.set_xticks([], minor=True)
ax.yaxis.set_major_formatter("{x:g}")
ax.yaxis.set_minor_formatter("{x:g}")
ax.grid(alpha=0.3, which="both")
ax.legend(fontsize=9)
ax.set_title(f"{len(X_train):,} pictures of digits, few of them with a label")
plt.show()

# %%
# What the last classifier knows
# ------------------------------
# Left: test images in the plane in which the means of its classes differ most. Right: what it draws
# for each digit.
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 5.6), layout="constrained")
std = np.sqrt(clf.variances_)  # within a class
plane = PCA(2).fit(clf.means_ / std)
points = plane.transform(clf.transform(X_test) / std)
LatentSpaceDisplay(points=points, y=y_test).plot(left)
left.set_title("Test images, where the classes differ most")
drawn = [np.hstack(list(clf.sample(10, y=label, random_state=0))) for label in range(10)]
right.imshow(np.vstack(drawn), cmap="gray", vmin=0, vmax=255)
right.set_axis_off()
right.set_title("Digits that nobody wrote: ten of each class")
plt.show()
