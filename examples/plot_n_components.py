"""
====================
How many components?
====================

No label is needed to choose `n_components`: `score` is the mean ELBO of held-out images, so that
``GridSearchCV`` finds the best number by itself. Two more scorers tell what happens beside it: an
estimate of log p(x) from many draws, and how many components the model uses at all.
"""

# %%
# A grid search with three scores
# -------------------------------
# The first chooses; the first two are in nats per image.
import matplotlib.pyplot as plt
import pandas as pd
from _datasets import load
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, cross_val_score

from skvae import ConvVAETransformer

scorers = {
    "ELBO": lambda vae, X, y=None: vae.score(X),
    "log p(x)": lambda vae, X, y=None: vae.log_likelihood(X, n_draws=50).mean(),
    "active": lambda vae, X, y=None: vae.n_active_components_,
}
numbers = [1, 2, 4, 8, 16, 32]
digits = load("digits")
X = digits.train_images.reshape(len(digits.train_images), -1)
vae = ConvVAETransformer(pixel_range=(0, 16), max_iter=20, random_state=0)
search = GridSearchCV(vae, {"n_components": numbers}, scoring=scorers, refit="ELBO", cv=3)
search.fit(X)
print(f"Best: {search.best_params_['n_components']} components")

columns = {f"mean_test_{name}": name for name in scorers}
results = pd.DataFrame(search.cv_results_).set_index("param_n_components")
print(results[list(columns)].rename(columns=columns).round(1).to_string())

# %%
# PCA, by the same rule
# ---------------------
# `PCA.score` is the log density of held-out rows, in the same units.
pca = [cross_val_score(PCA(K, random_state=0), X.astype(float), cv=3).mean() for K in numbers]

# %%
# More than enough
# ----------------
# Beyond the best number, more components hardly help: each one costs nats, and explains little.
fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained")
for name, color, marker in (("ELBO", "#3f90da", "o"), ("log p(x)", "#832db6", "^")):
    mean, std = results[f"mean_test_{name}"], results[f"std_test_{name}"]
    left.errorbar(numbers, mean, std, label=name, color=color, marker=marker, capsize=3)
left.plot(numbers, pca, label="log p(x) of PCA", color="#94a4a2", marker="s")
left.set(ylabel="nats per held-out image", title="How well the model explains (higher is better)")
left.legend()
right.plot(numbers, numbers, color="0.7", linestyle="--", label="all")
right.plot(numbers, results["mean_test_active"], marker="o", color="#3f90da", label="active")
right.set(ylabel="components", yscale="log", title="How many components it uses")
right.set_yticks(numbers, numbers)
right.legend()
for ax in (left, right):
    ax.set(xlabel="n_components", xscale="log")
    ax.set_xticks(numbers, numbers)
    ax.minorticks_off()
    ax.grid(alpha=0.3)
plt.show()
