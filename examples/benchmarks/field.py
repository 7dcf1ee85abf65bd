"""Default parameters on images of many kinds, beside PCA, NMF and a grid over beta.

Each set of `_pictures.py` (with ``--data`` and ``--clothes`` also MNIST and Fashion-MNIST) is split
into training and test images, all models have the same number of components, and all figures are
of the test images: R2, the share of the variance of the pixels that reconstructions explain; the
accuracy of logistic regression and of 5 nearest neighbours on standardised and on raw components,
where there are classes; and the mean log density, in the units of X, beside that of
`sklearn.decomposition.PCA.score`, for the Gaussian family.

The column "past best" tells how far, in per cent, the -ELBO of the finished fit is above the lowest
that any of its epochs had: what is lost to training too long.
"""

import warnings
from time import perf_counter

import numpy as np
from _common import argument_parser, report
from _pictures import FIELD_SETS, PictureSet, idx_files
from sklearn.decomposition import NMF, PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from skvae import ConvVAETransformer
from skvae._data.dataset import ImageDataset
from skvae._model import passes

COMPONENTS = {"colour patches": 32, "colour patches, within": 32, "emoji": 32}


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--clothes", help="a folder with the four IDX files of Fashion-MNIST")
    parser.add_argument("--emoji", help="a .npz file of images, with arrays train and test")
    parser.add_argument("--sets", nargs="+", help="names of sets; none: all")
    parser.add_argument("--components", type=int, help="none: 10, and 32 for colour patches")
    parser.add_argument("--likelihood", nargs="+", default=["auto"])
    parser.add_argument("--beta", type=float, nargs="+", default=[1.0], help="a grid")
    parser.add_argument("--max-iter", type=int)
    parser.add_argument("--nmf", action="store_true", help="also NMF")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.max_iter = 1

    table, results = [], []
    for name, pictures in picture_sets(arguments).items():
        n_components = arguments.components or COMPONENTS.get(name, 10)
        for method, model in models(n_components, pictures, arguments).items():
            result = {"images": name, "K": n_components, "method": method}
            result |= measure(model, pictures)
            results.append(result)
            table.append({key: text(key, result.get(key)) for key in COLUMNS})
            print(" | ".join(table[-1].values()), flush=True)
    report(arguments, table, results=results)


COLUMNS = {
    "images": "{}",
    "K": "{}",
    "method": "{}",
    "R2": "{:.3f}",
    "logistic regression": "{:.1%}",
    "5-NN": "{:.1%}",
    "log density": "{:,.1f}",
    "active": "{}",
    "epochs": "{}",
    "past best": "{:.2f}",
    "seconds": "{:.1f}",
}


def text(key, value):
    return "" if value is None else COLUMNS[key].format(value)


def picture_sets(arguments):
    sets = {
        name: make(arguments.seed) for name, make in FIELD_SETS.items() if named(name, arguments)
    }
    for name, folder in (("MNIST", arguments.data), ("clothes", arguments.clothes)):
        if folder and named(name, arguments):
            sets[name] = idx_files(folder)
    if arguments.emoji and named("emoji", arguments):
        with np.load(arguments.emoji) as arrays:
            sets["emoji"] = PictureSet(arrays["train"], arrays["test"])
    if arguments.quick:
        sets = {
            name: pictures._replace(
                train=pictures.train[:150],
                train_labels=None,
                test=pictures.test[:50],
                test_labels=None,
            )
            for name, pictures in sets.items()
        }
    return sets


def named(name, arguments):
    return not arguments.sets or name in arguments.sets


def models(n_components, pictures, arguments):
    """The contenders by name; PCA first."""
    contenders = {"PCA": PCA(n_components, random_state=arguments.seed)}
    if arguments.nmf:
        contenders["NMF"] = NMF(n_components, max_iter=300, random_state=arguments.seed)
    for likelihood in arguments.likelihood:
        for beta in arguments.beta:
            name = f"skvae, {likelihood}" + (f", beta={beta:g}" if beta != 1 else "")
            contenders[name] = ConvVAETransformer(
                n_components,
                likelihood=likelihood,
                beta=beta,
                max_iter=arguments.max_iter,
                random_state=arguments.seed,
            )
    return contenders


class HeldOut(Callback):
    """Note -ELBO of images after each epoch."""

    def __init__(self, rows):
        self.rows = rows

    def initialize(self):
        self.losses_ = []
        return self

    def on_epoch_end(self, net, **kwargs):
        dataset = ImageDataset(self.rows, self.image_format_)
        elbo = passes.elbo(net.module_, dataset, net.noise)
        self.losses_.append(-float(elbo.mean()))

    def on_train_begin(self, net, X=None, **kwargs):
        self.image_format_ = X.image_format


def measure(model, pictures):
    """All figures of one model on one set."""
    ours = isinstance(model, ConvVAETransformer)
    train, test = (X if ours else rows_of(X) for X in (pictures.train, pictures.test))
    if isinstance(model, NMF):  # wants no negative numbers
        least = min(train.min(), 0)
        train, test = train - least, np.maximum(test - least, 0)
    result = {}
    if ours:
        watch = HeldOut(np.asarray(test[:500]).reshape(len(test[:500]), -1))
        model.set_params(callbacks=[watch])
    start = perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of NMF
        model.fit(train)
        result["seconds"] = perf_counter() - start
        components, test_components = model.transform(train), model.transform(test)
    reconstructions = model.inverse_transform(test_components)
    result["R2"] = explained(test, reconstructions)
    if pictures.train_labels is not None:
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000, tol=1e-3))
        for name, classifier in (
            ("logistic regression", linear),
            ("5-NN", KNeighborsClassifier(5)),
        ):
            classifier.fit(components, pictures.train_labels)
            result[name] = classifier.score(test_components, pictures.test_labels)
    if not isinstance(model, NMF):
        result["log density"] = model.score(test)
    if ours:
        result["method"] = f"**skvae**, {model.likelihood_}"
        if model.beta != 1:
            result["method"] += f", beta={model.beta:g}"
        result["active"] = model.n_active_components_
        result["epochs"] = model.n_iter_
        end = -model.score(test[:500])
        best = min([*watch.losses_, end])
        result["past best"] = 100 * (end - best) / abs(best)
        result["curve"] = watch.losses_
    return result


def explained(X, reconstructions):
    """R2: the share of the variance of all pixels that reconstructions explain."""
    return r2_score(rows_of(X), rows_of(reconstructions), multioutput="variance_weighted")


def rows_of(X):
    return np.asarray(X).reshape(len(X), -1).astype(np.float64)


if __name__ == "__main__":
    main()
