"""
======================
How many components?
======================

No label is needed to choose `n_components`: `score` is the mean ELBO of held-out images, so that
``GridSearchCV`` finds the best number by itself. Two more scorers tell what happens beyond it:
an estimate of log p(x) from many draws, and how many components the model uses at all.
"""

import argparse
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from _datasets import load
from sklearn.model_selection import GridSearchCV

from skvae import ConvVAETransformer

parser = argparse.ArgumentParser(description="Choose n_components by held-out likelihood.")
parser.add_argument("--data", default="digits", help="digits, openml, or a folder of IDX files")
parser.add_argument("--out", default="pictures", type=Path, help="folder for the picture")
parser.add_argument("--max-iter", default=40, type=int, help="epochs of each fit")
args = parser.parse_args()

# %%
# A grid search with three scores
# -------------------------------
# The first chooses; the first two are in nats per image.
scorers = {
    "ELBO": lambda vae, X, y=None: vae.score(X),
    "log p(x)": lambda vae, X, y=None: vae.log_likelihood(X, n_draws=100).mean(),
    "active": lambda vae, X, y=None: vae.n_active_components_,
}
numbers = [1, 2, 4, 8, 16, 32]
digits = load(args.data)
pixel_range = (0, 16) if digits.name == "digits" else None
vae = ConvVAETransformer(pixel_range=pixel_range, max_iter=args.max_iter, random_state=0)
search = GridSearchCV(vae, {"n_components": numbers}, scoring=scorers, refit="ELBO", cv=3)
with warnings.catch_warnings():
    # Idle components are what is to be seen here.
    warnings.filterwarnings("ignore", "Only .* components are active")
    search.fit(digits.train_images.reshape(len(digits.train_images), -1))

columns = [f"{what}_test_{name}" for name in scorers for what in ("mean", "std")]
results = pd.DataFrame(search.cv_results_)[["param_n_components", *columns]]
print(results.rename(columns={"param_n_components": "K"}).round(2).to_string(index=False))
print(f"\nBest: {search.best_params_['n_components']} components")

# %%
# More than enough
# ----------------
# Beyond the best number, components cost more nats than they explain. A VAE switches them off, but
# needs training time for it: after a training as short as this one, many are still active, and the
# ELBO pays for them.
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for name, color in (("ELBO", "#3f90da"), ("log p(x)", "#bd1f01")):
    mean, std = results[f"mean_test_{name}"], results[f"std_test_{name}"]
    left.errorbar(numbers, -mean, std, label=f"-{name}", color=color, marker="o", capsize=3)
left.set(ylabel="held-out nats per image (lower is better)", title="How well the model explains")
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
args.out.mkdir(parents=True, exist_ok=True)
fig.savefig(args.out / "n_components.png", dpi=120)
print(f"Picture: {args.out / 'n_components.png'}")
