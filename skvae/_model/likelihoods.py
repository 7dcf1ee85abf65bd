"""Likelihoods p(x|z) of independent pixels: a family of distributions is one class (torch)."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

# Smallest variance of Gaussian noise, for pixels in [0, 1]: about the error of rounding to 8 bits,
# (1 / 255)^2 / 12.
MIN_NOISE_VARIANCE = 1e-6

# Weight of a batch in the running mean of the squared error, which is the noise variance.
NOISE_UPDATE_SHARE = 0.02


class PixelErrors(NamedTuple):
    """Sum of (x - m)^2 over the observed pixels of each image, and their number: (n,) each."""

    squared_error: torch.Tensor
    n_observed: torch.Tensor


class Likelihood(nn.Module):
    """p(x|z) of an image, whose pixels are independent given z; missing ones, NaN, sum out.

    A subclass has ``mean(logits)``, which rises with the natural parameter, and
    ``log_density(logits, x)``, log p of each pixel in nats, or a `log_likelihood` of its own. The
    first two keep the shape. `holes` says whether pixels of x may be missing.
    """

    # Whether p is a density, which depends on the units of x. Otherwise it is a probability.
    continuous = True
    # Whether p(x|z) is zero outside of [0, 1].
    bounded = True
    # Whether the natural parameter is the mean itself, with normal noise whose variance is
    # estimated. A linear network is then probabilistic PCA.
    normal = False

    def __init__(self, holes=False):
        super().__init__()
        self.holes = holes

    def log_likelihood(self, logits, x, log_jacobian=(0.0,), dtype=None):
        """log p(x|z) in nats, summed over observed pixels in `dtype`: (n, C, H, W) twice -> (n,).

        `log_jacobian` is log |dx/du| for a number u in other units that was scaled to x, one for
        each channel or one for all. A density, but not a probability, thereby becomes one of u.
        """
        density = self.log_density(logits, x.nan_to_num() if self.holes else x)
        if self.holes:
            density = torch.where(x.isnan(), 0.0, density)
        total = density.flatten(1).sum(1, dtype=dtype)
        if not self.continuous:
            return total
        return total + self.image_jacobian(x, log_jacobian, total.dtype)

    def image_jacobian(self, x, log_jacobian, dtype):
        """`log_jacobian`, summed over the observed numbers of each image: (n, C, H, W) -> (n,)."""
        if not self.holes:
            whole = math.prod(x.shape[1:]) * sum(log_jacobian) / len(log_jacobian)
            return torch.full((len(x),), whole, dtype=dtype, device=x.device)
        each = torch.tensor(log_jacobian, dtype=dtype, device="cpu").to(x.device)
        return (~x.isnan()).sum((2, 3), dtype=dtype) @ each.expand(x.shape[1])

    def squared_errors(self, mean, x, dtype=None):
        """The `PixelErrors` of images of these means, summed in `dtype`: (n, C, H, W) twice."""
        n_observed = x.new_full((len(x),), math.prod(x.shape[1:]), dtype=dtype)
        if self.holes:
            observed = ~x.isnan()
            n_observed = observed.sum((1, 2, 3), dtype=n_observed.dtype)
            x = torch.where(observed, x, mean.detach())
        # One pass over the numbers forwards and one backwards, unlike (x - mean).square().
        error = F.mse_loss(mean, x, reduction="none")
        return PixelErrors(error.flatten(1).sum(1, dtype=dtype), n_observed)

    def natural_parameter(self, mean):
        """The natural parameter that gives a mean within (0, 1), by bisection, in float64."""
        mean = mean.double()
        low, high = torch.full_like(mean, -1e4), torch.full_like(mean, 1e4)
        for _ in range(80):
            middle = (low + high) / 2
            too_low = self.mean(middle) < mean
            low, high = torch.where(too_low, middle, low), torch.where(too_low, high, middle)
        return (low + high) / 2


class Bernoulli(Likelihood):
    """x log(s) + (1 - x) log(1 - s), s = sigmoid(logits); Kingma & Welling (2014), app. C.1."""

    continuous = False

    def log_density(self, logits, x):
        return -F.binary_cross_entropy_with_logits(logits, x, reduction="none")

    def mean(self, logits):
        return torch.sigmoid(logits)


class ContinuousBernoulli(Likelihood):
    """logits * x - A(logits), where exp(A(v)) = (exp(v) - 1) / v, on [0, 1].

    Loaiza-Ganem & Cunningham (2019), as a natural exponential family: exp(A(v)) is the integral
    of exp(v * x) over [0, 1].
    """

    def log_density(self, logits, x):
        # A(v) = max(v, 0) + log((1 - exp(-a)) / a) with a = |v| cannot overflow. Near v = 0, where
        # this is 0 / 0, the Taylor series is used.
        near_zero = logits.abs() < 0.5
        a = torch.where(near_zero, 1.0, logits.abs())  # no infinite gradient from the other branch
        far = F.relu(logits) + torch.log(-torch.expm1(-a) / a)
        v = torch.where(near_zero, logits, 0.0)
        near = v / 2 + v**2 / 24 - v**4 / 2_880 + v**6 / 181_440
        return logits * x - torch.where(near_zero, near, far)

    def mean(self, logits):
        # The derivative of A: 1 / (1 - exp(-v)) - 1 / v.
        near_zero = logits.abs() < 0.5
        v = torch.where(near_zero, 1.0, logits)
        far = -1 / torch.expm1(-v) - 1 / v
        v = torch.where(near_zero, logits, 0.0)
        # 1/2 + v/12 - v^3/720 + v^5/30240, without the slow powers of torch.
        near = 0.5 + v * (1 / 12 - v.square() * (1 / 720 - v.square() / 30_240))
        return torch.where(near_zero, near, far)


class Gaussian(Likelihood):
    """N(x; logits, s^2), with one noise variance s^2 for all pixels, which is measured.

    s^2 is set before the first step, and then after each epoch, by images that are set aside. If
    there are none, it is updated after each step (`follow`). The loss of a step uses the larger one
    of s^2 and the error of its batch (`cautious`).
    """

    bounded = False
    normal = True

    def __init__(self, holes=False):
        super().__init__(holes)
        self.register_buffer("noise_logvar", torch.empty(()))

    def log_likelihood(self, logits, x, log_jacobian=(0.0,), dtype=None):
        errors = self.squared_errors(logits, x, dtype)
        total = normal_log_density(*errors, self.variance)
        return total + self.image_jacobian(x, log_jacobian, total.dtype)

    def mean(self, logits):
        return logits.clone()

    @property
    def variance(self):
        """s^2 of a pixel in [0, 1], never below `MIN_NOISE_VARIANCE`: a tensor of shape ()."""
        return self.noise_logvar.exp().clamp_min(MIN_NOISE_VARIANCE)

    @torch.no_grad()
    def set_variance(self, variance):
        """Set s^2, a float, or the smallest that there is."""
        self.noise_logvar.fill_(math.log(max(variance, MIN_NOISE_VARIANCE)))

    @torch.no_grad()
    def follow(self, squared_error, n_observed):
        """Update s^2, as a running mean, by sums over a batch of `PixelErrors`."""
        error = squared_error / n_observed.clamp_min(1)
        # Nothing observed tells nothing.
        share = NOISE_UPDATE_SHARE * (n_observed > 0).to(error.dtype)
        self.noise_logvar.copy_(torch.lerp(self.variance, error, share).log())

    def cautious(self, squared_error, n_observed):
        """This family with max(s^2, mean squared error of a batch), from sums of `PixelErrors`.

        The mean squared error is the variance that makes the batch most likely; Rybkin et al.,
        "Simple and effective VAE training with calibrated decoders", ICML 2021. So a batch far
        from its reconstruction has no huge gradient. If the network fits the noise of training
        images, it is too small. Then s^2, from images set aside, is the larger one.
        """
        other = Gaussian(self.holes)
        error = squared_error / n_observed.clamp_min(1)
        other.noise_logvar = torch.maximum(self.noise_logvar, error.log())
        return other

    def mean_log_density(self, squared_error):
        """Mean of log p over pixels whose mean squared error, a float, is given: a float."""
        error = torch.tensor(squared_error, dtype=torch.float64, device="cpu")
        variance = self.noise_logvar.cpu().double().exp().clamp_min(MIN_NOISE_VARIANCE)
        return normal_log_density(error, 1, variance).item()


def normal_log_density(squared_error, n, variance):
    """-1/2 sum (x - m)^2 / s^2 - n/2 log(2 pi s^2) in nats, for the squared error of n numbers."""
    return -0.5 * (squared_error / variance + n * torch.log(2 * math.pi * variance))


LIKELIHOODS = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
}
