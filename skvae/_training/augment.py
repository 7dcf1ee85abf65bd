"""Small random affine maps of images, and parts that are covered (torch; pure functions)."""

import math

import torch
import torch.nn.functional as F

# Random numbers that make a map, and a cover.
N_DRAWS, N_COVER_DRAWS = 5, 3

# Largest rotation in radians, change of scale and shear, and shift in shares of a side, at
# strength 1.
MAX_ROTATION, MAX_STRETCH, MAX_SHIFT = math.radians(10), 0.1, 0.05


def affine_maps(draws, strength, image_shape):
    """Rotation, scale, shear and shift of each image, as matrices (n, 2, 3) for `mapped`.

    From uniform draws on [0, 1), (n, `N_DRAWS`), for images of (C, H, W). Strength 0 is no change;
    1 is a rotation of up to 10 degrees either way, up to 10 % of scale and of shear, and shifts of
    up to 5 % of each side. They lead from places in a new image to places in the old one, in units
    of half a side.
    """
    _, height, width = image_shape
    limits = [MAX_ROTATION, MAX_STRETCH, MAX_STRETCH, 2 * MAX_SHIFT, 2 * MAX_SHIFT]
    most = strength * torch.tensor(limits, dtype=draws.dtype, device="cpu")
    angle, stretch, shear, down, right = ((2 * draws - 1) * most).unbind(1)
    cos, sin = (1 + stretch) * angle.cos(), (1 + stretch) * angle.sin()
    aspect = height / width
    rows = [[cos, aspect * (shear * cos - sin), right], [sin / aspect, cos + shear * sin, down]]
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def mapped(x, maps, *, holes):
    """Images under affine maps, by bilinear interpolation; the border goes on outside.

    Parameters
    ----------
    x : tensor of shape (n, C, H, W)
        Missing pixels are NaN.

    maps : tensor of shape (n, 2, 3)

    holes : bool
        Whether pixels may be missing.

    Returns
    -------
    images : tensor of shape (n, C, H, W)
        A pixel is missing if a missing one has a part in it.
    """
    if len(x) == 0:  # which torch refuses: the share of a process may be empty
        return x
    grid = F.affine_grid(maps, x.shape, align_corners=False)
    if not holes:
        return _sampled(x, grid)
    missing = _sampled(x.isnan().to(x.dtype), grid) > 0
    return _sampled(x.nan_to_num(), grid).masked_fill(missing, torch.nan)


def _sampled(x, grid):
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def covered(x, draws, largest):
    """Images with a part of each hidden under its mean colour, (n, C, H, W): Cutout [1]_.

    From uniform draws on [0, 1), (n, `N_COVER_DRAWS`). The part is a rectangle in the proportions
    of the image, at most the share `largest` of each side. Its centre is anywhere in the image, so
    some of it can be outside. A pixel is covered if its middle is.

    References
    ----------
    .. [1] DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with
       Cutout", 2017, https://arxiv.org/abs/1708.04552
    """
    if len(x) == 0:
        return x
    share, down, right = draws[:, :, None].unbind(1)  # (n, 1) each

    def within(centre, n_places):
        places = (torch.arange(n_places, dtype=draws.dtype, device="cpu") + 0.5) / n_places
        return (places - centre).abs() < largest * share / 2

    height, width = x.shape[2:]
    hidden = within(down, height)[:, None, :, None] & within(right, width)[:, None, None, :]
    return torch.where(hidden, x.nanmean((2, 3), keepdim=True), x)
