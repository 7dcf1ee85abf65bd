"""How good the components are at default settings, beside PCA, NMF, BernoulliRBM and UMAP.

Fitted on the training images, judged on the test images: -ELBO and its terms (grey targets,
nats per image), accuracy of logistic regression (on standardised components) and of the 5
nearest neighbours, and the seconds of `fit` and of `transform`.
"""

import sys
import tempfile
import warnings
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import torch
from _common import PEERS, argument_parser, load_images, report, run_worker, save_pictures
from sklearn.decomposition import NMF, PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import ConvVAETransformer
from skvae._model.latents import kl_divergence

METHODS = {"PCA": PCA, "NMF": NMF, "BernoulliRBM": BernoulliRBM}
COLUMNS = {
    "method": "s",
    "K": "d",
    "negative_elbo": ".2f",
    "reconstruction": ".2f",
    "kl": ".2f",
    "logistic_regression": ".2%",
    "nearest_neighbours": ".2%",
    "fit_s": ".1f",
    "transform_s": ".2f",
}


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--components", nargs="+", type=int, default=[2, 5, 10, 20])
    parser.add_argument("--train", type=int, default=None, help="images to fit on")
    parser.add_argument("--methods", nargs="+", default=["skvae", *METHODS, "UMAP"], help="to run")
    parser.add_argument("--max-iter", type=int, default=None, help="epochs; none: the default")
    parser.add_argument("--peer-python", default=sys.executable, help="where UMAP lives")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(components=[2], train=1000, max_iter=1)
    images = load_images(arguments.data, arguments.train)
    if arguments.quick:
        images = images._replace(test=images.test[:300], test_labels=images.test_labels[:300])

    results = [
        measured
        for n_components in arguments.components
        for method in arguments.methods
        if (measured := measure(method, n_components, images, arguments))
    ]
    table = [
        {
            name: format(result[name], form) if name in result else ""
            for name, form in COLUMNS.items()
        }
        for result in results
    ]
    report(arguments, table, figure=plot(results), results=results)


def measure(method, n_components, images, arguments):
    """All the numbers of one method; nothing where its library is not installed."""
    if method == "skvae":
        codes, numbers = our_codes(n_components, images, arguments)
    elif method == "UMAP":
        codes, numbers = umap_codes(n_components, images, arguments)
    else:
        rows = [X.reshape(len(X), -1).astype(np.float32) / 255 for X in (images.train, images.test)]
        model = METHODS[method](n_components, random_state=arguments.seed)
        codes, numbers = timed_codes(model, *rows)
    if codes is None:
        return None
    classifiers = {
        "logistic_regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "nearest_neighbours": KNeighborsClassifier(5),
    }
    for name, classifier in classifiers.items():
        classifier.fit(codes[0], images.train_labels)
        numbers[name] = float(classifier.score(codes[1], images.test_labels))
    return {"method": method, "K": n_components, **numbers}


def timed_codes(model, train, test):
    start = perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # NMF's 200 iterations
        model.fit(train)
    fitted = perf_counter()
    test_codes = model.transform(test)
    numbers = {"fit_s": fitted - start, "transform_s": perf_counter() - fitted}
    return (model.transform(train), test_codes), numbers


def our_codes(n_components, images, arguments):
    vae = ConvVAETransformer(n_components, max_iter=arguments.max_iter, random_state=arguments.seed)
    codes, numbers = timed_codes(vae, images.train, images.test)
    negative_elbo, kl = -vae.score(images.test), mean_kl(vae, images.test)
    terms = {"negative_elbo": negative_elbo, "reconstruction": negative_elbo - kl, "kl": kl}
    history = vae.history_.to_dict(orient="list")
    return codes, {**numbers, **terms, "n_epochs": vae.n_iter_, "history": history}


@torch.inference_mode()
def mean_kl(vae, X):
    """Mean KL(q(z|x) || N(0, I)) in nats."""
    chunks = (torch.tensor(X)[:, None] / 255).split(1000)
    posteriors = (vae.module_.encode(x.to(vae.device_)) for x in chunks)
    return sum(kl_divergence(*posterior).sum().item() for posterior in posteriors) / len(X)


def umap_codes(n_components, images, arguments):
    with tempfile.TemporaryDirectory() as folder:
        save_pictures(folder, train=images.train, valid=images.test)
        script = PEERS / "umap_codes.py"
        sizes = ["--images", folder, "--components", n_components]
        records = run_worker(arguments.peer_python, script, *sizes)
        if not records:
            return None, {}
        codes = [np.load(Path(folder) / f"{name}_codes.npy") for name in ("train", "valid")]
    return codes, {**records[0], **records[-1]}


def plot(results):
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    for ax, name in zip(axes, ("logistic_regression", "nearest_neighbours"), strict=False):
        for method in dict.fromkeys(result["method"] for result in results):
            points = [(r["K"], r[name]) for r in results if r["method"] == method]
            ax.plot(*zip(*points, strict=True), "o-", label=method)
        ax.set(title=name.replace("_", " "), xlabel="components", ylabel="test accuracy")
    axes[0].legend()
    ours = [result for result in results if "kl" in result]
    places = [str(result["K"]) for result in ours]
    reconstruction = [result["reconstruction"] for result in ours]
    axes[2].bar(places, reconstruction, label="-log p(x|z)")
    axes[2].bar(places, [result["kl"] for result in ours], bottom=reconstruction, label="KL")
    axes[2].set(title="skvae: test -ELBO", xlabel="components", ylabel="nats per image")
    axes[2].legend()
    return figure


if __name__ == "__main__":
    main()
