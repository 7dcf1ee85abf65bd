"""What y says: the classes, and the class of each image (NumPy, scikit-learn)."""

from numbers import Integral, Real

import numpy as np
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from .._warnings import warn
from .containers import has_mask

# Code of an image whose class is not known.
UNKNOWN = -1


def scarce(labels):
    """Whether fewer than half of the images have a label; -1 stands for none. None: no classes."""
    return labels is not None and bool(2 * np.sum(labels >= 0) < len(labels))


def encode_labels(y, unlabeled, classes=None):
    """The sorted classes in y, and the place of each label in them: (n_classes,) and (n,), int64.

    -1 stands for an image without a label, which `unlabeled` marks; see `known_labels`, also for
    its errors. With `classes`, y may hold these only. A ValueError if no image has a label, or if
    labels are not whole numbers, or are not in `classes`. A warning if -1 seems to mark images, but
    `unlabeled` is None.
    """
    labels, known = known_labels(y, unlabeled, warn=True)
    codes = np.full(len(known), UNKNOWN)
    if len(labels):
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


def known_labels(y, unlabeled, *, warn=False):
    """The labels in y without those that `unlabeled` marks, and a bool for each of y: is it known?

    `unlabeled`, if it is NaN or NA of pandas, stands for all that pandas calls missing, and for
    masked labels; None marks nothing. A list may hold labels of one type and a marker of another.
    An array of objects becomes one of numbers or bools if all labels are such. `warn` says whether
    to warn of a y of shape (n, 1). A ValueError if the marker is not one value, if it does not
    occur, but what another type makes of it does, or if labels are missing or infinite. A TypeError
    if some labels are text and others are not.
    """
    if np.ndim(unlabeled) > 0:
        raise ValueError(f"unlabeled must be one value, such as -1 or np.nan. Got {unlabeled!r}.")
    y = column_or_1d(with_types(y), warn=warn)
    if unlabeled is None:
        known = np.ones(len(y), dtype=bool)
    elif is_missing(unlabeled):
        known = ~_missing(y)
    elif y.dtype == object:
        known = np.array([is_missing(v) or v != unlabeled for v in y], dtype=bool)
    else:
        known = np.asarray(y != unlabeled, dtype=bool)
    labels = y[known]
    if unlabeled is not None and known.all():
        _refuse_cast_of(unlabeled, labels)
    if labels.dtype == object and all(isinstance(label, (Real, np.bool_)) for label in labels):
        labels = np.array(labels.tolist())
    if len(labels):
        _check_finite(labels)
        _check_types(labels)
    return labels, known


def with_types(y):
    """y, as an array of objects where NumPy would make text of a marker, or take off a mask."""
    if has_mask(y):
        return np.where(y.mask, None, np.asarray(y)) if np.any(y.mask) else np.asarray(y)
    if isinstance(y, (list, tuple)):
        try:
            is_text = np.asarray(y).dtype.kind in "US"
            objects = np.array(y, dtype=object)
        except ValueError:  # rows of different lengths, which scikit-learn refuses
            return y
        if is_text and not all(isinstance(value, (str, bytes)) for value in objects.flat):
            return objects
    elif hasattr(y, "isna") and hasattr(y, "to_numpy"):  # columns of pandas with NA
        return y.to_numpy(dtype=object) if np.any(y.isna()) else y
    return y


def is_missing(value):
    """Whether pandas calls a value missing: None, NaN, NaT or NA."""
    return np.ndim(value) == 0 and bool(_missing(value))


def _missing(y):
    """Which values of an array, or whether a value, pandas calls missing."""
    import pandas as pd  # here, because its import is slow

    return pd.isna(y)


