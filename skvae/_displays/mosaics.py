"""Mosaics: images side by side, and the channels of them that are drawn (NumPy)."""

from numbers import Integral

import numpy as np

# Images that are longer than this times their other side are strips.
LONGEST = 8


def images_of(estimator, X):
    """Rows or images X as images with the channels last: (n, H, W) or (n, H, W, C)."""
    images = X.reshape(len(X), *estimator.image_shape_)
    if images.ndim == 4 and estimator.channel_axis_ == 0:
        images = np.moveaxis(images, 1, -1)
    return images


def proportion(height, width):
    """height / width, within limits that a figure can have."""
    return min(max(height / width, 0.4), 3)


def pixel_aspect(height, width):
    """How much taller than wide a pixel is drawn: 1, unless images are strips, such as signals."""
    if 1 / LONGEST <= height / width <= LONGEST:
        return 1.0
    return proportion(height, width) * width / height


def row(images, n_columns, *, right=1, below=1):
    """At most `n_columns` images side by side: (n, H, W) or (n, H, W, C) -> (height, width, C).

    NaN stands for those that are missing, and in `right` and `below` pixels beside each image.
    """
    if images.ndim == 3:
        images = images[..., None]
    n, height, width, channels = images.shape
    dtype = np.result_type(images.dtype, np.float32)
    mosaic = np.full((height + below, n_columns, width + right, channels), np.nan, dtype)
    mosaic[:height, :n, :width] = np.moveaxis(images, 0, 1)
    return mosaic.reshape(len(mosaic), -1, channels)


def draw(ax, mosaic, pixel_range, *, channels, cmap, **options):
    """Draw a mosaic, (height, width, C), on axes without ticks and frame; returns the AxesImage.

    `pixel_range`, (low, high) or (C, 2), are the values of the darkest and the lightest pixel.
    `channels` is one, drawn by `cmap`, or three, drawn as red, green and blue; None: all. A
    ValueError if they do not exist, or are None and not 1, 3 or 4. `options` are for `imshow`.
    """
    chosen = _chosen(mosaic.shape[-1], channels)
    ranges = np.reshape(pixel_range, (-1, 2))
    low, high = np.broadcast_to(ranges, (mosaic.shape[-1], 2))[chosen].T
    mosaic = mosaic[..., chosen]
    if len(chosen) == 1:
        mosaic, low, high = mosaic[..., 0], low[0], high[0]
    else:
        span = np.where(high > low, high - low, 1)
        # White between the images, as matplotlib leaves it for one channel.
        mosaic = np.nan_to_num(np.clip((mosaic - low) / span, 0, 1), nan=1)
        low, high = 0, 1
    image = ax.imshow(mosaic, cmap=cmap, vmin=low, vmax=high, interpolation="nearest", **options)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return image


def _chosen(n_channels, channels):
    """The channels to draw, as a list."""
    if channels is None:
        if n_channels not in (1, 3, 4):
            raise ValueError(
                "Images of 1, 3 or 4 channels can be drawn as they are (grey, RGB, RGBA). Got "
                f"{n_channels} channels. Choose one or three of them, such as channels=0."
            )
        return list(range(n_channels))
    chosen = np.ravel(channels).tolist()
    exist = all(isinstance(i, Integral) and 0 <= i < n_channels for i in chosen)
    if len(chosen) not in (1, 3) or not exist:
        raise ValueError(
            f"channels must be one or three numbers from 0 to {n_channels - 1}, as the images "
            f"have {n_channels} channels. Got {channels!r}."
        )
    return chosen
