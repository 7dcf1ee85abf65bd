"""
=========================================
A hundred labels, and ten thousand images
=========================================

:class:`~skvae.ConvVAEClassifier` learns from images without a label, too. Here, only a hundred of
10,000 digits have a label. The test error is compared with that of methods of scikit-learn that
get the same labels: logistic regression on the pixels and on components of PCA, and
:class:`~sklearn.semi_supervised.LabelSpreading`, which also uses the images without a label.

The classifier is a transformer as well, so its components can be drawn. It also generates images of
each class.
"""

# %%
# Remove most labels
# ------------------
# -1 marks an image without a label. Each class keeps ten labels.
import matplotlib.pyplot as plt
import numpy as np
from _datasets import load
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading

from skvae import ConvVAEClassifier, LatentSpaceDisplay

digits = load("mnist")
images, images_test = digits.train_images, digits.test_images
y = np.full(len(images), -1)
for label in range(10):
    members = np.flatnonzero(digits.train_labels == label)[:10]
    y[members] = label
known = y >= 0
print(f"{len(images):,} images, {known.sum()} labels")

# %%
# The test error
# --------------
# To be quick, the network is smaller than by default, and the training is shorter, in small batches
# and at a higher rate.
clf = ConvVAEClassifier(
    unlabeled=-1,
    hidden_channels=(32,),
    batch_size=64,
    learning_rate=0.005,
    max_iter=10,
    random_state=0,
)
clf.fit(images, y)
errors = {"ConvVAEClassifier": 1 - clf.score(images_test, digits.test_labels)}

X, X_test = (part.reshape(len(part), -1) / 255 for part in (images, images_test))
spreading = LabelSpreading(kernel="knn", n_neighbors=10, alpha=0.5).fit(X, y)
errors["LabelSpreading"] = 1 - spreading.score(X_test, digits.test_labels)

linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
pca = PCA(10, random_state=0).fit(X)
for name, train, test in (
    ("pixels", X, X_test),
    ("PCA", pca.transform(X), pca.transform(X_test)),
):
    model = linear.fit(train[known], y[known])
    errors[f"logistic regression on {name}"] = 1 - model.score(test, digits.test_labels)

fig, ax = plt.subplots(figsize=(8, 2.8), layout="constrained")
bars = ax.barh(
    list(errors), [100 * error for error in errors.values()], color=["#3f90da", *["#94a4a2"] * 3]
)
ax.bar_label(bars, fmt="%.1f %%", padding=4)
ax.invert_yaxis()
ax.set(xlabel="test error, %")
ax.set_title("Test error after training on 10,000 digits, of which 100 have a label")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Components and generated images
# -------------------------------
# Left: the components of the test images, mapped to a plane by t-SNE, coloured by their true class.
# Before, each component is divided by its standard deviation within a class. Right: generated
# images of each class.
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 5.6), layout="constrained")
components = clf.transform(images_test) / np.sqrt(clf.variances_)
points = TSNE(random_state=0).fit_transform(components)
names = ("t-SNE 1", "t-SNE 2")
LatentSpaceDisplay(points=points, y=digits.test_labels, names=names).plot(left)
left.set_title(f"Components of {len(points):,} test images")
drawn = [np.hstack(list(clf.sample(10, y=label, random_state=0))) for label in range(10)]
right.imshow(np.vstack(drawn), cmap="gray", vmin=0, vmax=255)
right.set_axis_off()
right.set_title("Generated images: ten of each class")
# sphinx_gallery_thumbnail_number = 2
plt.show()