def _refuse_cast_of(unlabeled, labels):
    """Refuse labels of which one is what another type makes of a marker that does not occur."""
    if labels.dtype.kind == "u" and isinstance(unlabeled, Integral) and unlabeled < 0:
        wrapped = int(unlabeled) % 2 ** (8 * labels.dtype.itemsize)
        if (labels == wrapped).any():
            raise ValueError(
                f"y holds {wrapped}, which {labels.dtype} makes of unlabeled={unlabeled!r}. If it "
                f"marks images without a label, set unlabeled={wrapped}. If it is a class, pass "
                "y.astype(int)."
            )
    kinds = (str, np.str_) if not isinstance(unlabeled, str) else (Real, np.bool_)
    for label in set(labels.tolist()) if labels.dtype.kind in "USOif" else ():
        if isinstance(label, kinds) and _reads_as(label, unlabeled):
            raise ValueError(
                f"y holds {label!r}, but not unlabeled={unlabeled!r}, which is of another type. "
                f"If it marks images without a label, set unlabeled={label!r}, or make y with "
                "np.array(y, dtype=object), which keeps the types of its values."
            )


def _reads_as(label, unlabeled):
    """Whether a label is what another type makes of the marker, such as "-1" of -1."""
    if isinstance(unlabeled, str):
        return str(label) == unlabeled
    if is_missing(unlabeled):
        return label.lower() in ("nan", "<na>", "none", "nat")
    if label == str(unlabeled):
        return True
    try:  # text of [1.5, -1] is "-1.0"
        return isinstance(unlabeled, Real) and float(label) == unlabeled
    except ValueError:
        return False


def _check_finite(labels):
    """Refuse missing and infinite labels."""
    if _missing(labels).any():
        raise ValueError(
            "Input y contains NaN. If it marks images without a label, set unlabeled=np.nan."
        )
    assert_all_finite(labels, input_name="y")


def _check_types(labels):
    """Refuse text beside labels that are no text, which have no order."""
    if labels.dtype != object:
        return
    text = np.array([isinstance(label, str) for label in labels])
    if text.any() and not text.all():
        raise TypeError(
            f"y holds labels of several types, such as {labels[text][0]!r} and "
            f"{labels[~text][0]!r}. If one of them marks images without a label, name it by the "
            "parameter unlabeled."
        )


def _warn_about_minus_one(classes):
    if classes.dtype.kind in "if" and len(classes) > 2 and classes[0] == -1:
        warn(
            f"y holds -1 beside {len(classes) - 1} other classes. With unlabeled=None, -1 is a "
            "class like the others. If it marks images without a label, set unlabeled=-1."
        )


def check_classes(classes, unlabeled, fitted=None):
    """The sorted classes that `partial_fit` was told of; `fitted` are those of earlier calls.

    `unlabeled` is no class. A ValueError if the first call names no classes, or a later one names
    others.
    """
    if classes is None:
        if fitted is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return fitted
    classes = LabelEncoder().fit(known_labels(classes, unlabeled)[0]).classes_
    if fitted is not None and not np.array_equal(classes, fitted):
        raise ValueError(
            f"`classes={classes}` is not the same as on last call to partial_fit, was: {fitted}"
        )
    return classes


def resolve_priors(priors, class_counts, classes):
    """Probability of each class, float64: the parameter, in the order of the classes or by class.

    It may be a Series whose index are the classes. None: the frequencies of the labels. A class
    that was not seen yet counts as seen once. A ValueError if there is not one number above 0 for
    each class, or if they do not sum to 1.
    """
    if priors is None:
        counts = np.maximum(class_counts, 1)
        return counts / counts.sum()
    if hasattr(priors, "to_dict") and list(priors.index) != list(range(len(priors))):
        priors = priors.to_dict()
    if isinstance(priors, dict):
        if set(priors) != set(classes.tolist()):
            raise ValueError(
                f"priors must have the classes {classes.tolist()} as keys. Got {list(priors)}."
            )
        priors = [priors[label] for label in classes.tolist()]
    priors = np.array(priors, dtype=np.float64)
    if priors.shape != class_counts.shape:
        raise ValueError(
            f"priors must hold one number for each of the {len(class_counts)} classes. "
            f"Got shape {priors.shape}."
        )
    if not (priors > 0).all() or not np.isclose(priors.sum(), 1.0):
        raise ValueError(f"priors must be above 0 and sum to 1. Got {priors}.")
    return priors
