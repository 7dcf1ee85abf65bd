"""The range of the pixels, given or learned, and warnings about values outside it (NumPy only).

A range is ``(low, high)`` in the units of X. These two values are mapped to 0 and 1. An array of
shape (C, 2) holds one range for each channel.
"""

import math

import numpy as np

from ._warnings import warn

# Values of held-out images may lie this far outside the pixel range without a warning, in units of
# its span. Families without bounds clip values there.
MARGIN = 0.5

# Images that span a smaller share of the pixel range are probably in other units.
MIN_SPAN = 0.02

# Percentiles that bound the robust range, and about how many values they are computed from.
ROBUST_PERCENTILES, N_PERCENTILE_VALUES = (0.1, 99.9), 2**24

# A Python float: comparing a number too large for float32 with a NumPy float32 would warn.
FLOAT32_MAX = float(np.finfo(np.float32).max)


# Values that are looked at together, so that the memory does not grow with X.
BLOCK_VALUES = 2**24


def is_hole(values, missing_values):
    """Which values are missing.

    Parameters
    ----------
    values : ndarray or tensor
        In the units of X.

    missing_values : number or None
        The value that marks a missing one; it may be NaN. None: nothing is missing.

    Returns
    -------
    holes : ndarray or tensor of bool of the same shape
    """
    if missing_values is None:
        return np.zeros(values.shape, dtype=bool)
    # NaN is the only value that differs from itself. This way it holds for tensors, too.
    return values != values if math.isnan(missing_values) else values == missing_values


def whole_numbers(values, dtype, marker):
    """Values as integers of a dtype, none of which is the marker of missing values.

    Parameters
    ----------
    values : ndarray of float

    dtype : numpy dtype
        Of integers.

    marker : number

    Returns
    -------
    integers : ndarray of `dtype`
    """
    limits = np.iinfo(dtype)
    integers = np.rint(values).clip(limits.min, limits.max).astype(dtype)
    same = integers == marker
    if same.any():
        integers[same] = marker - 1 if marker > limits.min else marker + 1
    return integers


