"""Checks of what a user gives: images and parameters (NumPy, scikit-learn)."""

from dataclasses import replace
from numbers import Integral

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import validate_data

from . import _images
from ._batches import ImageDataset
from ._elbo import LIKELIHOODS
from ._misreadings import refuse_misreadings
from ._network import default_hidden_channels
from ._pixel_range import count_observed, resolve_pixel_range, warn_about_values
from ._warnings import warn

# Pixels in [0, 1] with mean m have a variance of at most m (1 - m), which they reach if all are 0
# or 1. Pixels above this share of it count as two-valued.
TWO_VALUED_SHARE = 0.75

NAN_ADVICE = "If NaN stands for missing pixels, set missing_values=np.nan."


def validate_images(estimator, X, *, training=False, reset=False):
    """X as rows of real numbers, in their own dtype.

    Parameters
    ----------
    estimator : estimator of skvae

    X : array-like
        Images, as rows or with 3 or 4 dimensions.

    training : bool, default=False
        Whether X is to be trained on.

    reset : bool, default=False
        Whether X determines the shape and the range of the images. If so, these are set as
        attributes of the estimator.

    Returns
    -------
    rows : ndarray of shape (n_samples, n_features)

    Raises
    ------
    ValueError, TypeError
        If X does not hold images, or images of another shape than the fitted one; if it is stored
        in chunks.

    Warns
    -----
    UserWarning
        If X was perhaps misread, if its values do not fit the pixel range, or if pixels are missing
        that never were, or always were, in the training.
    """
    check_in_memory(X, training=training)
    refuse_misreadings(X, None if reset else estimator.image_shape_)
    if reset:
        estimator._missing_values, estimator._saw_holes = estimator.missing_values, False
    rows, seen_shape = _images.flatten_images(X)
    if not reset and seen_shape not in (None, estimator.image_shape_):
        raise ValueError(
            f"X holds images of shape {seen_shape}, but {type(estimator).__name__} was fitted "
            f"on images of shape {estimator.image_shape_}."
        )
    rows = _real_numbers(estimator, rows, reset)
    if reset:
        _learn_format(estimator, rows, seen_shape)
    image_format = image_format_of(estimator)
    warn_about_values(
        image_format.channels(rows),
        image_format.pixel_range,
        bounded=image_format.bounded,
        robust=estimator._robust,
        training=training,
        missing_values=image_format.missing_values,
    )
    if image_format.missing_values is not None:
        _check_holes(estimator, rows, training)
    return rows


def check_in_memory(X, *, training=False):
    """Refuse an array that is stored in chunks, which NumPy would load as a whole.

    Parameters
    ----------
    X : array-like

    training : bool, default=False
        Whether X is to be trained on.

    Raises
    ------
    TypeError
        If X is an array of dask or zarr, or another one that has ``chunks``.
    """
    cls = type(X)
    # An attribute of the class: a DataFrame may have a column of that name.
    if not hasattr(cls, "chunks") or X.chunks is None:
        return
    if training:
        advice = "write it to a .npy file, and pass np.load(file, mmap_mode='r')"
    else:
        advice = "apply the method to some rows at a time; for dask, map_blocks does so"
    raise TypeError(
        f"X is a {cls.__module__}.{cls.__qualname__}, which is stored in chunks and would be "
        f"loaded as a whole. If it fits into memory, pass np.asarray(X). Otherwise {advice}."
    )


def _real_numbers(estimator, rows, reset):
    """The rows as an array of real numbers, as scikit-learn checks them."""
    missing_values = estimator._missing_values
    allow_nan = missing_values is not None and np.isnan(missing_values)
    try:
        # "numeric" keeps every numeric dtype. Pixels become float32 later, batch by batch.
        rows = validate_data(
            estimator,
            rows,
            dtype="numeric",
            reset=reset,
            ensure_all_finite="allow-nan" if allow_nan else True,
        )
    except ValueError as error:
        if "contains NaN" in str(error):
            raise ValueError(f"{error}\n\n{NAN_ADVICE}") from None
        raise
    if rows.dtype.kind not in "biuf":
        raise ValueError(f"X must hold real numbers. Got dtype {rows.dtype}.")
    return rows


def _learn_format(estimator, rows, seen_shape):
    """Set the attributes that say how rows hold images, and the family of the pixels."""
    estimator.image_shape_ = _images.resolve_shape(
        estimator.image_shape, estimator.channel_axis, rows.shape[1], seen_shape
    )
    estimator.channel_axis_ = int(estimator.channel_axis)
    estimator._as_rows = seen_shape is None
    estimator._saw_uint8 = rows.dtype == np.uint8
    image_format = _images.ImageFormat(
        estimator.image_shape_,
        estimator.channel_axis_,
        (0.0, 1.0),
        estimator._as_rows,
        missing_values=estimator._missing_values,
    )
    _images.warn_if_ambiguous(image_format, shape_given=estimator.image_shape is not None)
    estimator.pixel_range_ = resolve_pixel_range(
        estimator.pixel_range, image_format.channels(rows), image_format.missing_values
    )
    estimator._robust = isinstance(estimator.pixel_range, str)
    image_format = replace(image_format, pixel_range=estimator.pixel_range_)
    estimator.likelihood_ = _resolve_likelihood(estimator, rows, image_format)


