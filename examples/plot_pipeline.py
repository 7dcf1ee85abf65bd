"""
==================================================
A VAE in a pipeline, in a grid search and by itself
==================================================

:class:`~skvae.ConvVAETransformer` goes wherever a transformer of scikit-learn goes: before a
classifier in a pipeline, into a grid search over ``vae__n_components``, and, as it has a
`score` of its own, into a grid search without any labels.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
from _datasets import load
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skvae import ConvVAETransformer, LatentSpaceDisplay

parser = argparse.ArgumentParser(description="A VAE in pipelines and grid searches.")
parser.add_argument("--out", default="pictures", type=Path, help="folder for the picture")
args = parser.parse_args()

digits = load("digits")
X_train = digits.train_images.reshape(len(digits.train_images), -1)  # rows, as in any table
X_test = digits.test_images.reshape(len(digits.test_images), -1)

# %%
# How many components help the classifier most?
# ---------------------------------------------
# Digits of 8 x 8 have 17 grey levels, from 0 to 16.
pipeline = Pipeline(
    [
        (
            "vae",
            ConvVAETransformer(n_components=10, pixel_range=(0, 16), max_iter=20, random_state=0),
        ),
        ("clf", LogisticRegression(max_iter=2_000)),
    ]
)
search = GridSearchCV(pipeline, {"vae__n_components": [2, 5, 10]}, cv=3)
search.fit(X_train, digits.train_labels)
for params, score in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    print(f"{params['vae__n_components']:3d} components: cross-validated accuracy {score:.1%}")
best = search.best_params_["vae__n_components"]
print(f"Best: {best}; accuracy on the test images {search.score(X_test, digits.test_labels):.1%}")

# %%
# How many components does the data want?
# ---------------------------------------
# No labels: the score is the ELBO, a lower bound of the log likelihood of held-out images.
vae = ConvVAETransformer(pixel_range=(0, 16), max_iter=20, random_state=0)
search = GridSearchCV(vae, {"n_components": [1, 2, 5]}, cv=3).fit(X_train)
for params, score in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    print(f"{params['n_components']:3d} components: held-out ELBO {score:.2f} nats per image")
print(f"Best: {search.best_params_['n_components']}")

# %%
# The two components that tell most
# ---------------------------------
LatentSpaceDisplay.from_estimator(search.best_estimator_, X_test, digits.test_labels)
plt.title("The two components that tell most about a digit")
args.out.mkdir(parents=True, exist_ok=True)
plt.savefig(args.out / "components.png", dpi=120)
print(f"Picture: {args.out / 'components.png'}")
