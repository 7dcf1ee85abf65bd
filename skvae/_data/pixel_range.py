"""The range of the pixels, given or learned, and warnings about values outside it (NumPy only).

A range is ``(low, high)`` in the units of X. These two values are mapped to 0 and 1. An array of
shape (C, 2) holds one range for each channel.
"""

import math
from functools import cached_property
from numbers import Integral

import numpy as np

from .._model import slices
from .._warnings import warn

# Values of held-out images may lie this far outside the pixel range without a warning, in units of
# its span. Families without bounds clip values there.
MARGIN = 0.5

# Images that span a smaller share of the pixel range are probably in other units.
MIN_SPAN = 0.02

# Percentiles that bound the robust range, and about how many values they are computed from.
ROBUST_PERCENTILES, N_PERCENTILE_VALUES = (0.1, 99.9), 2**24

# Ranges of the dtypes that have one of their own.
DTYPE_RANGES = {"u1": (0.0, 255.0), "b1": (0.0, 1.0)}

# A Python float: comparing a number too large for float32 with a NumPy float32 would warn.
FLOAT32_MAX = float(np.finfo(np.float32).max)

# Values that are looked at together: few enough to stay in the cache while they are.
BLOCK_VALUES = 2**18

# So many images show that integers of 8 bits are no masks of 0 and 1.
N_MASK_IMAGES = 16

# Where nothing can lie outside the range, so many images show whether there is contrast.
N_CONTRAST_IMAGES = 2_048


def is_hole(values, missing_values):
    """Which values of an array or a tensor are missing, compared in the precision of the values.

    `missing_values` is a plain number, which may be NaN; a NumPy scalar would be compared in its
    own precision. None: nothing is missing.
    """
    if missing_values is None:
        return np.zeros(values.shape, dtype=bool)
    # NaN is the only value that differs from itself. This way it holds for tensors, too.
    if math.isnan(missing_values):
        return values != values
    with np.errstate(over="ignore"):  # a marker beyond the dtype, which then is no value
        return values == missing_values


def as_marker(missing_values):
    """The marker of missing values as a plain number, which NumPy compares in the dtype of X."""
    if missing_values is None:
        return None
    return int(missing_values) if isinstance(missing_values, Integral) else float(missing_values)


def dtype_holds(dtype, missing_values):
    """Whether arrays of a dtype can hold the marker of missing values."""
    if dtype.kind == "O":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        held = np.array(missing_values, np.float64).astype(dtype)
    if dtype.kind == "f":  # rounded to its precision
        return not np.isinf(held)
    return bool(held == missing_values)


def whole_numbers(values, dtype, marker):
    """Values as integers of a dtype, none of which is the marker of missing values."""
    limits = np.iinfo(dtype)
    integers = np.rint(values).clip(limits.min, limits.max).astype(dtype)
    same = integers == marker
    if same.any():
        integers[same] = marker - 1 if marker > limits.min else marker + 1
    return integers


