"""The range of the pixels: one for all channels or one for each; given or learned (NumPy only).

A range is ``(low, high)`` in the units of X, which are mapped to 0 and 1; an array of shape
(C, 2) has one for each channel.
"""

import math

import numpy as np

from ._warnings import warn

# How far beyond the pixel range, in units of its span, values of held-out images may lie
# without a warning. Where pixels have no bounds, values further away are moved to there.
MARGIN = 0.5

# Share of the pixel range that images must span, or their units are in doubt.
LEAST_SPAN = 0.02

# Percentiles of the values that are the robust range, and about how many values they are taken of.
ROBUST, N_VALUES = (0.1, 99.9), 2**24

# As a Python float: a number too large for float32 would warn when compared with one of NumPy.
FLOAT32_MAX = float(np.finfo(np.float32).max)


def resolve_pixel_range(pixel_range, channels):
    """The range of the pixels, in the units of X.

    Parameters
    ----------
    pixel_range : {"robust"}, sequence of two floats, array-like of shape (C, 2) or None
        The constructor's parameter. None: (0, 255) for uint8, (0, 1) for bool, else from the
        smallest to the largest value. "robust": from the 0.1 to the 99.9 percentile.

    channels : ndarray of shape (n, C, n_pixels)
        The training data; strides do not matter.

    Returns
    -------
    pixel_range : tuple of float, or ndarray of shape (C, 2)
        One for each channel if it was so given, or learned from several channels that do not
        hold uint8 or bool.

    Raises
    ------
    ValueError
        If a given range does not hold finite numbers in rising order, has another number of
        channels than the images, or if float32 cannot hold a range.

    Warns
    -----
    UserWarning
        If percentiles coincide: the full range takes their place.
    """
    if pixel_range is None or isinstance(pixel_range, str):
        ranges = _learned(pixel_range, channels)
    else:
        ranges = _given(pixel_range, channels.shape[1])
    for low, high in np.reshape(ranges, (-1, 2)).tolist():
        if not fits_float32(low, high):
            raise ValueError(
                f"The pixel range ({low:g}, {high:g}) is too wide or too narrow for float32. "
                "Rescale X, or give pixel_range."
            )
    return ranges


def _learned(mode, channels):
    fixed = {"u1": (0.0, 255.0), "b1": (0.0, 1.0)}.get(channels.dtype.str[1:])
    if mode is None and fixed:
        return fixed
    if fixed or channels.shape[1] == 1:  # colours keep their proportions
        return _extent(channels, robust=mode is not None)
    each = range(channels.shape[1])
    return np.array([_extent(channels[:, c], robust=mode is not None, name=c) for c in each])


def _extent(values, *, robust, name=None):
    """Smallest and largest value, or percentiles; of the channel `name`, or of all."""
    full = float(values.min()), float(values.max())
    if not robust:
        return full
    low, high = _percentiles(values)
    if low < high or full[0] == full[1]:
        return low, high
    where = "" if name is None else f" of channel {name}"
    warn(
        f"pixel_range='robust': the {ROBUST[0]} and {ROBUST[1]} percentiles of the values{where} "
        f"are both {low:g}; the full range ({full[0]:g}, {full[1]:g}) is used instead."
    )
    return full


def _percentiles(values):
    """Percentiles of about `N_VALUES` of the values, from images spread evenly over all."""
    some = values[:: math.ceil(values.size / N_VALUES)]
    # Sorted, not interpolated: a percentile is a value that occurs.
    low, high = np.percentile(some, ROBUST, method="nearest")
    return float(low), float(high)


