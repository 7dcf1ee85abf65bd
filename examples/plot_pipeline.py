"""
=========================================
A VAE in a pipeline, and in a grid search
=========================================

:class:`~skvae.ConvVAETransformer` works wherever a transformer of scikit-learn works. Here it is
a step of a pipeline, before a classifier. A grid search tries several numbers of components, and
:class:`~sklearn.decomposition.PCA` instead of the VAE.
"""

# %%
# The pipeline
# ------------
# The digits of 8 x 8 pixels have 17 grey levels, from 0 to 16. Here each image is a row of 64
# numbers.
import matplotlib.pyplot as plt
import pandas as pd
from _datasets import load
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skvae import ConvVAETransformer, LatentSpaceDisplay

digits = load("digits")
X_train = digits.train_images.reshape(len(digits.train_images), -1)
X_test = digits.test_images.reshape(len(digits.test_images), -1)
vae = ConvVAETransformer(pixel_range=(0, 16), max_iter=25, random_state=0)
pipeline = Pipeline(
    [("reduce", vae), ("scale", StandardScaler()), ("clf", LogisticRegression(max_iter=2_000))]
)

# %%
# The search
# ----------
numbers = [2, 5, 10]
grid = {"reduce": [vae, PCA(random_state=0)], "reduce__n_components": numbers}
search = GridSearchCV(pipeline, grid, cv=3).fit(X_train, digits.train_labels)
best = search.best_estimator_
print(f"Best: {best['reduce']}")
print(f"Accuracy on the test images: {best.score(X_test, digits.test_labels):.1%}")

# %%
# The result
# ----------
# With two and with five components, the accuracy is higher with the VAE. With ten components, PCA
# is about as good after this short training.
results = pd.DataFrame(search.cv_results_)
fig, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
for cls, color, marker in ((ConvVAETransformer, "#3f90da", "o"), (PCA, "#94a4a2", "s")):
    rows = results[results["param_reduce"].map(lambda step, cls=cls: isinstance(step, cls))]
    accuracy, std = 100 * rows["mean_test_score"], 100 * rows["std_test_score"]
    ax.errorbar(
        rows["param_reduce__n_components"],
        accuracy,
        std,
        label=cls.__name__,
        color=color,
        marker=marker,
        capsize=3,
    )
ax.set(xlabel="n_components", ylabel="cross-validated accuracy, %")
ax.set_xticks(numbers)
ax.set_title("Logistic regression on the components of PCA and of the VAE")
ax.legend(frameon=False, loc="lower right")
ax.grid(alpha=0.3)
plt.show()

# %%
# Test images in the plane of two components
# ------------------------------------------
plane = vae.set_params(n_components=2).fit(X_train)
fig, axes = plt.subplots(1, 2, figsize=(11, 5.4), layout="constrained")
points = PCA(2, random_state=0).fit(X_train).transform(X_test)
names = ("component 0", "component 1")
LatentSpaceDisplay(points=points, y=digits.test_labels, names=names).plot(axes[0], size=14)
axes[0].set_title("PCA, two components")
LatentSpaceDisplay.from_estimator(plane, X_test, digits.test_labels, ax=axes[1], size=14)
axes[1].set_title("ConvVAETransformer, two components")
fig.suptitle("Test images in the plane of two components, coloured by digit")
# sphinx_gallery_thumbnail_number = 2
plt.show()
