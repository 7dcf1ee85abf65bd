"""
==================================
Which likelihood for which images?
==================================

The parameter `likelihood` is the distribution of the pixels of an image, given its components:

- ``"bernoulli"`` is for pixels that are 0 or 1, or nearly so, such as ink on paper;
- ``"continuous_bernoulli"`` is a density of grey values between two limits;
- ``"gaussian"`` is a density of any values, with a noise that is estimated. Its training starts
  at PCA.

``"auto"``, the default, takes "bernoulli" for nearly black-and-white images, and "gaussian" for
all others. Here all three are trained on the same handwritten digits.
"""

# %%
# Train with three likelihoods
# ----------------------------
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from _datasets import load
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsClassifier

from skvae import ConvVAETransformer

digits = load("mnist")
X_train, y_train = digits.train_images[:4_000], digits.train_labels[:4_000]
X_test, y_test = digits.test_images, digits.test_labels
families = ["bernoulli", "continuous_bernoulli", "gaussian"]
models = {
    family: ConvVAETransformer(n_components=10, likelihood=family, max_iter=8, random_state=0).fit(
        X_train
    )
    for family in families
}

# %%
# Which scores can be compared?
# -----------------------------
# The scores of "gaussian" and "continuous_bernoulli" are log densities in the units of the pixels.
# They can be compared with each other, and with `PCA.score`. The score of "bernoulli" is a log
# probability of 0/1 pixels. For grey pixels it is not a density, and can be compared only with the
# score of another "bernoulli" model. Two measures can be compared between all models: the share of
# the variance that the reconstructions explain (R²), and the accuracy of 5 nearest neighbours
# (5-NN).
rows_train, rows_test = (X.reshape(len(X), -1).astype(float) for X in (X_train, X_test))
pca = PCA(10, random_state=0).fit(rows_train)
features = {"PCA": (pca.transform(rows_train), pca.transform(rows_test))}
reconstructions = {"PCA": pca.inverse_transform(features["PCA"][1])}
scores = {"PCA": pca.score(rows_test)}
for family, vae in models.items():
    features[family] = vae.transform(X_train), vae.transform(X_test)
    reconstructions[family] = vae.reconstruct(X_test).reshape(len(X_test), -1)
    scores[family] = vae.score(X_test)
table = {}
for name, (train, test) in features.items():
    r2 = r2_score(rows_test, reconstructions[name], multioutput="variance_weighted")
    accuracy = KNeighborsClassifier(5).fit(train, y_train).score(test, y_test)
    unit = "log probability" if name == "bernoulli" else "log density"
    table[name] = {
        "score, nats": f"{scores[name]:,.0f}",
        "what it is": unit,
        "R²": f"{r2:.3f}",
        "5-NN": f"{accuracy:.1%}",
    }
print(pd.DataFrame(table).T.to_string())

# %%
# Reconstructions
# ---------------
# The continuous Bernoulli has the highest density, but explains the least of the variance. Most
# pixels are exactly 0 or nearly 255, where its density is high. So the grey edges of the digits
# count for little. A higher density does not always mean better reconstructions.
columns = slice(0, 12)
fig, axes = plt.subplots(5, 1, figsize=(8.6, 3.85), layout="compressed")
lines = {"test images": rows_test, **reconstructions}
for ax, (name, rows) in zip(axes, lines.items(), strict=True):
    ax.imshow(np.hstack(list(rows[columns].reshape(-1, 28, 28))), cmap="gray", vmin=0, vmax=255)
    ax.set(xticks=[], yticks=[])
    ax.set_ylabel(name, rotation=0, ha="right", va="center")
fig.suptitle("Reconstructions from 10 components, by likelihood")
plt.show()

# %%
# New images
# ----------
fig, axes = plt.subplots(1, 3, figsize=(9, 3.5), layout="compressed")
for ax, (family, vae) in zip(axes, models.items(), strict=True):
    drawn = vae.sample(64, random_state=0).reshape(8, 8, 28, 28)
    ax.imshow(np.vstack([np.hstack(list(row)) for row in drawn]), cmap="gray", vmin=0, vmax=255)
    ax.set_axis_off()
    ax.set_title(family)
fig.suptitle("New images of three models of the same digits")
# sphinx_gallery_thumbnail_number = 2
plt.show()
