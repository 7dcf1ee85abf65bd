"""Small fits of all kinds, and numbers that stand for them: what a change of the house must keep.

``python digests.py`` prints a digest of the bits of each fit, to compare two versions on one
machine. ``python digests.py --write`` writes the numbers that test_digests.py compares, after a
change that is meant to change fits.
"""

import hashlib
import json
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import skvae
from skvae import ConvVAEClassifier, ConvVAETransformer

NUMBERS = Path(__file__).parent / "data" / "digests.json"
SMALL = {
    "n_components": 3,
    "hidden_channels": (8,),
    "hidden_units": 16,
    "batch_size": 32,
    "max_iter": 3,
    "random_state": 0,
}


def images(n=200):
    return load_digits().images[:n]


def colours(n=60):
    """Fixed patterns in random colours, and noise: PCA leaves something to explain."""
    rng = np.random.default_rng(0)
    weights, patterns = rng.uniform(size=(n, 5, 3)), rng.uniform(size=(5, 30, 30))
    X = np.einsum("npc,pij->nijc", weights, patterns) / 5 + rng.normal(0, 0.02, (n, 30, 30, 3))
    return (X.clip(0, 1) * 255).astype(np.uint8)


def with_holes(n=200):
    X = images(n)
    X[::2, 2:5, 1:4] = np.nan
    return X


def labels(n=200):
    return np.where(np.arange(n) % 3, -1, load_digits().target[:n])


def resumed():
    """A fit that another one interrupted after two epochs, and its continuation."""
    from faults import Crash

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "checkpoint")
        try:
            vae = ConvVAETransformer(**SMALL, callbacks=[Crash(2)], checkpoint=path)
            vae.fit(images())
        except RuntimeError:
            pass
        return ConvVAETransformer(**SMALL, checkpoint=path).fit(images())


def loaded():
    """A fit that went through a file, and trained on."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.skvae")
        ConvVAETransformer(**SMALL).fit(images(300)).save(path)
        return skvae.load(path).partial_fit(images(300))


FITS = {
    "gaussian": lambda: (ConvVAETransformer(**SMALL).fit(images()), images()),
    "bernoulli, binarised": lambda: (
        ConvVAETransformer(**SMALL, likelihood="bernoulli", binarize=True, beta_warmup=0.5).fit(
            images()
        ),
        images(),
    ),
    "continuous Bernoulli, early stopping, maps": lambda: (
        ConvVAETransformer(
            **SMALL, likelihood="continuous_bernoulli", early_stopping=True, augment=0.5
        ).fit(images()),
        images(),
    ),
    "colours": lambda: (
        ConvVAETransformer(**{**SMALL, "hidden_channels": None}).fit(colours()),
        colours(),
    ),
    "holes": lambda: (
        ConvVAETransformer(**SMALL, missing_values=np.nan).fit(with_holes()),
        with_holes(),
    ),
    "few labels": lambda: (
        ConvVAEClassifier(**SMALL, unlabeled=-1, label_weight=30).fit(images(), labels()),
        images(),
    ),
    "few labels, no maps": lambda: (
        ConvVAEClassifier(**SMALL, unlabeled=-1, label_weight=30, consistency=0).fit(
            images(), labels()
        ),
        images(),
    ),
    "partial_fit": lambda: (
        ConvVAETransformer(**SMALL).partial_fit(images(40)).partial_fit(images(300)),
        images(),
    ),
    "resumed": lambda: (resumed(), images()),
    "loaded": lambda: (loaded(), images()),
}


def numbers_of(name):
    """Arrays that stand for a fit: losses, components, latents, scores, reconstructions."""
    vae, X = FITS[name]()
    return {
        "loss_curve": np.array(vae.loss_curve_),
        "kl_per_component": vae.kl_per_component_,
        "latents": vae.transform(X[:4]),
        "scores": vae.score_samples(X[:4]),
        "images": np.asarray(vae.reconstruct(X[:2])).reshape(2, -1)[:, ::7],
    }


def main():
    warnings.simplefilter("ignore")
    results = {name: numbers_of(name) for name in FITS}
    for name, numbers in results.items():
        digest = hashlib.sha256(
            b"".join(np.ascontiguousarray(a).tobytes() for a in numbers.values())
        )
        print(f"{name}: {digest.hexdigest()[:16]}")
    if "--write" in sys.argv:
        plain = {
            name: {key: np.asarray(array, float).tolist() for key, array in numbers.items()}
            for name, numbers in results.items()
        }
        NUMBERS.write_text(json.dumps(plain) + "\n")


if __name__ == "__main__":
    main()