def _given(pixel_range, n_channels):
    try:
        ranges = np.array(pixel_range, dtype=np.float64)
    except (TypeError, ValueError):
        ranges = np.empty(0)
    per_channel = ranges.ndim == 2
    if ranges.shape not in {(2,), (n_channels, 2)}:
        raise ValueError(
            "pixel_range must be (low, high), 'robust', or an array of shape (n_channels, 2) with "
            f"one range for each of the {n_channels} channels. Got {pixel_range!r:.200}."
        )
    for channel, (low, high) in enumerate(ranges.reshape(-1, 2)):
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            where = f"channel {channel} of pixel_range" if per_channel else "pixel_range"
            raise ValueError(
                f"{where} must be two finite numbers (low, high) with low < high. "
                f"Got ({low:g}, {high:g})."
            )
    return ranges if per_channel else tuple(ranges.tolist())


def fits_float32(low, high):
    """Whether float32 can hold a range of pixels, which may be empty.

    Parameters
    ----------
    low, high : float

    Returns
    -------
    fits : bool
    """
    tiny = float(np.finfo(np.float32).tiny)
    in_range = low > -FLOAT32_MAX and high < FLOAT32_MAX
    return in_range and (low == high or tiny < high - low < FLOAT32_MAX)


def dtype_fits(dtype, pixel_range):
    """Whether every value of a dtype lies within the range.

    Parameters
    ----------
    dtype : numpy dtype

    pixel_range : tuple of float, or array of shape (C, 2)

    Returns
    -------
    fits : bool
    """
    low, high = np.reshape(pixel_range, (-1, 2)).T
    largest = {"u1": 255, "b1": 1}.get(dtype.str[1:])
    return largest is not None and bool((low <= 0).all() and (high >= largest).all())


def warn_about_values(channels, pixel_range, *, bounded, robust, training):
    """Warn when the values of X do not fit the pixel range.

    Values outside it are clipped: in training, more than a rounding error is told. Later, only
    what lies beyond by more than half of the span is: held-out images may leave the range of the
    training images a little, but values far outside come from other units, such as 0-255 sent to
    a model fitted on 0-1. In the opposite case, all values lie within a small part of the range.

    Parameters
    ----------
    channels : ndarray of shape (n, C, n_pixels)
        Images in the units of X.

    pixel_range : tuple of float, or array of shape (C, 2)

    bounded : bool
        Whether values are clipped to the range; else to half its span beyond it.

    robust : bool
        Whether the range was learned from percentiles: then those of X are judged, as single
        values outside are meant to be clipped.

    training : bool

    Warns
    -----
    UserWarning
        Naming both ranges, and the channel where each has its own.
    """
    if dtype_fits(channels.dtype, pixel_range):  # a look at some tells the contrast
        channels = channels[:: math.ceil(len(channels) / 2_048)]
    ranges = np.reshape(pixel_range, (-1, 2)).tolist()
    kept = 0.0 if bounded else MARGIN
    tolerated = max(kept, 1e-3) if training else MARGIN
    spans = []
    for c, (low, high) in enumerate(ranges):
        values = channels if len(ranges) == 1 else channels[:, c]
        span = high - low or 1.0
        least, greatest = float(values.min()), float(values.max())
        outside = least < low - tolerated * span or greatest > high + tolerated * span
        if outside and robust:
            least, greatest = _percentiles(values)
            outside = least < low - tolerated * span or greatest > high + tolerated * span
        where = "" if len(ranges) == 1 else f"In channel {c}, "
        if outside:
            warn(
                f"{where}X has values from {least:g} to {greatest:g}, outside the pixel range "
                f"({low:g}, {high:g}) of this model; they are clipped to ({low - kept * span:g}, "
                f"{high + kept * span:g}). Send X in the units of the training images, or give "
                "another pixel_range."
            )
            return
        spans.append(((greatest - least) / span, least, greatest, low, high))
    share, least, greatest, low, high = max(spans)
    if 0 < share < LEAST_SPAN:
        warn(
            f"X has values from {least:g} to {greatest:g}, a small part of the pixel range "
            f"({low:g}, {high:g}) of this model, which sees hardly any contrast. Send X in the "
            "units of the training images, or give another pixel_range."
        )
