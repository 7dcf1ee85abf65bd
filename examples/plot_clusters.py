"""
==================
Clusters of digits
==================

:class:`~skvae.ConvVAECluster` sorts images into clusters, and sees no label. Here it is compared
with :class:`~sklearn.cluster.KMeans` on the pixels of handwritten digits, by how often the clusters
are the digits.
"""

# %%
# Fit
# ---
# To be quick, the network is smaller and the training shorter than by default, in small batches.
import matplotlib.pyplot as plt
import numpy as np
from _datasets import load
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics.cluster import contingency_matrix

from skvae import ConvVAECluster

digits = load("mnist")
images, labels = digits.train_images, digits.train_labels
cluster = ConvVAECluster(
    n_clusters=10, hidden_channels=(32,), batch_size=64, max_iter=10, random_state=0
).fit(images)

# %%
# Which digits a cluster holds
# ----------------------------
# Each row is a digit, and each column a cluster, in the order of the best matching. The labels are
# used for this figure only.
rows = images.reshape(len(images), -1)
found = {
    "ConvVAECluster": cluster.labels_,
    "KMeans": KMeans(10, n_init=10, random_state=0).fit_predict(rows),
}
fig, axes = plt.subplots(1, 2, figsize=(9, 5), layout="compressed")
for ax, (name, clusters) in zip(axes, found.items(), strict=True):
    counts = contingency_matrix(labels, clusters)
    _, order = linear_sum_assignment(-counts)
    counts = counts[:, order]
    ax.imshow(counts, cmap="Blues")
    accuracy = np.trace(counts) / len(labels)
    ax.set(title=f"{name}: {accuracy:.1%}", xlabel="cluster", ylabel="digit")
    ax.set_yticks(range(10))
    ax.set_xticks(range(counts.shape[1]), order)
plt.show()

# %%
# Generated images of each cluster
# --------------------------------
# A row for each cluster.
drawn = [np.hstack(list(cluster.sample(10, cluster=c, random_state=0))) for c in range(10)]
fig, ax = plt.subplots(figsize=(4.6, 4.6), layout="constrained")
ax.imshow(np.vstack(drawn), cmap="gray", vmin=0, vmax=255)
ax.set_axis_off()
ax.set_title("Generated images: a row for each cluster")
plt.show()