def _blocks(values):
    """The rows of an array, in blocks that memory can hold."""
    n_rows = max(1, BLOCK_VALUES * len(values) // max(1, values.size))
    return (values[start : start + n_rows] for start in range(0, len(values), n_rows))


def count_observed(rows, missing_values):
    """In how many rows each feature was observed.

    Parameters
    ----------
    rows : ndarray of shape (n, n_features)

    missing_values : number or None

    Returns
    -------
    counts : ndarray of int of shape (n_features,)
    """
    return sum(np.sum(~is_hole(block, missing_values), axis=0) for block in _blocks(rows))


def resolve_pixel_range(pixel_range, channels, missing_values=None):
    """The range of the pixels, in the units of X.

    Parameters
    ----------
    pixel_range : {"robust"}, sequence of two floats, array-like of shape (C, 2) or None
        The constructor's parameter. None: (0, 255) for uint8, (0, 1) for bool, else from the
        smallest to the largest value. "robust": from the 0.1 to the 99.9 percentile.

    channels : ndarray of shape (n, C, n_pixels)
        The training data; strides do not matter.

    missing_values : number, default=None
        Marks missing pixels, which do not count. None: there are none.

    Returns
    -------
    pixel_range : tuple of float, or ndarray of shape (C, 2)
        An array if ranges were given for each channel, or if they were learned from several
        channels of another dtype than uint8 or bool.

    Raises
    ------
    ValueError
        If a given range does not hold two finite numbers in rising order, if the number of
        channels is wrong, if float32 cannot hold a range, or if all pixels of a channel are
        missing.

    Warns
    -----
    UserWarning
        If the percentiles coincide. The full range is then used instead.
    """
    if pixel_range is None or isinstance(pixel_range, str):
        ranges = _learned_range(pixel_range, channels, missing_values)
    else:
        ranges = _given_range(pixel_range, channels.shape[1])
    for low, high in np.reshape(ranges, (-1, 2)).tolist():
        if not fits_float32(low, high):
            raise ValueError(
                f"The pixel range ({low:g}, {high:g}) is too wide or too narrow for float32. "
                "Rescale X, or give pixel_range."
            )
    return ranges


def _learned_range(mode, channels, missing):
    fixed = {"u1": (0.0, 255.0), "b1": (0.0, 1.0)}.get(channels.dtype.str[1:])
    if mode is None and fixed:
        return fixed
    robust = mode is not None
    if fixed or channels.shape[1] == 1:  # one range for all colours keeps their proportions
        return _range_of_values(channels, missing, robust=robust)
    each = range(channels.shape[1])
    return np.array(
        [_range_of_values(channels[:, c], missing, robust=robust, channel=c) for c in each]
    )


def _range_of_values(values, missing, *, robust, channel=None):
    """Smallest and largest value, or the robust percentiles; `channel` is for the messages."""
    where = "" if channel is None else f" of channel {channel}"
    full = _extremes(values, missing)
    if full is None:
        raise ValueError(f"All values{where} are missing (missing_values={missing!r}).")
    if not robust:
        return full
    low, high = _percentiles(values, missing)
    if low < high or full[0] == full[1]:
        return low, high
    lower, upper = ROBUST_PERCENTILES
    warn(
        f"pixel_range='robust': the {lower} and {upper} percentiles of the values{where} "
        f"are both {low:g}; the full range ({full[0]:g}, {full[1]:g}) is used instead."
    )
    return full


def _extremes(values, missing):
    """Smallest and largest value as floats; None if all are missing."""
    if missing is None:
        return float(values.min()), float(values.max())
    observed = (block[~is_hole(block, missing)] for block in _blocks(values))
    extremes = [(float(some.min()), float(some.max())) for some in observed if some.size]
    if not extremes:
        return None
    least, greatest = zip(*extremes, strict=True)
    return min(least), max(greatest)


def _percentiles(values, missing):
    """The robust percentiles, computed from images spread evenly over all."""
    sample = values[:: math.ceil(values.size / N_PERCENTILE_VALUES)]
    if missing is not None:
        sample = sample[~is_hole(sample, missing)]
        if sample.size == 0:  # all that was observed lies between the images of the sample
            return _extremes(values, missing)
    # "nearest" does not interpolate: a percentile is a value that occurs.
    low, high = np.percentile(sample, ROBUST_PERCENTILES, method="nearest")
    return float(low), float(high)


def _given_range(pixel_range, n_channels):
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
    """Whether float32 can hold a range of pixels, where low may equal high.

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


def warn_about_values(channels, pixel_range, *, bounded, robust, training, missing_values=None):
    """Warn when the values of X do not fit the pixel range.

    In training, values that are clipped by more than a rounding error give a warning. Later,
    only values more than half a span outside do: held-out images may leave the range of the
    training images a little, but values far outside are in other units, such as 0-255 sent to a
    model fitted on 0-1. Values that all lie within a small part of the range also give a warning.

    Parameters
    ----------
    channels : ndarray of shape (n, C, n_pixels)
        Images in the units of X.

    pixel_range : tuple of float, or array of shape (C, 2)

    bounded : bool
        True: values are clipped to the range. False: to half its span beyond it.

    robust : bool
        Whether the range was learned from percentiles. Then the percentiles of X are compared
        with it, because single values outside are meant to be clipped.

    training : bool
        Whether X is to be trained on.

    missing_values : number, default=None
        Marks missing pixels, which do not count. None: there are none.

    Warns
    -----
    UserWarning
        Naming both ranges, and the channel if each channel has its own range.
    """
    if dtype_fits(channels.dtype, pixel_range):  # nothing can be outside; some show the contrast
        channels = channels[:: math.ceil(len(channels) / 2_048)]
    ranges = np.reshape(pixel_range, (-1, 2)).tolist()
    margin = 0.0 if bounded else MARGIN
    tolerance = max(margin, 1e-3) if training else MARGIN
    spans = []
    for c, (low, high) in enumerate(ranges):
        values = channels if len(ranges) == 1 else channels[:, c]
        span = high - low or 1.0
        extremes = _extremes(values, missing_values)
        if extremes is None:
            continue
        least, greatest = extremes
        outside = least < low - tolerance * span or greatest > high + tolerance * span
        if outside and robust:
            least, greatest = _percentiles(values, missing_values)
            outside = least < low - tolerance * span or greatest > high + tolerance * span
        where = "" if len(ranges) == 1 else f"In channel {c}, "
        if outside:
            warn(
                f"{where}X has values from {least:g} to {greatest:g}, outside the pixel range "
                f"({low:g}, {high:g}) of this model; they are clipped to "
                f"({low - margin * span:g}, {high + margin * span:g}). Send X in the units of the "
                "training images, or give another pixel_range."
            )
            return
        spans.append(((greatest - least) / span, least, greatest, low, high))
    share, least, greatest, low, high = max(spans, default=(0.0,) * 5)
    if 0 < share < MIN_SPAN:
        warn(
            f"X has values from {least:g} to {greatest:g}, a small part of the pixel range "
            f"({low:g}, {high:g}) of this model. It sees hardly any contrast. Send X in the "
            "units of the training images, or give another pixel_range."
        )
