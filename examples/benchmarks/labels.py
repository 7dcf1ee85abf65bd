"""How few labels do: test error of ConvVAEClassifier and of others, over draws of labels.

Each draw labels as many training images of each class, at random; all others have no label. The
number of errors is a mean over the draws, with its standard error. The other methods see the same
labels: logistic regression on pixels and on principal components, `LabelSpreading` and
`SelfTrainingClassifier` (which also use images without a label), `ConvVAETransformer` with
logistic regression after it (its components are learned from all images, once), and a
convolutional network of the size of our encoder, trained by cross entropy on the labelled ones,
as they are or under the small maps that the classifier uses.

``--split valid`` scores on the last sixth of the training images instead, which are then not
trained on. All choices were made with it.
"""

import math
from time import perf_counter

import numpy as np
import torch
from _common import argument_parser, report
from _pictures import digits, fluorescence, heartbeats, idx_files, strokes
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from skvae import ConvVAEClassifier, ConvVAETransformer
from skvae._model.vae import ConvVAE
from skvae._training.augment import N_DRAWS, affine_maps, mapped
from skvae._training.callbacks import one_cycle

METHODS = (
    "skvae",
    "two stages",
    "pixels",
    "PCA",
    "label spreading",
    "self-training",
    "cross entropy",
    "cross entropy, maps",
)
NO_LABEL = -1
MADE = {make.__name__: make for make in (strokes, heartbeats, fluorescence)}


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--made", choices=MADE, help="images made here, in place of the data")
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 1_000, 0], help="0: all")
    parser.add_argument("--draws", type=int, default=5, help="draws of labels; one if all")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--label-weight", type=float, nargs="+", default=[None], help="a grid")
    parser.add_argument("--consistency", type=float, default=1.0)
    parser.add_argument("--max-iter", type=int)
    parser.add_argument("--split", choices=("test", "valid"), default="test")
    parser.add_argument("--n-train", type=int)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.draws, arguments.max_iter, arguments.n_train = 1, 1, 300
        arguments.labels = [50]
    pictures = read(arguments, MADE.get(arguments.made))
    everything = LatentsOfAll(pictures.train, arguments)

    table, results = [], []
    for n_labels in arguments.labels:
        for method in arguments.methods:
            grid = arguments.label_weight if method == "skvae" else [None]
            for weight in grid:
                rows = [
                    measure(method, pictures, n_labels, seed, weight, everything, arguments)
                    for seed in range(arguments.seed, arguments.seed + arguments.draws)[
                        : None if n_labels else 1
                    ]
                ]
                results += rows
                table.append(summary(rows))
                print(" | ".join(map(str, table[-1].values())), flush=True)
    report(arguments, table, results=results)


def read(arguments, make=None):
    """The images and their labels: those that a function of the seed makes, if there is one.

    With ``--split valid`` the test images are not touched.
    """
    if arguments.data and not make:
        pictures = idx_files(arguments.data)
    else:
        pictures = (make or digits)(arguments.seed)
    if arguments.split == "valid":
        n = len(pictures.train) // 6
        pictures = pictures._replace(
            train=pictures.train[:-n],
            train_labels=pictures.train_labels[:-n],
            test=pictures.train[-n:],
            test_labels=pictures.train_labels[-n:],
        )
    n = arguments.n_train
    return pictures._replace(train=pictures.train[:n], train_labels=pictures.train_labels[:n])


def draw_labels(labels, n_labels, seed):
    """The labels with all but `n_labels` replaced by -1; each class keeps as many."""
    if not n_labels:
        return labels.astype(np.int64)
    rng = np.random.default_rng(seed)
    classes = np.unique(labels)
    shown = np.full(len(labels), NO_LABEL)
    for i, label in enumerate(classes):
        n = n_labels // len(classes) + (i < n_labels % len(classes))
        chosen = rng.permutation(np.flatnonzero(labels == label))[:n]
        shown[chosen] = label
    return shown


class LatentsOfAll:
    """A transformer fitted once on all training images, when it is first asked for."""

    def __init__(self, X, arguments):
        self.X, self.arguments, self.vae = X, arguments, None

    def __call__(self):
        if self.vae is None:
            start = perf_counter()
            self.vae = ConvVAETransformer(
                self.arguments.components,
                max_iter=self.arguments.max_iter,
                random_state=self.arguments.seed,
            ).fit(self.X)
            self.seconds = perf_counter() - start
        return self.vae


