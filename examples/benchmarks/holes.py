"""Images with missing pixels: how well they are filled, and what their latents still tell.

In training and test images, half of the pixels are missing at random. The table has the root mean
squared error of the filled pixels, in units of their range, and the test accuracy of logistic
regression and of a small convolutional network that are trained on filled training images and
tested on filled test images. The other imputers see as many training images as ``--peer-train``
says. Printed, too: the accuracy of 5 nearest neighbours on latents, and with ``--complete`` fits on
the complete images, without and with ``missing_values``.
"""

from time import perf_counter

import numpy as np
from _common import argument_parser, load_images, report
from labels import CrossEntropyNetwork, linear
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.neighbors import KNeighborsClassifier

from skvae import ConvVAETransformer


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--share", type=float, default=0.5, help="of the pixels that are missing")
    parser.add_argument("--n-train", type=int, help="training images; none: all")
    parser.add_argument("--n-test", type=int, default=2_000)
    parser.add_argument("--peer-train", type=int, default=2_000)
    parser.add_argument("--peers", nargs="*", default=["KNNImputer", "IterativeImputer"])
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--n-draws", type=int, default=100)
    parser.add_argument("--max-iter", type=int)
    parser.add_argument("--complete", action="store_true", help="also fits on complete images")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.n_train, arguments.n_test, arguments.peer_train = 300, 50, 100
        arguments.max_iter = 1
    images = load_images(arguments.data, arguments.n_train)
    images = images._replace(
        test=images.test[: arguments.n_test], test_labels=images.test_labels[: arguments.n_test]
    )
    rng = np.random.default_rng(arguments.seed)
    train, test = (with_holes(X, arguments.share, rng) for X in (images.train, images.test))

    table = [
        fill_and_classify(name, imputer, images, train, test, arguments)
        for name, imputer in imputers(arguments).items()
    ]
    vae, row = ours(images, train, test, arguments)
    table += [row, complete_row(images, arguments)]
    accuracy = neighbours("half missing", vae, images, train, test)
    report(arguments, table, neighbours=accuracy)
    if arguments.complete:
        complete_fits(images, arguments)


def with_holes(X, share, rng):
    """Rows in float32 with missing pixels as NaN."""
    X = X.reshape(len(X), -1).astype(np.float32)
    X[rng.random(X.shape, dtype=np.float32) < share] = np.nan
    return X


def imputers(arguments):
    peers = {
        "KNNImputer": KNNImputer(n_neighbors=10),
        "IterativeImputer": IterativeImputer(
            n_nearest_features=50, max_iter=5, random_state=arguments.seed
        ),
    }
    mean = SimpleImputer(keep_empty_features=True)
    return {"mean image": mean, **{name: peers[name] for name in arguments.peers}}


def fill_and_classify(name, imputer, images, train, test, arguments):
    """A row of the table for an imputer of scikit-learn."""
    n = arguments.peer_train
    start = perf_counter()
    imputer.set_params(keep_empty_features=True)
    filled = imputer.fit_transform(train[:n])
    filled_test = imputer.transform(test)
    seconds = perf_counter() - start
    return row_of(name, images, filled, filled_test, test, seconds, arguments)


def row_of(name, images, filled, filled_test, test, seconds, arguments):
    error = root_mean_square(filled_test - flat(images.test), np.isnan(test))
    row = {"method": name, "training images": len(filled), "error": f"{error:.4f}"}
    labels = images.train_labels[: len(filled)]
    for classifier, model in (
        ("logistic regression", linear()),
        ("network", CrossEntropyNetwork((28, 28), arguments.seed, arguments.max_iter or 4, 0.0)),
    ):
        model.fit(filled.astype(np.float32) / 255, labels)
        predicted = model.classes_[
            model.predict_proba(filled_test.astype(np.float32) / 255).argmax(1)
        ]
        row[classifier] = f"{np.mean(predicted == images.test_labels):.2%}"
    row["seconds"] = f"{seconds:.0f}"
    print(" | ".join(map(str, row.values())), flush=True)
    return row


def ours(images, train, test, arguments):
    """The fitted transformer, and its row of the table."""
    start = perf_counter()
    vae = ConvVAETransformer(
        arguments.components,
        missing_values=np.nan,
        pixel_range=(0, 255),
        max_iter=arguments.max_iter,
        random_state=arguments.seed,
    ).fit(train)
    print(f"fitted in {perf_counter() - start:.0f} s", flush=True)
    n = min(len(train), 10_000)  # filling takes longer than training
    filled, filled_test = (vae.impute(X, n_draws=arguments.n_draws) for X in (train[:n], test))
    seconds = perf_counter() - start
    row = row_of("**skvae**", images, filled, filled_test, test, seconds, arguments)
    return vae, row


def complete_row(images, arguments):
    """The classifiers on complete images."""
    n = min(len(images.train), 10_000)
    test = flat(images.test)
    holes = np.where(np.ones_like(test, dtype=bool), np.nan, test)
    row = row_of("complete images", images, flat(images.train[:n]), test, holes, 0.0, arguments)
    return row | {"error": "", "seconds": ""}


def neighbours(name, vae, images, train, test):
    """5-NN accuracy on latents."""
    classifier = KNeighborsClassifier(5).fit(vae.transform(train), images.train_labels)
    accuracy = classifier.score(vae.transform(test), images.test_labels)
    print(f"5-NN on latents, {name}: {accuracy:.2%}", flush=True)
    return accuracy


def complete_fits(images, arguments):
    """-ELBO, time and 5-NN of fits on complete images, without and with `missing_values`."""
    for missing_values in (None, np.nan):
        start = perf_counter()
        vae = ConvVAETransformer(
            arguments.components,
            missing_values=missing_values,
            max_iter=arguments.max_iter,
            random_state=arguments.seed,
        ).fit(images.train)
        seconds = perf_counter() - start
        score = vae.score(images.test)
        print(f"missing_values={missing_values}: -ELBO {-score:.2f}, {seconds:.0f} s", flush=True)
        neighbours("complete", vae, images, images.train, images.test)


def flat(X):
    return X.reshape(len(X), -1).astype(np.float32)


def root_mean_square(differences, where):
    return float(np.sqrt(np.mean(np.square(differences[where], dtype=np.float64)))) / 255


if __name__ == "__main__":
    main()