def _check_holes(estimator, rows, training):
    """Note whether `fit` saw holes, and warn about holes that the network cannot know."""
    counts = count_observed(rows, estimator._missing_values)
    has_holes = bool((counts < len(rows)).any())
    if training:
        estimator._saw_holes = has_holes or estimator._saw_holes
        never = int((counts == 0).sum())
        if never:
            warn(
                f"{never} of {len(counts)} numbers of an image are missing in all images. In "
                "their place, the decoder will give something between the others."
            )
    elif has_holes and not estimator._saw_holes:
        warn(
            f"Pixels of X are missing, but none was in the training of this "
            f"{type(estimator).__name__}. It did not learn what to do without them. Train it on "
            "images with such holes."
        )


def _resolve_likelihood(estimator, rows, image_format):
    """The family of the pixels: the parameter, or a choice by the contrast of a subsample."""
    if estimator.likelihood != "auto":
        return str(estimator.likelihood)
    if estimator.binarize:
        return "bernoulli"
    sample = ImageDataset(rows, image_format).subsample()
    moments = np.zeros(3)
    for part in sample.passes():
        x = sample[part].numpy()
        x = x[~np.isnan(x)]
        moments += len(x), x.sum(dtype=np.float64), np.square(x).sum(dtype=np.float64)
    mean, mean_square = moments[1:] / max(1, moments[0])
    two_valued = mean_square - mean**2 > TWO_VALUED_SHARE * mean * (1 - mean)
    return "bernoulli" if two_valued else "gaussian"


def image_format_of(estimator):
    """How the rows of X hold images, from the fitted attributes.

    Parameters
    ----------
    estimator : estimator of skvae

    Returns
    -------
    image_format : ImageFormat
    """
    return _images.ImageFormat(
        estimator.image_shape_,
        estimator.channel_axis_,
        estimator.pixel_range_,
        estimator._as_rows,
        bounded=LIKELIHOODS[estimator.likelihood_].bounded,
        missing_values=estimator._missing_values,
    )


def check_parameters(estimator):
    """Refuse parameters that contradict each other.

    Parameters
    ----------
    estimator : estimator of skvae

    Raises
    ------
    ValueError
        If `binarize` is combined with another likelihood than Bernoulli.
    """
    if estimator.binarize and estimator.likelihood not in ("auto", "bernoulli"):
        raise ValueError(
            "binarize=True needs likelihood='bernoulli', the family of 0/1 pixels. "
            f"Got likelihood={str(estimator.likelihood)!r}."
        )


def resolve_architecture(estimator, linear_path):
    """Sizes of the network, by the images and the parameters.

    Parameters
    ----------
    estimator : estimator of skvae

    linear_path : bool
        Whether there is a linear path beside the convolutions.

    Returns
    -------
    architecture : dict
        The parameters of `ConvVAE`, but for `normal`.

    Raises
    ------
    ValueError
        If `hidden_channels` does not hold whole numbers above 0.
    """
    image_shape = image_format_of(estimator).channels_first_shape
    hidden_channels = estimator.hidden_channels
    if hidden_channels is None:
        hidden_channels = default_hidden_channels(*image_shape[1:])
    if not hidden_channels or not all(isinstance(n, Integral) and n > 0 for n in hidden_channels):
        raise ValueError(
            "hidden_channels must hold one whole number above 0 for each stage. "
            f"Got {estimator.hidden_channels!r}."
        )
    return {
        "image_shape": image_shape,
        "n_components": int(estimator.n_components),
        "hidden_channels": tuple(int(n) for n in hidden_channels),
        "hidden_units": int(estimator.hidden_units),
        "linear_path": linear_path,
        "holes": estimator._missing_values is not None,
        "n_classes": len(estimator.classes_) if is_classifier(estimator) else 0,
    }


def check_same_model(estimator, architecture):
    """Refuse to continue the training of a network of other sizes, family or marker of holes.

    Parameters
    ----------
    estimator : estimator of skvae
        Fitted.

    architecture : dict
        What the parameters ask for now.

    Raises
    ------
    ValueError
        Naming both.
    """
    fitted = {**estimator._architecture, "likelihood": estimator.likelihood_}
    likelihood = str(estimator.likelihood)
    if likelihood == "auto":
        likelihood = "bernoulli" if estimator.binarize else estimator.likelihood_
    asked = {**architecture, "likelihood": likelihood}
    if asked != fitted:
        raise ValueError(
            f"The network was fitted as {fitted}, but the parameters now ask for {asked}. "
            "Training continues from the fitted network: set the parameters back, or call fit "
            "with warm_start=False."
        )
    fitted, asked = markers = estimator._missing_values, estimator.missing_values
    if fitted != asked and (None in markers or not np.isnan(markers).all()):
        raise ValueError(
            f"The network was fitted with missing_values={fitted}, but the parameter now is "
            f"{asked}. Training continues from the fitted network: set the parameter back, or call "
            "fit with warm_start=False."
        )
