"""What y says: the classes, and the class of each image (NumPy, scikit-learn)."""

from numbers import Real

import numpy as np
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from .._warnings import warn


def scarce(labels):
    """Whether fewer than half of the images have a label; -1 stands for none."""
    return bool(2 * np.sum(labels >= 0) < len(labels))


# Code of an image whose class is not known.
UNKNOWN = -1


def encode_labels(y, unlabeled, classes=None):
    """The classes in y, and the class of each image.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels of any type that scikit-learn's classifiers take.

    unlabeled : scalar or None
        The value that marks images without a label. None: every value is a class.

    classes : ndarray of shape (n_classes,), default=None
        The classes that y may hold. None: those that it holds.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
        Sorted.

    codes : ndarray of shape (n,), int64
        Position of each label in the classes; -1: not known.

    Raises
    ------
    ValueError
        If y is not one-dimensional, if no image has a label, if the labels are numbers that are
        not whole or not finite, or if one of them is not in `classes`.

    Warns
    -----
    UserWarning
        If -1 seems to mark images without a label, but `unlabeled` is None.
    """
    labels, known = known_labels(column_or_1d(y, warn=True), unlabeled)
    codes = np.full(len(known), UNKNOWN)
    if len(labels):
        assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
    if classes is None:
        if len(labels) == 0:
            raise ValueError(
                f"No image has a label: all {len(known)} values of y are unlabeled={unlabeled!r}."
            )
        classes = LabelEncoder().fit(labels).classes_
        if unlabeled is None:
            _warn_about_minus_one(classes)
    encoder = LabelEncoder()
    encoder.classes_ = classes
    codes[known] = encoder.transform(labels)
    return classes, codes


def known_labels(y, unlabeled):
    """The labels in y, without the value that marks images without one.

    Parameters
    ----------
    y : ndarray of shape (n,)

    unlabeled : scalar or None
        None: every value is a label.

    Returns
    -------
    labels : ndarray of shape (n_labelled,)
        An array of objects, which y is if its marker is of another type than its labels, becomes
        one of numbers or bools if all labels are such.

    known : ndarray of bool of shape (n,)
        Where y has a label.
    """
    if unlabeled is None:
        known = np.ones(len(y), dtype=bool)
    elif isinstance(unlabeled, Real) and np.isnan(unlabeled):
        known = np.asarray(y == y, dtype=bool)  # NaN is the only value that differs from itself
    else:
        known = np.asarray(y != unlabeled, dtype=bool)
    labels = y[known]
    if labels.dtype == object and all(isinstance(label, (Real, np.bool_)) for label in labels):
        labels = np.array(labels.tolist())
    return labels, known


def _warn_about_minus_one(classes):
    if classes.dtype.kind in "if" and len(classes) > 2 and classes[0] == -1:
        warn(
            f"y holds -1 beside {len(classes) - 1} other classes. With unlabeled=None, -1 is a "
            "class like the others. If it marks images without a label, set unlabeled=-1."
        )


def check_classes(classes, fitted=None):
    """The classes that `partial_fit` was told of.

    Parameters
    ----------
    classes : array-like or None

    fitted : ndarray of shape (n_classes,), default=None
        Those of earlier calls.

    Returns
    -------
    classes : ndarray of shape (n_classes,)

    Raises
    ------
    ValueError
        If the first call names no classes, or a later one names others.
    """
    if classes is None:
        if fitted is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return fitted
    classes = LabelEncoder().fit(column_or_1d(classes)).classes_
    if fitted is not None and not np.array_equal(classes, fitted):
        raise ValueError(
            f"`classes={classes}` is not the same as on last call to partial_fit, was: {fitted}"
        )
    return classes


def resolve_priors(priors, class_counts):
    """Probability of each class.

    Parameters
    ----------
    priors : array-like of shape (n_classes,) or None
        None: the frequencies of the labels. A class that was not seen yet counts as seen once.

    class_counts : ndarray of shape (n_classes,)

    Returns
    -------
    priors : ndarray of shape (n_classes,), float64

    Raises
    ------
    ValueError
        If there is not one number above 0 for each class, or if they do not sum to 1.
    """
    if priors is None:
        counts = np.maximum(class_counts, 1)
        return counts / counts.sum()
    priors = np.array(priors, dtype=np.float64)
    if priors.shape != class_counts.shape:
        raise ValueError(
            f"priors must hold one number for each of the {len(class_counts)} classes. "
            f"Got shape {priors.shape}."
        )
    if not (priors > 0).all() or not np.isclose(priors.sum(), 1.0):
        raise ValueError(f"priors must be above 0 and sum to 1. Got {priors}.")
    return priors
