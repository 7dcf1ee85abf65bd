"""Likelihoods p(x|z) of independent pixels (torch only; pure functions)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F

# Smallest variance of Gaussian noise, for pixels in [0, 1]: about the error of rounding to 8 bits,
# (1 / 255)^2 / 12.
MIN_NOISE_VARIANCE = 1e-6


class Likelihood(NamedTuple):
    """A family of distributions p(x|z) of independent pixels, by its natural parameter.

    Parameters
    ----------
    log_density : callable
        ``log_density(logits, x, noise_logvar)``: log p of each pixel, in nats.

    mean : callable
        ``mean(logits)``: mean of each pixel. It rises with the natural parameter.

    continuous : bool
        Whether p is a density, which depends on the units of x. Otherwise it is a probability.

    bounded : bool
        Whether p(x|z) is zero outside of [0, 1].

    normal : bool
        Whether the natural parameter is the mean itself, with normal noise whose variance is
        estimated. A linear network is then probabilistic PCA.
    """

    log_density: Callable
    mean: Callable
    continuous: bool
    bounded: bool
    normal: bool


def _bernoulli_log_density(logits, x, noise_logvar):
    # x log(s) + (1 - x) log(1 - s), s = sigmoid(logits); Kingma & Welling (2014), appendix C.1.
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none")


def _continuous_bernoulli_log_density(logits, x, noise_logvar):
    # logits * x - A(logits), where exp(A(v)) = (exp(v) - 1) / v is the integral of exp(v * x) over
    # [0, 1]; Loaiza-Ganem & Cunningham (2019), as a natural exponential family.
    # A(v) = max(v, 0) + log((1 - exp(-a)) / a) with a = |v| cannot overflow. Near v = 0, where this
    # is 0 / 0, the Taylor series is used.
    near_zero = logits.abs() < 0.5
    a = torch.where(near_zero, 1.0, logits.abs())  # no infinite gradient from the other branch
    far = F.relu(logits) + torch.log(-torch.expm1(-a) / a)
    v = torch.where(near_zero, logits, 0.0)
    near = v / 2 + v**2 / 24 - v**4 / 2_880 + v**6 / 181_440
    return logits * x - torch.where(near_zero, near, far)


def _continuous_bernoulli_mean(logits):
    # The derivative of A: 1 / (1 - exp(-v)) - 1 / v.
    near_zero = logits.abs() < 0.5
    v = torch.where(near_zero, 1.0, logits)
    far = -1 / torch.expm1(-v) - 1 / v
    v = torch.where(near_zero, logits, 0.0)
    # 1/2 + v/12 - v^3/720 + v^5/30240, without the slow powers of torch.
    near = 0.5 + v * (1 / 12 - v.square() * (1 / 720 - v.square() / 30_240))
    return torch.where(near_zero, near, far)


def normal_log_density(squared_error, variance):
    """-1/2 (x - m)^2 / s^2 - 1/2 log(2 pi s^2), with one variance s^2 for all pixels.

    As in probabilistic PCA; Tipping & Bishop (1999).

    Parameters
    ----------
    squared_error : tensor
        (x - m)^2 of each pixel. If it is a mean over pixels, the result is a mean too.

    variance : tensor of shape ()

    Returns
    -------
    log_density : tensor of the shape of `squared_error`
        In nats.
    """
    return -0.5 * (squared_error / variance + torch.log(2 * math.pi * variance))


def _gaussian_log_density(logits, x, noise_logvar):
    return normal_log_density((x - logits).square(), noise_variance(noise_logvar))


LIKELIHOODS = {
    "bernoulli": Likelihood(
        _bernoulli_log_density,
        torch.sigmoid,
        continuous=False,
        bounded=True,
        normal=False,
    ),
    "continuous_bernoulli": Likelihood(
        _continuous_bernoulli_log_density,
        _continuous_bernoulli_mean,
        continuous=True,
        bounded=True,
        normal=False,
    ),
    "gaussian": Likelihood(
        _gaussian_log_density,
        torch.clone,
        continuous=True,
        bounded=False,
        normal=True,
    ),
}


def noise_variance(noise_logvar):
    """Variance of the Gaussian noise of a pixel in [0, 1], never below `MIN_NOISE_VARIANCE`.

    Parameters
    ----------
    noise_logvar : tensor of shape ()

    Returns
    -------
    variance : tensor of shape ()
    """
    return noise_logvar.exp().clamp_min(MIN_NOISE_VARIANCE)


def squared_errors(x, logits, holes):
    """Sum of (x - logits)^2 over the pixels of each image, and the number of these pixels.

    Parameters
    ----------
    x, logits : tensor of shape (n, C, H, W)

    holes : bool
        Whether pixels of x may be missing, which is NaN. They do not count.

    Returns
    -------
    error, n_observed : tensor of shape (n,)
    """
    error = (x - logits).square().flatten(1)
    if holes:
        n_observed = (~error.isnan()).sum(1, dtype=error.dtype)
        return error.nan_to_num().sum(1), n_observed
    return error.sum(1), torch.full_like(error[:, 0], error.shape[1])


def cautious_noise(noise_logvar, error, n_observed):
    """log of the larger of two noise variances: a given one, and the mean squared error.

    The mean squared error of a batch is the variance that makes the batch most likely; Rybkin et
    al., "Simple and effective VAE training with calibrated decoders", ICML 2021. It adapts at
    once, so that no gradient explodes. For training images it is too small if the network fits
    their noise. The given variance, from images set aside, is a lower bound for that case.

    Parameters
    ----------
    noise_logvar : tensor of shape ()
        log of the variance for images set aside.

    error, n_observed : tensor of shape ()
        Sums over the images of a batch of what `squared_errors` returns.

    Returns
    -------
    noise_logvar : tensor of shape ()
    """
    return torch.maximum(noise_logvar, (error / n_observed.clamp_min(1)).log())


def natural_parameter(likelihood, mean):
    """The natural parameter that gives a mean, by bisection.

    Parameters
    ----------
    likelihood : str
        A key of `LIKELIHOODS`.

    mean : tensor
        Means of pixels, within (0, 1).

    Returns
    -------
    logits : tensor of float64
    """
    mean = mean.double()
    low, high = torch.full_like(mean, -1e4), torch.full_like(mean, 1e4)
    for _ in range(80):
        middle = (low + high) / 2
        too_low = LIKELIHOODS[likelihood].mean(middle) < mean
        low, high = torch.where(too_low, middle, low), torch.where(too_low, high, middle)
    return (low + high) / 2


def conditional_log_likelihood(
    likelihood, logits, x, *, noise_logvar=None, log_jacobian=(0.0,), holes=False, dtype=None
):
    """log p(x|z), summed over the observed pixels of each image.

    Pixels are independent given z, so those that are missing sum out.

    Parameters
    ----------
    likelihood : str
        A key of `LIKELIHOODS`.

    logits, x : tensor of shape (n, C, H, W)

    noise_logvar : tensor of shape (), default=None
        Only for the Gaussian family.

    log_jacobian : tuple of float, one for each channel or one for all, default=(0.0,)
        log |dx/du| for a number u in other units that was scaled to x. It is added to a density,
        which thereby becomes one of u, but not to a probability.

    holes : bool, default=False
        Whether pixels of x may be missing, which is NaN.

    dtype : torch.dtype, default=None
        Precision of the sum; None: that of the logits.

    Returns
    -------
    log_likelihood : tensor of shape (n,)
        In nats.
    """
    family = LIKELIHOODS[likelihood]
    if holes:
        observed = ~x.isnan()
        density = family.log_density(logits, x.nan_to_num(), noise_logvar)
        total = torch.where(observed, density, 0.0).flatten(1).sum(1, dtype=dtype)
    else:
        observed = None
        total = family.log_density(logits, x, noise_logvar).flatten(1).sum(1, dtype=dtype)
    if not family.continuous:
        return total
    return total + image_jacobian(x, log_jacobian, observed, dtype=total.dtype)


def image_jacobian(x, log_jacobian, observed=None, *, dtype=None):
    """`log_jacobian`, summed over the observed numbers of each image.

    Parameters
    ----------
    x : tensor of shape (n, C, H, W)

    log_jacobian : tuple of float
        As for `conditional_log_likelihood`.

    observed : tensor of bool of the shape of x, default=None
        None: all numbers were observed.

    dtype : torch.dtype, default=None
        Precision of the sum; None: that of x.

    Returns
    -------
    log_jacobian : tensor of shape (n,)
    """
    dtype = x.dtype if dtype is None else dtype
    if observed is None:
        whole = math.prod(x.shape[1:]) * sum(log_jacobian) / len(log_jacobian)
        return torch.full((len(x),), whole, dtype=dtype, device=x.device)
    each = torch.tensor(log_jacobian, dtype=dtype, device="cpu").to(x.device)
    return observed.sum((2, 3), dtype=dtype) @ each.expand(x.shape[1])
