"""Checks of images that a user gives (NumPy, scikit-learn)."""

import math
from dataclasses import replace

import numpy as np
from sklearn import config_context
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import validate_data

from .._model import LIKELIHOODS
from .._warnings import warn
from .containers import check_in_memory, flatten_images
from .dataset import MAX_SUBSAMPLE, ImageDataset
from .format import ImageFormat, warn_if_coarse
from .misreadings import refuse_misreadings
from .pixel_range import PixelValues, as_marker, warn_about_values

# Pixels in [0, 1] with mean m have a variance of at most m (1 - m), which they reach if all are 0
# or 1. Pixels above this share of it count as two-valued.
TWO_VALUED_SHARE = 0.75

# The largest error of a number that was rounded to float32, as a share of it.
FLOAT32_STEP = 2.0**-24

# About so many numbers show the contrast, but at least so many images.
N_CONTRAST_NUMBERS, MIN_CONTRAST_IMAGES = 2**22, 64

NAN_ADVICE = "If NaN stands for missing pixels, set missing_values=np.nan."

NA_ADVICE = (
    "X contains NaN, as pd.NA among Python objects. X.convert_dtypes() makes numbers of a "
    "DataFrame; in arrays and lists, write np.nan."
)

SEQUENCE_ADVICE = (
    "X holds sequences where it must hold numbers. If the images are a column of a table, pass "
    "that column, such as X['image']."
)


def learn_images(estimator, X):
    """The `PixelValues` of training images, the `ImageFormat` of X, and the family of the pixels.

    X may be rows, or have 3 or 4 dimensions. Of the estimator, only scikit-learn's `n_features_in_`
    and `feature_names_in_` are set. A ValueError or TypeError if X holds no images, is stored in
    chunks, or contradicts a parameter. A UserWarning if X was perhaps misread, if its values do not
    fit the pixel range, if pixels are missing in all images, or if a number marks missing ones but
    does not occur.
    """
    check_in_memory(X, training=True)
    refuse_misreadings(X, None)
    missing_values = as_marker(estimator.missing_values)
    rows, seen_shape = flatten_images(X, missing_values)
    values = _finite_values(estimator, rows, missing_values, reset=True)
    _warn_about_marker(values)
    image_format = ImageFormat.learn(
        values,
        seen_shape,
        image_shape=estimator.image_shape,
        channel_axis=estimator.channel_axis,
        pixel_range=estimator.pixel_range,
    )
    likelihood = _resolve_likelihood(estimator, values.rows, image_format)
    image_format = replace(image_format, bounded=LIKELIHOODS[likelihood].bounded)
    if not image_format.robust:  # else the range holds these very percentiles
        warn_about_values(values, image_format, training=True)
    warn_if_coarse(values.dtype, image_format)
    _warn_about_holes(estimator, values, image_format, training=True)
    return values, image_format, likelihood


def check_images(estimator, X, *, training=False):
    """The `PixelValues` of images for a fitted estimator, which is not changed.

    `training` says whether its training is to go on with X. A ValueError or TypeError if X does not
    hold images of the fitted shape, or is stored in chunks. A UserWarning if its values do not fit
    the pixel range, or if pixels are missing that never were, or always were, in the training.
    """
    check_in_memory(X, training=training)
    image_format = estimator._format
    refuse_misreadings(X, image_format.shape)
    rows, seen_shape = flatten_images(X, image_format.missing_values)
    if seen_shape is not None and seen_shape not in image_format.same_shapes:
        raise ValueError(
            f"X holds images of shape {seen_shape}, but {type(estimator).__name__} was fitted "
            f"on images of shape {image_format.shape}."
        )
    values = _finite_values(estimator, rows, image_format.missing_values, reset=False)
    warn_about_values(values, image_format, training=training)
    if training:
        image_format = image_format.after(values)
    _warn_about_holes(estimator, values, image_format, training=training)
    return values


def _finite_values(estimator, rows, missing_values, *, reset):
    """The rows as real numbers, with scikit-learn's own messages about what they must not hold."""
    # "numeric" keeps every numeric dtype: pixels become float32 later, batch by batch. The check
    # of scikit-learn would read X once more, so it has to find only the words for what is wrong.
    try:
        rows = validate_data(estimator, rows, dtype="numeric", reset=reset, ensure_all_finite=False)
    except (TypeError, ValueError) as error:
        if "NAType" in str(error):
            raise ValueError(f"{NA_ADVICE} {NAN_ADVICE}") from error
        if "array element with a sequence" in str(error):
            raise ValueError(SEQUENCE_ADVICE) from error
        raise
    if rows.dtype.kind not in "biuf":
        raise ValueError(f"X must hold real numbers. Got dtype {rows.dtype}.")
    values = PixelValues(rows, missing_values)
    if rows.dtype.kind == "f" and not values.finite:
        try:
            with config_context(assume_finite=False):  # which the caller assumed wrongly
                assert_all_finite(
                    rows,
                    allow_nan=missing_values is not None and np.isnan(missing_values),
                    estimator_name=type(estimator).__name__,
                    input_name="X",
                )
        except ValueError as error:
            if "contains NaN" in str(error):
                raise ValueError(f"{error}\n\n{NAN_ADVICE}") from None
            raise
    return values


def _warn_about_marker(values):
    """Warn if a number marks missing values, but is none of the values, or nearly one."""
    marker = values.missing_values
    if marker is None or math.isnan(marker):
        return
    ((least, greatest),) = values.extremes().tolist()
    if values.has_holes:
        for end in (least, greatest):
            if math.isclose(end, marker, rel_tol=FLOAT32_STEP):
                warn(
                    f"X has {end!r} beside missing_values={marker!r}, which marks missing pixels: "
                    "perhaps the same number in another precision. If so, give all columns of X "
                    "the same dtype, such as by X.astype(np.float32)."
                )
        return
    warn(
        f"No value of X is missing_values={marker!r}, so nothing is missing. X has values from "
        f"{least!r} to {greatest!r}, as {values.dtype}. If one of these marks missing pixels, set "
        "missing_values to it."
    )


def _warn_about_holes(estimator, values, image_format, *, training):
    """Warn about holes that the network cannot know."""
    if not values.has_holes:
        return
    if training and image_format.never_observed is not None:
        warn(
            f"{image_format.never_observed.sum()} of {values.rows.shape[1]} numbers of an image "
            "are missing in all images. In their place, the decoder will give something between "
            "the others."
        )
    elif not training and not image_format.saw_holes:
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
    n_images = np.clip(N_CONTRAST_NUMBERS // rows.shape[1], MIN_CONTRAST_IMAGES, MAX_SUBSAMPLE)
    sample = ImageDataset(rows, image_format).thinned(n_images)
    moments = np.zeros(3)
    for part in sample.passes():
        x = sample[part].numpy()
        x = x[~np.isnan(x)]
        moments += len(x), x.sum(dtype=np.float64), np.square(x).sum(dtype=np.float64)
    mean, mean_square = moments[1:] / max(1, moments[0])
    two_valued = mean_square - mean**2 > TWO_VALUED_SHARE * mean * (1 - mean)
    return "bernoulli" if two_valued else "gaussian"
