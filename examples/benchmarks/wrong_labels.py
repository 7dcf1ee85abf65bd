"""How well wrong labels are found: ROC AUC of out-of-fold probabilities of the given labels.

One label in twenty is made wrong, at random. Each method is fitted on four fifths of the images
at a time and tells how probable the labels of the others are. The suspicion is that the label is
improbable, as in the usual recipe of cleanlab ("self-confidence"), there with logistic regression
on the pixels. The images are some of the training images of ``--data``.
"""

from time import perf_counter

import numpy as np
from _common import argument_parser, report
from labels import flat, linear, read
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from skvae import ConvVAEClassifier

SHARE = 0.05


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--n-train", type=int, default=5_000)
    parser.add_argument("--max-iter", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.n_train, arguments.max_iter = 300, 1
    arguments.split = "test"  # whose images are not used
    pictures = read(arguments)
    images, true = pictures.train, pictures.train_labels
    rng = np.random.default_rng(arguments.seed)
    wrong = rng.random(len(true)) < SHARE
    classes = np.unique(true)
    given = np.where(wrong, (true + rng.integers(1, len(classes), len(true))) % len(classes), true)

    clf = ConvVAEClassifier(max_iter=arguments.max_iter, random_state=arguments.seed)
    table = []
    for name, model, X in (
        ("ConvVAEClassifier", clf, images),
        ("logistic regression on pixels", linear(), flat(images)),
    ):
        start = perf_counter()
        proba = cross_val_predict(model, X, given, cv=5, method="predict_proba")
        probability = proba[np.arange(len(given)), given]
        suspects = np.argsort(probability)[: wrong.sum()]
        table.append(
            {
                "method": name,
                "ROC AUC": f"{roc_auc_score(wrong, -probability):.4f}",
                "wrong among as many suspects": f"{wrong[suspects].mean():.1%}",
                "seconds": f"{perf_counter() - start:.0f}",
            }
        )
        print(" | ".join(table[-1].values()), flush=True)
    report(arguments, table)


if __name__ == "__main__":
    main()
