"""
====================
How many components?
====================

No label is needed to choose `n_components`. `score` is the mean ELBO of held-out images, a lower
bound of their log density. So :class:`~sklearn.model_selection.GridSearchCV` can compare numbers of
components without labels. The score of :class:`~sklearn.decomposition.PCA` is a log density in the
same units.
"""

# %%
# A grid search without labels
# ----------------------------
# The digits of 8 x 8 pixels have 17 grey levels, from 0 to 16.
import matplotlib.pyplot as plt
from _datasets import load
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, cross_val_score

from skvae import ComponentInformationDisplay, ConvVAETransformer

X = load("digits").train_images.reshape(-1, 64)
numbers = [1, 2, 4, 8, 16, 32]
vae = ConvVAETransformer(pixel_range=(0, 16), max_iter=20, random_state=0)
search = GridSearchCV(vae, {"n_components": numbers}, cv=3).fit(X)
elbo = search.cv_results_["mean_test_score"]
pca = [cross_val_score(PCA(K, random_state=0), X.astype(float), cv=3).mean() for K in numbers]
for K, ours, theirs in zip(numbers, elbo, pca, strict=True):
    print(f"{K:3d} components: ELBO {ours:.1f} nats, log density of PCA {theirs:.1f}")
print(f"Best: {search.best_params_['n_components']}")

# %%
# How much a further component gains
# ----------------------------------
# Left: held-out digits are more probable under the VAE with eight components than under PCA with
# sixteen. Even the largest number still gains a little. Right: the information of each component of
# the model with the largest number. To have few components, stop where the curve becomes flat.
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
left.plot(numbers, elbo, label="ConvVAETransformer (ELBO)", color="#3f90da", marker="o")
left.plot(numbers, pca, label="PCA", color="#94a4a2", marker="s")
left.set(xlabel="n_components", ylabel="log density, nats per held-out image", xscale="log")
left.set_xticks(numbers, numbers)
left.minorticks_off()
left.grid(alpha=0.3)
left.legend(frameon=False)
left.set_title("Held-out digits: higher is better")
ComponentInformationDisplay.from_estimator(search.best_estimator_, ax=right)
right.set_title(f"Information of each of {search.best_params_['n_components']} components")
plt.show()
