"""What a user gives, checked at the door: images and parameters (NumPy, scikit-learn)."""

import math
from dataclasses import replace
from numbers import Integral

import numpy as np
from sklearn.utils.validation import validate_data

from . import _images
from ._elbo import LIKELIHOODS
from ._network import default_hidden_channels
from ._pixel_range import resolve_pixel_range, warn_about_values

# Pixels of mean m in [0, 1] vary by at most m (1 - m), where all are 0 or 1. Those that reach
# this share of it are as good as two-valued.
TWO_VALUED = 0.75


def validate_images(estimator, X, *, training=False, reset=False):
    """Rows of X in their own dtype.

    Parameters
    ----------
    estimator : estimator of skvae

    X : array-like
        Images, as rows or in their layout.

    training : bool, default=False
        Whether they are to be trained on.

    reset : bool, default=False
        Whether X determines shape and range of the images, which become attributes.

    Returns
    -------
    rows : ndarray of shape (n_samples, n_features)

    Raises
    ------
    ValueError, TypeError
        If X does not hold images, or others than those of the fit.

    Warns
    -----
    UserWarning
        If X may be read otherwise, or if its values do not fit the pixel range.
    """
    rows, seen_shape = _images.flatten_images(X)
    if not reset and seen_shape not in (None, estimator.image_shape_):
        raise ValueError(
            f"X holds images of shape {seen_shape}, but {type(estimator).__name__} was fitted "
            f"on images of shape {estimator.image_shape_}."
        )
    # "numeric" keeps every numeric dtype: pixels become float32 in their batch.
    rows = validate_data(estimator, rows, dtype="numeric", reset=reset)
    if rows.dtype.kind not in "biuf":
        raise ValueError(f"X must hold real numbers. Got dtype {rows.dtype}.")
    if reset:
        estimator.image_shape_ = _images.resolve_shape(
            estimator.image_shape, estimator.channel_axis, rows.shape[1], seen_shape
        )
        estimator.channel_axis_ = int(estimator.channel_axis)
        estimator._as_rows = seen_shape is None
        image_format = _images.ImageFormat(
            estimator.image_shape_, estimator.channel_axis_, (0.0, 1.0), estimator._as_rows
        )
        _images.warn_how_read(image_format, shape_given=estimator.image_shape is not None)
        estimator.pixel_range_ = resolve_pixel_range(
            estimator.pixel_range, image_format.channels(rows)
        )
        estimator._robust = isinstance(estimator.pixel_range, str)
        image_format = replace(image_format, pixel_range=estimator.pixel_range_)
        estimator.likelihood_ = _resolve_likelihood(estimator, rows, image_format)
    image_format = image_format_of(estimator)
    warn_about_values(
        image_format.channels(rows),
        image_format.pixel_range,
        bounded=image_format.bounded,
        robust=estimator._robust,
        training=training,
    )
    return rows


def _resolve_likelihood(estimator, rows, image_format):
    """The family of the pixels: as asked for, or by the contrast of (at most 2,048) images."""
    if estimator.likelihood != "auto":
        return str(estimator.likelihood)
    if estimator.binarize:
        return "bernoulli"
    sample = rows[:: math.ceil(len(rows) / 2_048)]
    moments = np.zeros(2)
    for start in range(0, len(sample), 128):
        x = image_format.to_unit(sample[start : start + 128])
        moments += x.sum(dtype=np.float64), np.square(x).sum(dtype=np.float64)
    mean, mean_square = moments / sample.size
    two_valued = mean_square - mean**2 > TWO_VALUED * mean * (1 - mean)
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
    )


def check_parameters(estimator):
    """Refuse parameters that do not go together.

    Parameters
    ----------
    estimator : estimator of skvae

    Raises
    ------
    ValueError
        If pixels are to be binarised under a family of other pixels.
    """
    if estimator.binarize and estimator.likelihood not in ("auto", "bernoulli"):
        raise ValueError(
            "binarize=True needs likelihood='bernoulli', the family of 0/1 pixels. "
            f"Got likelihood={str(estimator.likelihood)!r}."
        )


def resolve_architecture(estimator):
    """Sizes of the network for the images and the parameters.

    Parameters
    ----------
    estimator : estimator of skvae

    Returns
    -------
    architecture : dict
        The parameters of `ConvVAE`, but for `linear_path`.

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
    }


def check_same_model(estimator, architecture):
    """Refuse to go on with a network of other sizes or another family.

    Parameters
    ----------
    estimator : estimator of skvae
        Fitted.

    architecture : dict
        What its parameters ask for now.

    Raises
    ------
    ValueError
        Naming both.
    """
    fitted = {**estimator._architecture, "likelihood": estimator.likelihood_}
    likelihood = str(estimator.likelihood)
    asked = {
        **architecture,
        "likelihood": estimator.likelihood_ if likelihood == "auto" else likelihood,
    }
    if asked != fitted:
        raise ValueError(
            f"The network was fitted as {fitted}, and training goes on from it; its "
            f"parameters now ask for {asked}. Set them back, or call fit with "
            "warm_start=False."
        )
