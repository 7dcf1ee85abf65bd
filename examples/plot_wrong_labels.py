"""
====================
Finding wrong labels
====================

In this example, one label in twenty is wrong. :class:`~skvae.ConvVAEClassifier` is fitted five
times, each time to four fifths of the images. `predict_proba` gives the probability of the labels
of the other images. Labels of low probability are suspicious. `score_samples` measures something
else: how probable the image itself is, whatever its label.
"""

# %%
# Make labels wrong
# -----------------
import matplotlib.pyplot as plt
import numpy as np
from _datasets import load
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from skvae import ConvVAEClassifier

digits = load("digits")
images, true = digits.train_images, digits.train_labels
rng = np.random.default_rng(0)
wrong = rng.random(len(true)) < 0.05
given = np.where(wrong, (true + rng.integers(1, 10, len(true))) % 10, true)

# %%
# How probable is each label?
# ---------------------------
clf = ConvVAEClassifier(pixel_range=(0, 16), max_iter=20, random_state=0)
proba = cross_val_predict(clf, images, given, cv=5, method="predict_proba")
probability = proba[np.arange(len(given)), given]  # the classes are 0 to 9
suspects = np.argsort(probability)[: wrong.sum()]
print(f"{wrong.sum()} of {len(given)} labels are wrong.")
print(f"Of the {len(suspects)} least probable labels, {wrong[suspects].mean():.1%} are.")
print(f"ROC AUC of the probability of the label: {roc_auc_score(wrong, -probability):.3f}")

# %%
# How probable is each image?
# ---------------------------
scores = clf.fit(images, given).score_samples(images)

# %%
# Two kinds of suspicion
# ----------------------
# The upper two rows have the images with the least probable labels: most of these labels are wrong.
# The lower two rows have the least probable images: most of their labels are right, but the digits
# look unusual.
fig, axes = plt.subplots(4, 8, figsize=(8.6, 6), layout="constrained")
for ax, i in zip(axes.flat, [*suspects[:16], *np.argsort(scores)[:16]], strict=True):
    ax.imshow(images[i], cmap="gray_r")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if given[i] == true[i]:
        ax.set_xlabel(f"{given[i]}", fontsize=10)
    else:
        ax.set_xlabel(f"not {given[i]}, but {true[i]}", fontsize=10, color="#bd1f01")
fig.suptitle("Above: least probable labels (red: wrong). Below: least probable images.")
plt.show()
