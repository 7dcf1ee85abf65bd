"""What daily use costs: a grid search on two workers, the progress bar, and the import.

Contenders take turns; ratios are those of each round. The import is timed in new processes.
"""

import contextlib
import io
import subprocess
import sys

from _common import argument_parser, interleave, load_images, ratios, report, spread
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skvae import ConvVAETransformer


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--train", type=int, default=6_000, help="images to search on")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(train=500, rounds=2)
    images = load_images(arguments.data, arguments.train)
    X = images.train
    large = X.reshape(len(X), -1), images.train_labels
    small = load_digits(return_X_y=True)

    def search(rows, labels, n_jobs):
        vae = ConvVAETransformer(max_iter=3, device="cpu", random_state=arguments.seed)
        pipeline = make_pipeline(vae, LogisticRegression(max_iter=1000))
        grid = {"convvaetransformer__n_components": [2, 5, 10, 20]}
        GridSearchCV(pipeline, grid, cv=2, refit=False, n_jobs=n_jobs).fit(rows, labels)

    def fit(verbose):
        vae = ConvVAETransformer(max_iter=3, random_state=arguments.seed, verbose=verbose)
        with contextlib.redirect_stderr(io.StringIO()):
            vae.fit(X)

    def run(code):
        subprocess.run([sys.executable, "-c", code], check=True)

    search(*small, 2)  # starts the workers
    pairs = {
        f"grid search of 4, {title}, n_jobs=1 / n_jobs=2": (
            lambda data=data: search(*data, 1),
            lambda data=data: search(*data, 2),
        )
        for title, data in {"8 x 8": small, "28 x 28": large}.items()
    }
    pairs |= {
        "fit with verbose=1 / verbose=0": (lambda: fit(1), lambda: fit(0)),
        "import skvae / import torch, sklearn, skorch": (
            lambda: run("import skvae"),
            lambda: run("import torch, sklearn, skorch"),
        ),
    }
    table, measured = [], {}
    for what, (first, second) in pairs.items():
        seconds = interleave({"first": first, "second": second}, arguments.rounds)
        measured[what] = seconds
        table.append(
            {
                "what": what,
                "first, seconds": spread(seconds["first"]),
                "second, seconds": spread(seconds["second"]),
                "ratio": spread(ratios(seconds["first"], seconds["second"]), ".3f"),
            }
        )
    report(arguments, table, seconds=measured)


if __name__ == "__main__":
    main()
