"""How well clusters are the classes, without any label: ConvVAECluster beside KMeans, over seeds.

Accuracy is that of the best matching of clusters and classes. The labels are used for nothing
else. `KMeans`, with ten starts, sees pixels, principal components, or the components of
`ConvVAETransformer`. Accuracy is of the test images.

``--split valid`` scores on the last sixth of the training images instead, which are then not
trained on. All choices were made with it.
"""

from statistics import median
from time import perf_counter

import numpy as np
from _common import argument_parser, report
from labels import flat, read
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics.cluster import contingency_matrix
from sklearn.pipeline import make_pipeline

from skvae import ConvVAECluster, ConvVAETransformer

METHODS = ("skvae", "two stages", "pixels", "PCA")


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--max-iter", type=int)
    parser.add_argument("--split", choices=("test", "valid"), default="test")
    parser.add_argument("--n-train", type=int)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seeds, arguments.max_iter, arguments.n_train = 1, 1, 300
    images = read(arguments)

    table, results = [], []
    for method in arguments.methods:
        rows = []
        for seed in range(arguments.seed, arguments.seed + arguments.seeds):
            rows.append(measure(method, images, seed, arguments))
            print(rows[-1], flush=True)
        results += rows
        accuracies = [row["accuracy"] for row in rows]
        table.append(
            {
                "method": method,
                "accuracy, median": f"{median(accuracies):.1f}",
                "of each seed": ", ".join(f"{accuracy:.1f}" for accuracy in accuracies),
                "seconds": f"{median(row['seconds'] for row in rows):.0f}",
            }
        )
    report(arguments, table, results=results)


def measure(method, images, seed, arguments):
    """Figures of one method with one seed."""
    X, test = images.train, images.test
    if method in ("pixels", "PCA"):
        X, test = flat(X), flat(test)
    n_clusters = len(np.unique(images.train_labels))
    network = {"max_iter": arguments.max_iter, "random_state": seed}
    k_means = KMeans(n_clusters, n_init=10, random_state=seed)
    model = {
        "skvae": ConvVAECluster(n_clusters, arguments.components, **network),
        "two stages": make_pipeline(ConvVAETransformer(arguments.components, **network), k_means),
        "pixels": k_means,
        "PCA": make_pipeline(PCA(arguments.components, random_state=seed), k_means),
    }[method]
    start = perf_counter()
    model.fit(X)
    seconds = perf_counter() - start
    accuracy = 100 * float(matched_accuracy(images.test_labels, model.predict(test)))
    return {"method": method, "seed": seed, "accuracy": accuracy, "seconds": seconds}


def matched_accuracy(labels, clusters):
    """Share of the images in the cluster that stands for their class, by the best matching."""
    counts = contingency_matrix(labels, clusters)
    return counts[linear_sum_assignment(-counts)].sum() / len(labels)


if __name__ == "__main__":
    main()
