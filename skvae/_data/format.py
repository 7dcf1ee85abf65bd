"""Rows of X <-> images in [0, 1]: shape, layout and scale (NumPy only)."""

import math
from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np

from .._warnings import warn
from .pixel_range import FLOAT32_MAX, MARGIN, dtype_fits, is_hole, resolve_pixel_range

# Where the steps of float32 are larger than this share of the span, pixels are scaled in float64.
COARSE_STEP = 2.0**-18

# Rows of fewer numbers are taken for signals, without a warning that they may be images.
MIN_IMAGE_FEATURES = 16

# Three or four images whose sides are longer than this may be the channels of one image. As many
# rows as numbers in a row, at least so many, may be one image.
MAX_CHANNELS_SIDE, MIN_ONE_IMAGE = 16, 100

# Images that are given back have fewer different values than this where float32 is too coarse.
MIN_STEPS = 256


@dataclass(frozen=True, eq=False)
class ImageFormat:
    """How the rows of X hold images, and what else was learned of the training images."""

    shape: tuple  # (H, W), or three numbers with the channels at `channel_axis`
    channel_axis: int  # -1 or 0
    # (low, high) in the units of X, or such for each channel: (C, 2).
    pixel_range: tuple | np.ndarray
    as_rows: bool  # whether images came as rows, so that they are also returned as rows
    bounded: bool = True  # pixels are clipped to the range; False: to half its span beyond it
    missing_values: float | None = None  # marks missing pixels; it may be NaN
    robust: bool = False  # whether the range was learned from percentiles
    saw_uint8: bool = False  # whether the training images were uint8
    saw_holes: bool = False  # whether pixels of training images were missing
    # Which numbers, (n_features,), were missing in all training images. None: none, or not known.
    never_observed: np.ndarray | None = None

    @classmethod
    def learn(cls, values, seen_shape, *, image_shape, channel_axis, pixel_range):
        """The format of training images, given their `PixelValues`; as yet of a bounded family.

        `seen_shape` is the shape of one image, if X has 3 or 4 dimensions. The keywords are
        parameters of the constructor. A ValueError if they do not suit the images; a warning if X
        was perhaps misread.
        """
        learned = cls(
            shape=resolve_shape(image_shape, channel_axis, values.rows.shape[1], seen_shape),
            channel_axis=int(channel_axis),
            pixel_range=(0.0, 1.0),
            as_rows=seen_shape is None,
            missing_values=values.missing_values,
            robust=isinstance(pixel_range, str),
            saw_uint8=values.dtype == np.uint8,
            saw_holes=values.has_holes,
            never_observed=values.never_observed,
        )
        warn_if_ambiguous(learned, len(values.rows), shape_given=image_shape is not None)
        return replace(learned, pixel_range=resolve_pixel_range(pixel_range, values, learned))

    def after(self, values):
        """The format when the training went on with images of these values."""
        never = self.never_observed
        if never is not None and values.never_observed is not None:
            never = never & values.never_observed
            never = never if never.any() else None
        else:
            never = None
        return replace(self, saw_holes=self.saw_holes or values.has_holes, never_observed=never)

    @property
    def n_features(self):
        """Numbers in one image: H * W * C."""
        return math.prod(self.shape)

    @property
    def channels_first_shape(self):
        """``(C, H, W)``, with C = 1 where the shape names no channels."""
        if len(self.shape) == 2:
            return (1, *self.shape)
        channels = self.shape[self.channel_axis]
        height, width = np.delete(self.shape, self.channel_axis).tolist()
        return (channels, height, width)

    @property
    def same_shapes(self):
        """Shapes of an image with the same rows: `shape`; for one channel, also in other places."""
        channels, *sides = self.channels_first_shape
        return {self.shape} if channels > 1 else {(*sides,), (*sides, 1), (1, *sides)}

    @property
    def n_channels(self):
        """C, which is 1 where the shape names no channels."""
        return self.channels_first_shape[0]

    @property
    def ranges(self):
        """The pixel range as an ndarray, of shape (C, 2) or (1, 2)."""
        return np.reshape(self.pixel_range, (-1, 2))

    @property
    def low(self):
        """Lower end of the pixel range: an ndarray of shape (C,) or (1,)."""
        return self.ranges[:, 0]

    @property
    def extent(self):
        """high - low: an ndarray of shape (C,) or (1,)."""
        return np.diff(self.ranges)[:, 0]

    @property
    def span(self):
        """high - low, or 1 where the images are constant: an ndarray of shape (C,) or (1,)."""
        return np.where(self.extent > 0, self.extent, 1.0)

    @property
    def unit_dtype(self):
        """In which pixels are scaled: float32, or float64 for a range far from 0 beside its span.

        It does not depend on the dtype of X, so that equal values give equal pixels.
        """
        farthest = np.abs(self.ranges).max(axis=1)
        coarse = np.finfo(np.float32).eps * farthest > COARSE_STEP * self.span
        return np.float64 if coarse.any() else np.float32

    @property
    def margin(self):
        """How far outside the range pixels are clipped, in units of its span."""
        return 0.0 if self.bounded else MARGIN

    @property
    def channels_last(self):
        """Whether the images of X have their channels at the end."""
        return len(self.shape) == 3 and self.channel_axis == -1

    @property
    def output_shape(self):
        """Shape of one image where images are returned: that which `fit` saw."""
        return (self.n_features,) if self.as_rows else self.shape

    @property
    def log_jacobian(self):
        """log |dx/dX| of `to_unit` for one number, -log(span): a tuple, for each channel."""
        return tuple(np.broadcast_to(-np.log(self.span), self.n_channels).tolist())

    def to_unit(self, rows):
        """(rows - low) / (high - low), clipped to [0, 1], or to [-0.5, 1.5] if not bounded.

        From (n, n_features) in any real dtype to a new, contiguous array of shape (n, C, H, W),
        float32. Missing pixels are NaN. Values that are equal in `unit_dtype` give the same bits,
        whatever the dtype of the rows.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is clipped below
            unit = rows.astype(self.unit_dtype).reshape(-1, *self.shape)
            low, span = (self.along_channels(part, unit.dtype) for part in (self.low, self.span))
            if low.any():
                unit -= low
            unit /= span
        fits = dtype_fits(rows.dtype, self.pixel_range)
        if not fits:
            np.clip(unit, -self.margin, 1 + self.margin, out=unit)
        if self.missing_values is not None:
            # Also where it is NaN already: there are many NaNs, and noise is chosen by the bits.
            unit[is_hole(rows, self.missing_values).reshape(unit.shape)] = np.nan
        unit = unit.astype(np.float32, copy=False)
        if not fits:
            unit += 0  # -0.0 becomes 0.0
        if self.channels_last:
            unit = np.moveaxis(unit, -1, 1)
        return np.ascontiguousarray(unit).reshape(-1, *self.channels_first_shape)

    def from_unit(self, images):
        """low + (high - low) * images: (n, C, H, W) -> X in the layout of `fit`, float32."""
        if self.channels_last:
            images = np.moveaxis(images, 1, -1)
        images = images.reshape(-1, *self.shape)
        # Not `span`, which is 1 where the images are constant.
        low, extent = (self.along_channels(part, np.float32) for part in (self.low, self.extent))
        with np.errstate(over="ignore"):
            X = images * extent
            if low.any():
                X += low
        if not self.bounded:  # a mean far outside a wide range can exceed float32
            np.clip(X, -FLOAT32_MAX, FLOAT32_MAX, out=X)
        return X.reshape(len(images), *self.output_shape)

    def channels(self, rows):
        """Rows of X as a view of shape (n, C, H * W), still in the units of X."""
        if self.channels_last:
            return rows.reshape(len(rows), -1, self.n_channels).swapaxes(1, 2)
        return rows.reshape(len(rows), self.n_channels, -1)

    def along_channels(self, values, dtype):
        """One value, or one for each channel, in a shape that broadcasts to images of X."""
        values = values.astype(dtype)
        if len(values) == 1 or self.channel_axis == -1:
            return values
        return values[:, None, None]


def resolve_shape(image_shape, channel_axis, n_features, seen_shape):
    """The shape of one image, from the parameter, from X, or from the number of features.

    `seen_shape` is that of X, or None. `channel_axis` is for the message only. A ValueError if
    `image_shape` does not hold two or three whole numbers above zero, of which one may be -1, does
    not multiply to `n_features`, or differs from the shape of the images in X.
    """
    if image_shape is None:
        if seen_shape is not None:
            return tuple(seen_shape)
        side = math.isqrt(n_features)
        return (side, side) if side * side == n_features else (1, n_features)

    shape = tuple(image_shape)
    if (
        len(shape) not in (2, 3)
        or not all(isinstance(n, Integral) and (n > 0 or n == -1) for n in shape)
        or shape.count(-1) > 1
    ):
        raise ValueError(
            "image_shape must be (H, W), or three numbers with the channels "
            f"{'first' if channel_axis == 0 else 'last'}. Each must be a whole number above 0, but "
            f"at most one of them may be -1, which stands for the rest. Got {image_shape!r}."
        )
    known = math.prod(n for n in shape if n != -1)
    shape = tuple(int(n) if n != -1 else n_features // known for n in shape)
    if seen_shape is not None and shape != tuple(seen_shape):
        raise ValueError(
            f"image_shape={shape} differs from the shape of the images in X, "
            f"{tuple(seen_shape)}. Leave image_shape=None to take it from X."
        )
    if math.prod(shape) != n_features:
        n_numbers = f"a multiple of {known}" if -1 in image_shape else known
        raise ValueError(
            f"image_shape={tuple(image_shape)} means {n_numbers} numbers per image, but X has "
            f"{n_features} features."
        )
    return shape


def warn_if_ambiguous(image_format, n_images, *, shape_given):
    """Warn when X was perhaps misread, and say which parameter or which line changes that.

    These cases are doubtful: images whose shape suggests that the channels are at the other axis;
    narrow ones without channels; rows that may hold images although their length is not a square
    number; and what may be one image only. `shape_given` says whether the user gave `image_shape`.
    """
    channels, height, width = image_format.channels_first_shape
    if len(image_format.shape) == 3:
        other_axis = 0 if image_format.channel_axis == -1 else -1
        if _other_channels_are_likely(image_format, other_axis):
            warn(
                f"X was read as images of {height} x {width} pixels with {channels} channels. "
                f"If its shape (n, {', '.join(map(str, image_format.shape))}) has the channels "
                f"{'first' if other_axis == 0 else 'last'}, set channel_axis={other_axis}."
            )
    elif shape_given or height * width < MIN_IMAGE_FEATURES:
        return
    elif not image_format.as_rows and 2 <= width <= 4 and height > 2 * width:
        warn(
            f"X was read as grey images of {height} x {width} pixels. If it is one image with "
            f"{width} channels, pass X[None]. If it holds signals of {height} steps with {width} "
            f"channels, pass X[:, None]. If it is read rightly, give image_shape={(height, width)}."
        )
    elif not image_format.as_rows and 2 <= height <= 4 and width > 8 * height:
        warn(
            f"X was read as grey images of {height} x {width} pixels. If it holds signals of "
            f"{width} steps with {height} channels, pass X[:, :, None] with channel_axis=0. If it "
            f"is read rightly, give image_shape={(height, width)}."
        )
    elif not image_format.as_rows and n_images in (3, 4) and min(height, width) > MAX_CHANNELS_SIDE:
        warn(
            f"X was read as {n_images} grey images of {height} x {width} pixels. If it is one "
            f"image with {n_images} channels, pass X[None] with channel_axis=0. If it is read "
            f"rightly, give image_shape={(height, width)}."
        )
    elif image_format.as_rows and height > 1 and n_images == height * width >= MIN_ONE_IMAGE:
        warn(
            f"X has the shape {(n_images, n_images)}, and was read as {n_images} rows, which are "
            f"images of {height} x {width} pixels. If it is one image, pass X[None]. If it is read "
            f"rightly, give image_shape={(height, width)}."
        )
    elif image_format.as_rows and height == 1:
        warn(
            f"The rows of X were read as strips of 1 x {width} pixels, because {width} is not a "
            "square number. If they are images, give image_shape=(height, width) or "
            "image_shape=(height, width, channels). If they are signals, give image_shape=(1, -1)."
        )


def warn_if_coarse(dtype, image_format):
    """Warn where values of a dtype lie so far from 0 that float32 cannot tell them apart."""
    if dtype.kind == "f" and dtype.itemsize <= 4:  # nothing is lost
        return
    farthest = np.abs(image_format.ranges).max(axis=1)
    steps = np.spacing(farthest.clip(max=FLOAT32_MAX).astype(np.float32))
    coarse = (image_format.extent > 0) & (MIN_STEPS * steps > image_format.extent)
    if coarse.any():
        low, high = image_format.ranges[coarse][0]
        warn(
            f"The pixel range is ({low:.12g}, {high:.12g}). So far from 0, float32 has steps of "
            f"{steps[coarse][0]:g}, and so have images that are given back. Subtract one number, "
            f"such as {low:.12g}, from all images, from pixel_range and from a marker of missing "
            "pixels."
        )


def _other_channels_are_likely(image_format, other_axis):
    """Whether the channels seem to be at the other axis of a three-number shape."""
    channels, *sides = image_format.channels_first_shape
    n_others = image_format.shape[other_axis]
    other_sides = image_format.shape[1:] if other_axis == 0 else image_format.shape[:-1]
    if channels <= 4:
        return False
    if other_axis == 0 and max(sides) <= 2 and channels >= MIN_IMAGE_FEATURES:
        return True  # of signals, channels first
    if n_others in (1, 3, 4) and min(other_sides) > n_others:
        return True
    # The other reading has images that are nearer to a square, and far fewer channels. Squares are
    # no coincidence, whatever the number of channels.
    ratio, other_ratio = (max(pair) / min(pair) for pair in (sides, other_sides))
    return other_ratio < ratio and (2 * n_others <= channels or other_ratio == 1)