def measure(method, pictures, n_labels, seed, weight, everything, arguments):
    """Figures of one method with one draw of labels."""
    y = draw_labels(pictures.train_labels, n_labels, seed)
    start = perf_counter()
    X, test = pictures.train, pictures.test
    row = {"labels": n_labels or len(y), "method": method, "seed": seed}
    if method == "skvae":
        params = {} if weight is None else {"label_weight": weight}
        row |= params
        model = ConvVAEClassifier(
            arguments.components,
            unlabeled=NO_LABEL,
            max_iter=arguments.max_iter,
            consistency=arguments.consistency,
            random_state=seed,
            **params,
        ).fit(X, y)
    elif method == "two stages":
        vae = everything()
        X, test = vae.transform(X), vae.transform(test)
        model = linear().fit(X[y >= 0], y[y >= 0])
    else:
        X, test = flat(X), flat(test)
        model = fit_peer(method, X, y, pictures.train.shape[1:], seed, arguments)
    row["seconds"] = perf_counter() - start
    if method == "two stages":
        row["seconds"] += everything.seconds
    proba = model.predict_proba(test)
    row["error"] = 100 * np.mean(model.classes_[proba.argmax(1)] != pictures.test_labels)
    row["calibration"] = 100 * calibration_error(proba, model.classes_, pictures.test_labels)
    if method == "skvae":
        row["-ELBO"] = -float(model.score_samples(test).mean())
        latents, targets = model.transform(X), pictures.train_labels
        row["linear"] = 100 * linear().fit(latents, targets).score(
            model.transform(test), pictures.test_labels
        )
    return row


def linear():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000, tol=1e-3))


def flat(X):
    """Rows from 0 to 1."""
    return np.asarray(X, dtype=np.float32).reshape(len(X), -1) / np.float32(X.max())


def fit_peer(method, X, y, shape, seed, arguments):
    known = y >= 0
    if method.startswith("cross entropy"):
        strength = arguments.consistency * method.endswith("maps")
        network = CrossEntropyNetwork(shape, seed, arguments.max_iter, strength)
        return network.fit(X[known], y[known])
    if method == "label spreading":
        some = known | (np.random.default_rng(seed).random(len(y)) < 10_000 / len(y))
        return LabelSpreading(kernel="knn", n_neighbors=10, alpha=0.5).fit(X[some], y[some])
    if method == "self-training":
        return SelfTrainingClassifier(linear(), threshold=0.9).fit(X, y)
    if method == "PCA":
        pca = PCA(arguments.components, random_state=seed).fit(X)
        return make_pipeline(pca, linear()).fit(X[known], y[known])
    return linear().fit(X[known], y[known])


class CrossEntropyNetwork:
    """The encoder of a `ConvVAE` with a linear layer for the classes, and no other loss.

    It sees the images under small maps of this strength, if it is above 0.
    """

    def __init__(self, shape, seed, max_iter, strength):
        self.shape = (1, *shape[:2])
        torch.manual_seed(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.net = ConvVAE(self.shape, 1, (64,), 256).to(memory_format=torch.channels_last).encoder
        self.max_iter = max_iter
        self.strength = strength

    def fit(self, X, y):
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.net.append(torch.nn.Linear(256, len(self.classes_)))
        codes, X = torch.from_numpy(codes), self._pictures(X)
        n_batches = math.ceil(len(X) / 128)
        n_epochs = self.max_iter or max(1, round(5_600 / n_batches))
        n_epochs = min(n_epochs, 200)
        optimizer = torch.optim.Adam(self.net.parameters(), betas=(0.9, 0.99), fused=True)
        step = 0
        for _ in range(n_epochs):
            for batch in torch.randperm(len(X), generator=self.generator).split(128):
                rate = 5e-3 * one_cycle(step / (n_epochs * n_batches))
                optimizer.param_groups[0]["lr"] = rate
                optimizer.zero_grad()
                x = X[batch]
                if self.strength:
                    draws = torch.rand(len(x), N_DRAWS, generator=self.generator)
                    maps = affine_maps(draws, self.strength, self.shape)
                    x = mapped(x, maps, holes=False)
                loss = torch.nn.functional.cross_entropy(self._logits(x), codes[batch])
                loss.backward()
                optimizer.step()
                step += 1
        return self

    @torch.inference_mode()
    def predict_proba(self, X):
        parts = self._pictures(X).split(1_000)
        return torch.cat([self._logits(part).double().softmax(1) for part in parts]).numpy()

    def _pictures(self, X):
        return torch.from_numpy(X.reshape(-1, *self.shape))

    def _logits(self, x):
        return self.net(x)


def calibration_error(proba, classes, y, n_bins=15):
    """Expected calibration error: |confidence - accuracy|, weighted over bins of confidence."""
    confidence, right = proba.max(1), classes[proba.argmax(1)] == y
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(bins, confidence - right, n_bins)
    return np.abs(gaps).sum() / len(y)


def summary(rows):
    """Means and standard errors over the draws, as text."""
    text = {key: rows[0][key] for key in ("labels", "method", "label_weight") if key in rows[0]}
    for key in ("error", "calibration", "-ELBO", "linear", "seconds"):
        values = [row[key] for row in rows if key in row]
        if values:
            text[key] = f"{np.mean(values):.2f}"
            if len(values) > 1 and key in ("error", "calibration"):
                text[key] += f" ± {np.std(values, ddof=1) / len(values) ** 0.5:.2f}"
    return text


if __name__ == "__main__":
    main()
