"""The share of the variance of images that reconstructions explain, batch by batch (torch)."""

import torch

from .devices import sum_dtype


class ExplainedVariance:
    """1 - sum (x - reconstruction)^2 / sum (x - mean image)^2, over all observed numbers.

    The mean image is that of the images x. So this is R^2 of all numbers together. With `holes`,
    numbers of x may be missing, which is NaN; they do not count. `scale`, a tensor that broadcasts
    to an image, is a factor of all differences, if channels have different units.
    """

    def __init__(self, holes, scale=None):
        self.holes = holes
        self.scale = scale
        # Deviations are summed from an image of the set, not from 0: so nothing cancels out, and
        # those of equal images are exactly 0.
        self.origin, self.is_empty = None, True
        self.n = self.sums = self.squares = self.errors = 0.0

    @torch.no_grad()
    def add(self, x, reconstruction):
        """Add images x of shape (n, ...) and their reconstructions."""
        residual = reconstruction - x
        n_observed = len(x)
        if self.holes:
            observed = ~x.isnan()
            n_observed = observed.sum(0)
        self._find_origin(x)
        deviation = x - self.origin
        if self.holes:
            residual, deviation = (torch.where(observed, d, 0.0) for d in (residual, deviation))
        if self.scale is not None:
            residual, deviation = residual * self.scale, deviation * self.scale
        dtype = sum_dtype(x.device)
        self.n = self.n + n_observed
        self.sums = self.sums + deviation.sum(0).to(dtype)
        self.squares = self.squares + _sum_of_squares(deviation, dtype)
        self.errors = self.errors + _sum_of_squares(residual, dtype)

    def _find_origin(self, x):
        """Set the origin: an image; where its pixels are missing, values of later ones."""
        if self.is_empty:  # the share of this process may have no images, and yet needs an origin
            self.is_empty = not len(x)
            self.origin = x.new_zeros(x.shape[1:]) if self.is_empty else x[0].clone()
        if self.holes and len(x):
            largest = x.nan_to_num(-torch.inf).amax(0)
            found = torch.where(largest.isinf(), torch.nan, largest)
            self.origin = torch.where(self.origin.isnan(), found, self.origin)

    def sum_over(self, processes):
        """Add what other `Processes` have summed over their images."""
        own = self.origin.to(self.sums).nan_to_num()
        (origin,) = processes.sum([own])
        shift = own - origin / processes.size
        if self.scale is not None:
            shift = shift * self.scale
        n = torch.as_tensor(self.n, device=shift.device).to(shift.dtype)
        squares = self.squares + (shift * (2 * self.sums + n * shift)).sum()
        parts = [n, self.sums + n * shift, squares, self.errors]
        self.n, self.sums, self.squares, self.errors = processes.sum(parts)

    @property
    def ratio(self):
        """The share, a float; if all images are equal, 1 if nothing differs from them, else 0."""
        n = torch.as_tensor(self.n, device=self.sums.device).clamp_min(1)
        variation = (self.squares - (self.sums.square() / n).sum()).item()
        error = self.errors.item()
        if variation <= 0:
            return float(error == 0)
        return 1 - error / variation


def _sum_of_squares(differences, dtype):
    """Sum over all numbers of a tensor of shape (n, ...)."""
    # An image at a time, which float32 can sum.
    axes = tuple(range(1, differences.ndim))
    return torch.linalg.vector_norm(differences, dim=axes).to(dtype).square().sum()
