"""Layers of the encoder and the decoder: folds, convolutions, dense products (torch)."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .._compat import is_exporting


def stage_folds(height, width, n_stages):
    """How much each stage of the encoder shrinks an image of these sides: (rows, columns) each.

    A side is halved until at most 7 cells are left. Each of the last stages halves it once. The
    first stage, which has many pixels but few channels, makes all other halvings.

    >>> stage_folds(28, 28, 1)
    [(4, 4)]
    >>> stage_folds(105, 40, 3)
    [(4, 2), (2, 2), (2, 2)]
    """
    return list(zip(_side_folds(height, n_stages), _side_folds(width, n_stages), strict=True))


def default_n_stages(height, width):
    """Number of stages of the encoder for sides in pixels.

    There is one stage for sides of up to 28 pixels, which two halvings reduce to at most 7 cells,
    and there are two for longer sides: what a few numbers tell of a large image is coarse.

    >>> default_n_stages(28, 28), default_n_stages(105, 105)
    (1, 2)
    """
    return 1 if max(_n_halvings(height), _n_halvings(width)) <= 2 else 2


def _n_halvings(side):
    """Number of halvings that reduce a side to at most 7 cells."""
    return (math.ceil(side / 7) - 1).bit_length()


def _side_folds(side, n_stages):
    n_halvings = _n_halvings(side)
    first = max(0, n_halvings - (n_stages - 1))
    later = [2 if stage < n_halvings - first else 1 for stage in range(n_stages - 1)]
    return [2**first, *later]


def cells_of(height, width, folds):
    """Cells that the folds of all stages leave of the sides, and the padding that they need."""
    rows, columns = (math.prod(fold[axis] for fold in folds) for axis in (0, 1))
    cells = [math.ceil(height / rows), math.ceil(width / columns)]
    return cells, (0, cells[1] * columns - width, 0, cells[0] * rows - height)


class Fold(nn.Module):
    """Move blocks of pixels into channels: (n, C, H, W) -> (n, C * rows * columns, H', W').

    H' = H / rows and W' = W / columns. Like `torch.nn.PixelUnshuffle`, but with a factor for each
    axis.
    """

    def __init__(self, rows, columns):
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, x):
        n, c, h, w = x.shape
        h, w = h // self.rows, w // self.columns
        x = x.reshape(n, c, h, self.rows, w, self.columns).permute(0, 2, 4, 1, 3, 5)
        # With the channels last in memory, as the convolution needs them.
        return x.reshape(n, h, w, c * self.rows * self.columns).permute(0, 3, 1, 2)


class Unfold(nn.Module):
    """The inverse of `Fold`: (n, C * rows * columns, H', W') -> (n, C, H, W)."""

    def __init__(self, rows, columns):
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, x):
        n, c, h, w = x.shape
        c = c // (self.rows * self.columns)
        # From channels that are last in memory, so that their gradient is, too.
        x = x.permute(0, 2, 3, 1).reshape(n, h, w, c, self.rows, self.columns)
        return x.permute(0, 3, 1, 4, 2, 5).reshape(n, c, h * self.rows, w * self.columns)


class GELU(nn.Module):
    """x Phi(x), Phi the standard normal distribution function, of max(x, -4); arXiv:1606.08415.

    The slope of GELU itself fades in its tail. Multiplied from layer to layer it becomes a
    subnormal number, on which processors are up to a hundred times slower. Below -4, where the
    value is nearly 0, the slope is exactly 0 here.
    """

    def forward(self, x):
        return F.gelu(F.threshold(x, LEAST_INPUT, LEAST_INPUT))


# The activation is constant below this input.
LEAST_INPUT = -4.0

# Dense products have at least so many rows or one, and sums over a multiple of so many numbers.
DENSE_BLOCK = 16


def dense(x, weight, bias=None):
    """x weight^T + bias, such that the bits of a row do not depend on its place: (n, D) -> (n, D').

    BLAS may sum a row in another order if there are few rows, or if its first number does not lie
    at a multiple of 64 bytes. So few rows go one by one, and zeros fill up the sums.
    """
    if is_exporting():
        return F.linear(x, weight, bias)
    if missing := -x.shape[1] % DENSE_BLOCK:
        x, weight = F.pad(x, (0, missing)), F.pad(weight, (0, missing))
    if len(x) >= DENSE_BLOCK:
        return F.linear(x, weight, bias)
    return torch.cat([F.linear(row.clone(), weight, bias) for row in x.split(1)])


class Dense(nn.Linear):
    """A dense layer that computes `dense`."""

    def forward(self, x):
        return dense(x, self.weight, self.bias)


class ToLatents(Dense):
    """A dense layer that gives a number for each component."""

    latent_axes = {"weight": 0, "bias": 0}


class FromLatents(Dense):
    """A dense layer that takes a number for each component."""

    latent_axes = {"weight": 1}


def _conv(in_channels, out_channels, cells, width=3):
    # Same size. On a side of one cell a window of 3 would see padding only: there it is 1.
    kernel = [width if side > 1 else 1 for side in cells]
    return nn.Conv2d(in_channels, out_channels, kernel, padding=[k // 2 for k in kernel])


# Blocks of more pixels are convolved on their own, those of fewer with their neighbours.
MAX_OVERLAPPING = 16


def stages(channels, folds, cells, n_masks):
    """Layers of all stages: those of the encoder, and those of the decoder.

    `channels` are those of the image and of each stage; `cells` is the size that the last stage
    leaves. The encoder sees `n_masks` channels more.
    """
    # Activations at the dense layers see flat rows, so that both passes have one order in memory.
    encoder, decoder = [nn.Flatten(), GELU()], [GELU(), nn.Unflatten(1, (channels[-1], *cells))]
    more = [n_masks] + [0] * (len(folds) - 1)
    sizes = list(zip(folds, channels[:-1], channels[1:], more, strict=True))
    # From the last stage to the first, because each needs to know the cells that it leaves.
    for fold, n_in, n_out, n_more in reversed(sizes):
        n_folded, n_seen = (n * fold[0] * fold[1] for n in (n_in, n_in + n_more))
        # A large block knows enough of its surroundings by itself.
        width = 3 if math.prod(fold) <= MAX_OVERLAPPING else 1
        encoder = [
            Fold(*fold),
            _conv(n_seen, n_out, cells, width),
            GELU(),
            _conv(n_out, n_out, cells),
            *encoder,
        ]
        decoder += [
            _conv(n_out, n_out, cells),
            GELU(),
            _conv(n_out, n_folded, cells, width),
            Unfold(*fold),
            GELU(),
        ]
        cells = [cells[0] * fold[0], cells[1] * fold[1]]
        encoder.insert(0, GELU())
    # The image itself has no activation.
    return encoder[1:], decoder[:-1]
