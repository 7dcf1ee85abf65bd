"""Which images are set aside to watch the training: how many, and which (NumPy, scikit-learn)."""

import math

import numpy as np
from sklearn.model_selection import train_test_split

from .._data import UNKNOWN, scarce
from .._model import LIKELIHOODS

# Bounds of early_stopping="auto": too few images to set any aside, so many that they do not
# overfit, and the most to set aside.
AUTO_FEW, AUTO_MANY, AUTO_MAX_VALID = 20, 30_000, 2_048


def n_set_aside(images, likelihood, early_stopping, validation_fraction):
    """Number of images to set aside for validation; a ValueError if that leaves too few."""
    n_images, n_candidates = len(images), len(_candidates(images))
    n_valid = math.ceil(n_images * validation_fraction)
    if early_stopping == "auto":
        useful = n_images < AUTO_MANY or LIKELIHOODS[likelihood].normal
        n_valid = min(n_valid, AUTO_MAX_VALID) if useful and n_images >= AUTO_FEW else 0
        if images.labels is not None:
            n_valid = max(0, min(n_valid, n_candidates - 1))
    elif not early_stopping:
        n_valid = 0
    if n_valid and n_valid >= n_candidates:
        raise ValueError(
            f"Early stopping sets {n_valid} of n_samples={n_images} images aside, which leaves "
            "too few to train on. Send more images, or lower validation_fraction."
        )
    return n_valid


def split(images, n_valid, seed):
    """The images to train on, and those to validate on or None."""
    if not n_valid:
        return images, None
    candidates = np.asarray(_candidates(images))
    _, valid = train_test_split(candidates, test_size=n_valid, random_state=seed)
    return images.without(valid), images.at(np.sort(valid))


def _candidates(images):
    """Positions of the images that may be set aside for validation.

    If labels are scarce, only the images without one. Otherwise all images but the first of each
    class, so that the training sees each class.
    """
    everything, labels = range(len(images)), images.labels
    if labels is None:
        return everything
    labelled = np.flatnonzero(labels != UNKNOWN)
    if scarce(labels):
        return np.setdiff1d(everything, labelled)
    _, firsts = np.unique(labels[labelled], return_index=True)
    return np.setdiff1d(everything, labelled[firsts])
