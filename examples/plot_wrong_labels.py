"""
====================
Finding wrong labels
====================

One label in twenty is made wrong. :class:`~skvae.ConvVAEClassifier` is fitted on four fifths of the
pictures at a time. `predict_proba` then tells how probable the labels of the others are. The least
probable ones are worth a look. `score_samples` tells something else: how probable the picture
itself is, whatever its label.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from _datasets import load
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from skvae import ConvVAEClassifier

parser = argparse.ArgumentParser(description="Find wrong labels among those of digits.")
parser.add_argument("--out", default="pictures", type=Path, help="folder for the picture")
parser.add_argument("--max-iter", type=int, default=20)
args = parser.parse_args()

digits = load("digits")
images, true = digits.train_images, digits.train_labels
rng = np.random.default_rng(0)
wrong = rng.random(len(true)) < 0.05
given = np.where(wrong, (true + rng.integers(1, 10, len(true))) % 10, true)

# %%
# How probable is each label?
# ---------------------------
clf = ConvVAEClassifier(pixel_range=(0, 16), max_iter=args.max_iter, random_state=0)
proba = cross_val_predict(clf, images, given, cv=5, method="predict_proba")
probability = proba[np.arange(len(given)), given]  # the classes are 0 to 9
suspects = np.argsort(probability)[: wrong.sum()]
found = wrong[suspects].mean()
print(f"{wrong.sum()} of {len(given)} labels are wrong.")
print(f"Of the {len(suspects)} least probable labels, {found:.1%} are.")
print(f"ROC AUC of the probability of the label: {roc_auc_score(wrong, -probability):.3f}")

# %%
# How probable is each picture?
# -----------------------------
clf.fit(images, given)
scores = clf.score_samples(images)

# %%
# The picture
# -----------
# Above: the most suspicious labels. Below: the pictures that the model finds least probable.
args.out.mkdir(parents=True, exist_ok=True)
fig, axes = plt.subplots(4, 10, figsize=(11, 5.4), layout="constrained")
for ax, i in zip(axes.flat, [*suspects[:20], *np.argsort(scores)[:20]], strict=True):
    ax.imshow(images[i], cmap="gray_r")
    ax.set_axis_off()
    if given[i] == true[i]:
        ax.set_title(f"label {given[i]}", fontsize=9)
    else:
        ax.set_title(f"label {given[i]}, is {true[i]}", fontsize=9, color="tab:red")
fig.suptitle("Rows 1 and 2: the least probable labels. Rows 3 and 4: the least probable pictures.")
fig.savefig(args.out / "wrong_labels.png", dpi=120)
plt.close(fig)
print(f"Picture: {args.out / 'wrong_labels.png'}")
