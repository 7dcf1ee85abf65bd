"""Data and fitted estimators that the tests share; small nets, few steps."""

import os
import re
from contextlib import contextmanager

# SciPy reads it once, on its import; without it scikit-learn skips its array API checks.
os.environ["SCIPY_ARRAY_API"] = "1"

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import sklearn
import torch
from sklearn.datasets import load_digits
from sklearn.utils.fixes import parse_version

from skvae import ConvVAEClassifier, ConvVAETransformer
from skvae._model import passes, start

mpl.use("Agg")
# Nets this small gain nothing from more, in this process and in those that tests start.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

# The linear start takes more than half of the time of a fit of a small net; see `whole_start`.
ALL_START_STEPS, start.N_START_STEPS = start.N_START_STEPS, 20

# Before, scikit-learn has no callbacks; test_compat.py says what is promised there.
HAS_CALLBACKS = parse_version(sklearn.__version__) >= parse_version("1.9")

# Scripts, not modules of tests; the first needs atheris.
collect_ignore = ["fuzz.py", "soak.py"]
if not HAS_CALLBACKS:
    collect_ignore.append("training/test_sklearn_callbacks.py")

# A net that trains in a fraction of a second.
SMALL = {
    "n_components": 3,
    "hidden_channels": (8,),
    "hidden_units": 16,
    "batch_size": 32,
    "likelihood": "bernoulli",
    "early_stopping": False,
    "random_state": 0,
}


@pytest.fixture(scope="session")
def digits():
    """400 images of shape (8, 8), uint8 from 0 to 16, read-only; and their labels."""
    bunch = load_digits()
    images = bunch.images[:400].astype(np.uint8)
    images.flags.writeable = False
    return images, bunch.target[:400]


@pytest.fixture(scope="session")
def small(digits):
    """A small estimator, fitted on the first 300 digits. Not to be fitted again."""
    return ConvVAETransformer(**SMALL, pixel_range=(0, 16), max_iter=15).fit(digits[0][:300])


@pytest.fixture(scope="session")
def many_channels():
    """A small estimator and its training data: 20 images of shape (8, 9, 5), from -1 to 3."""
    images = np.random.default_rng(0).uniform(-1, 3, (20, 8, 9, 5))
    return ConvVAETransformer(**SMALL, max_iter=2).fit(images), images


@contextmanager
def all_start_steps():
    """All steps of the linear start, as users have them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "N_START_STEPS", ALL_START_STEPS)
        yield


@pytest.fixture
def whole_start():
    """For tests in which the start counts."""
    with all_start_steps():
        yield


@pytest.fixture
def limit_passes(monkeypatch):
    """A function that sets how many images go through a network at once, and numbers in them."""

    def limit(n_images=passes.MAX_PASS_IMAGES, n_numbers=passes.MAX_PASS_NUMBERS):
        monkeypatch.setattr(passes, "MAX_PASS_IMAGES", n_images)
        monkeypatch.setattr(passes, "MAX_PASS_NUMBERS", n_numbers)

    return limit


@pytest.fixture
def close_figures():
    """Close what a test draws."""
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def small_classifier(digits):
    """A small classifier of the first 300 digits, of which a third is unlabelled: -1.

    Not to be fitted again.
    """
    images, labels = digits[0][:300], np.where(np.arange(300) % 3, digits[1][:300], -1)
    return fit_classifier(images, labels, unlabeled=-1, max_iter=15)


def fit(images, **params):
    """A small estimator, fitted on images from 0 to 16; three epochs unless told otherwise."""
    params = {**SMALL, "pixel_range": (0, 16), "max_iter": 3, **params}
    return ConvVAETransformer(**params).fit(images)


def fit_classifier(images, labels, **params):
    """A small classifier, fitted on images from 0 to 16; three epochs unless told otherwise."""
    params = {**SMALL, "pixel_range": (0, 16), "max_iter": 3, **params}
    return ConvVAEClassifier(**params).fit(images, labels)


def without_address(value):
    """The repr of a value, the same in all processes: for the name of a test."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def weights_of(vae):
    """All weights of a fitted estimator, one after the other."""
    return np.concatenate([weight.numpy().ravel() for weight in vae.module_.state_dict().values()])