class PixelValues:
    """The values of X: one pass tells the extremes and the holes, a sample the percentiles.

    Nothing is read before it is asked for. `missing_values` marks values that do not count.
    """

    def __init__(self, rows, missing_values=None):
        self.rows = rows
        self.dtype = rows.dtype
        self.missing_values = missing_values

    def thinned(self, n_images):
        """About so many of the images, spread evenly over X."""
        step = math.ceil(len(self.rows) / n_images)
        return PixelValues(self.rows[::step], self.missing_values)

    @property
    def finite(self):
        """Whether no value is infinite, nor NaN unless it marks holes."""
        least, greatest, never, _ = self._scan
        return bool((np.isfinite(least) & np.isfinite(greatest) | never).all())

    @property
    def has_holes(self):
        """Whether any value is missing."""
        return self.missing_values is not None and self._scan[3]

    @property
    def never_observed(self):
        """Which numbers of an image are missing in all images: a bool each; None: none of them."""
        return self._scan[2] if self.has_holes and self._scan[2].any() else None

    def extremes(self, image_format=None):
        """Least and greatest value: (1, 2), or of each channel of a format (C, 2), float64.

        NaN where all values are missing.
        """
        parts = [_parts(each[None], image_format) for each in self._scan[:3]]
        extremes = np.full((len(parts[0]), 2), np.nan)
        for i, (least, greatest, never) in enumerate(zip(*parts, strict=True)):
            if not never.all():
                extremes[i] = least[~never].min(), greatest[~never].max()
        return extremes

    def percentiles(self, image_format=None):
        """The robust percentiles, from images spread evenly over X; otherwise as `extremes`."""
        sample = self.rows[:: math.ceil(self.rows.size / N_PERCENTILE_VALUES)]
        percentiles = self.extremes(image_format)
        for i, values in enumerate(_parts(sample, image_format)):
            observed = values[~is_hole(values, self.missing_values)] if self.has_holes else values
            # Otherwise all that was observed lies between the images of the sample.
            if observed.size:
                # "nearest" does not interpolate: a percentile is a value that occurs.
                percentiles[i] = np.percentile(observed, ROBUST_PERCENTILES, method="nearest")
        return percentiles

    @cached_property
    def _scan(self):
        """Least and greatest of each number of an image, whether none was seen; any hole?"""
        missing = self.missing_values
        nan_is_missing = missing is not None and math.isnan(missing)
        # fmin and fmax ignore NaN.
        lesser, greater = (np.fmin, np.fmax) if nan_is_missing else (np.minimum, np.maximum)
        ends = np.ma.minimum_fill_value(self.dtype), np.ma.maximum_fill_value(self.dtype)
        top, bottom = least, greatest = np.array(ends, self.dtype)
        has_holes = False
        n_rows = max(1, BLOCK_VALUES // max(1, self.rows.shape[1]))
        for some in slices(len(self.rows), n_rows):
            low = high = block = self.rows[some]
            if missing is not None and (holes := is_hole(block, missing)).any():
                has_holes = True
                if not nan_is_missing:
                    low, high = np.where(holes, top, block), np.where(holes, bottom, block)
            with np.errstate(invalid="ignore"):  # of signalling NaNs
                least = lesser(least, lesser.reduce(low, axis=0))
                greatest = greater(greatest, greater.reduce(high, axis=0))
        return least, greatest, has_holes & (least > greatest), has_holes


def _parts(rows, image_format):
    """The numbers of each channel; without a format, all of them as one part."""
    return [rows] if image_format is None else image_format.channels(rows).swapaxes(0, 1)


def resolve_pixel_range(pixel_range, values, image_format):
    """The range of the pixels, in the units of X: the parameter, or what the values show.

    None: (0, 255) for uint8, (0, 1) for bool and for uint8 of 0 and 1 only, else the extremes.
    "robust": the 0.1 and the 99.9 percentile; a warning if they coincide, and then the full range.
    An array of shape (C, 2) if ranges were given for each channel, or learned from several channels
    of another dtype than uint8 or bool. A ValueError if a range does not hold two finite numbers in
    rising order, which float32 can hold, if the number of channels is wrong, or if all pixels of a
    channel are missing.
    """
    if pixel_range is None or isinstance(pixel_range, str):
        ranges = _learned_range(pixel_range, values, image_format)
    else:
        ranges = _given_range(pixel_range, image_format.n_channels)
    for low, high in np.reshape(ranges, (-1, 2)).tolist():
        if not fits_float32(low, high):
            raise ValueError(
                f"The pixel range ({low:g}, {high:g}) is too wide or too narrow for float32. "
                "Rescale X, or give pixel_range."
            )
    return ranges


def _learned_range(mode, values, image_format):
    fixed = DTYPE_RANGES.get(values.dtype.str[1:])
    if mode is None and fixed:
        return (0.0, 1.0) if values.dtype == np.uint8 and _is_mask(values) else fixed
    if fixed or image_format.n_channels == 1:  # one for all colours keeps their proportions
        image_format = None
    ranges = values.extremes(image_format)
    where = [""] if image_format is None else [f" of channel {c}" for c in range(len(ranges))]
    unseen = np.flatnonzero(np.isnan(ranges[:, 0]))
    if len(unseen):
        raise ValueError(
            f"All values{where[unseen[0]]} are missing (missing_values={values.missing_values!r})."
        )
    if mode is not None:
        inner, (lower, upper) = values.percentiles(image_format), ROBUST_PERCENTILES
        flat = (inner[:, 0] == inner[:, 1]) & (ranges[:, 0] < ranges[:, 1])
        for c in np.flatnonzero(flat):
            low, high = ranges[c]
            warn(
                f"pixel_range='robust': the {lower} and {upper} percentiles of the values"
                f"{where[c]} are both {inner[c, 0]:g}; the full range ({low:g}, {high:g}) is used "
                "instead."
            )
        ranges = np.where(flat[:, None], ranges, inner)
    return tuple(ranges[0].tolist()) if image_format is None else ranges


def _is_mask(values):
    """Whether the values are 0 and 1, and nothing else."""
    # Few images tell that of nearly all X, so that the others need not be read.
    for some in (values.thinned(N_MASK_IMAGES), values):
        ((_, greatest),) = some.extremes()
        if greatest > 1:
            return False
    return greatest == 1


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
    """Whether float32 can hold a range of pixels, where low may equal high."""
    tiny = float(np.finfo(np.float32).tiny)
    in_range = low > -FLOAT32_MAX and high < FLOAT32_MAX
    return in_range and (low == high or tiny < high - low < FLOAT32_MAX)


def dtype_fits(dtype, pixel_range):
    """Whether every value of a dtype lies within the range."""
    low, high = np.reshape(pixel_range, (-1, 2)).T
    least, greatest = DTYPE_RANGES.get(dtype.str[1:], (-math.inf, math.inf))
    return bool((low <= least).all() and (high >= greatest).all())


def warn_about_values(values, image_format, *, training):
    """Warn when the values of X do not fit the pixel range; names both, and the channel.

    In training, values that are clipped by more than a rounding error give a warning. Later,
    only values more than half a span outside do: held-out images may leave the range of the
    training images a little, but values far outside are in other units, such as 0-255 sent to a
    model fitted on 0-1. Values that all lie within a small part of the range also give a warning.

    Of a robust range, the percentiles of X are compared with it, because single values outside are
    meant to be clipped.
    """
    if values.missing_values is None and dtype_fits(values.dtype, image_format.pixel_range):
        values = values.thinned(N_CONTRAST_IMAGES)
    ranges = image_format.ranges
    span = np.broadcast_to(image_format.span, len(ranges))
    tolerance = max(image_format.margin, 1e-3) if training else MARGIN
    bounds = ranges + np.outer(span, (-tolerance, tolerance))
    channels = None if len(ranges) == 1 else image_format
    extremes = values.extremes(channels)
    outside = _is_outside(extremes, bounds)
    if image_format.robust and outside.any():
        extremes[outside] = values.percentiles(channels)[outside]
        outside = _is_outside(extremes, bounds)
    if outside.any():
        c = int(outside.argmax())
        where = "" if len(ranges) == 1 else f"In channel {c}, "
        clipped = ranges[c] + span[c] * image_format.margin * np.array([-1, 1])
        relation, end = "outside", f"; they are clipped to {_interval(clipped)}"
    else:
        with np.errstate(over="ignore"):
            shares = np.nan_to_num(np.diff(extremes)[:, 0] / span)
        c, where = int(shares.argmax()), ""
        if not 0 < shares[c] < MIN_SPAN:
            return
        relation, end = "a small part of", ". It sees hardly any contrast"
    least, greatest = extremes[c]
    warn(
        f"{where}X has values from {least:g} to {greatest:g}, {relation} the pixel range "
        f"{_interval(ranges[c])} of this model{end}. Send X in the units of the training images, "
        "or give another pixel_range."
    )


def _is_outside(extremes, bounds):
    """Of which channels values lie outside the bounds; both arrays have the shape (C, 2)."""
    return (extremes[:, 0] < bounds[:, 0]) | (extremes[:, 1] > bounds[:, 1])


def _interval(bounds):
    """(low, high), for messages."""
    return f"({bounds[0]:g}, {bounds[1]:g})"
