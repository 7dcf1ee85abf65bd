"""Likelihoods, KL divergence and the evidence lower bound (torch only; pure functions).

One value per image, in nats: sums run over pixels and over components, never over images.
The symbols, here and in the rest of the package:

============ =================== ====================================================
x            (n, C, H, W)        images with pixels in [0, 1]; missing ones are NaN
mu           (n, K)              mean of the posterior q(z|x) = N(mu, diag(sigma^2))
logvar       (n, K)              log sigma^2 of the posterior
noise        (n, K)              draws from N(0, I)
z            (n, K)              latent variables, mu + sigma * noise
logits       (n, C, H, W)        natural parameters of p(x|z), one per pixel
noise_logvar ()                  log of the Gaussian noise variance of a pixel
y            (n,)                class of each image, from 0; -1: not known
class_logits (n, n_classes)      log pi_y - KL(q(z|x) || p(z|y)) of each class
============ =================== ====================================================
"""

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


def kl_divergence(mu, logvar):
    """1/2 (mu^2 + sigma^2 - 1 - log sigma^2): KL(q(z_k|x) || N(0, 1)) of each component.

    Kingma & Welling (2014), appendix B. The components are independent under both
    distributions, so the divergence of the whole posterior is the sum over them.

    Parameters
    ----------
    mu, logvar : tensor of shape (n, K)

    Returns
    -------
    kl : tensor of shape (n, K)
        In nats; not below zero, except for rounding.
    """
    # expm1(v) - v keeps its digits near v = 0, where exp(v) - 1 - v loses them all.
    return 0.5 * (mu.square() + torch.expm1(logvar) - logvar)


def log_standard_normal(z):
    """log N(z; 0, I).

    Parameters
    ----------
    z : tensor of shape (..., K)

    Returns
    -------
    log_density : tensor of shape (...)
        In nats.
    """
    return normal_log_density(z.square(), z.new_ones(())).sum(-1)


def log_joint_of_classes(z, means, class_logvar, log_priors):
    """log pi_y + log p(z|y) of each class, where p(z|y) = N(m_y, diag(s^2)).

    Its logsumexp over the classes is log p(z).

    Parameters
    ----------
    z : tensor of shape (n, K)

    means, class_logvar, log_priors
        As for `logits_of_classes`.

    Returns
    -------
    log_joint : tensor of shape (n, n_classes)
        In nats.
    """
    standard = (z[:, None] - means) * torch.exp(-0.5 * class_logvar)
    return log_priors + log_standard_normal(standard) - 0.5 * class_logvar.sum()


def logits_of_classes(mu, logvar, means, class_logvar, log_priors):
    """log pi_y - KL(q(z|x) || p(z|y)) of each class, where p(z|y) = N(m_y, diag(s^2)).

    All classes share s. So log p(z|y) at z = mu differs from -KL by a number that is the same for
    all classes, and the softmax of these logits is p(y|z) at z = mu.

    Parameters
    ----------
    mu, logvar : tensor of shape (n, K)

    means : tensor of shape (n_classes, K)
        m_y.

    class_logvar : tensor of shape (K,)
        log s^2.

    log_priors : tensor of shape (n_classes,)
        log pi_y.

    Returns
    -------
    class_logits : tensor of shape (n, n_classes)
        In nats.
    """
    # In units in which p(z|y) is N(0, I).
    mu = (mu[:, None] - means) * torch.exp(-0.5 * class_logvar)
    return log_priors - kl_divergence(mu, (logvar - class_logvar)[:, None]).sum(2)


def kl_with_classes(class_logits, y=None):
    """What replaces KL(q(z|x) || N(0, I)) if each class has a prior of its own.

    If the class is known, it is KL(q(z|x) || p(z|y)) - log pi_y, so that the ELBO is a bound of
    log p(x, y). Otherwise the class is summed out: an upper bound of KL(q(z|x) || p(z)), where p(z)
    = sum_y pi_y p(z|y). It is exact if q(z|x) meets one class only. For any weights r_y that sum
    to 1, log p(z) >= sum_y r_y (log pi_y + log p(z|y) - log r_y); the best r_y after taking the
    mean over q(z|x) gives -log sum_y pi_y exp(-KL(q(z|x) || p(z|y))).

    Parameters
    ----------
    class_logits : tensor of shape (n, n_classes)
        See `logits_of_classes`.

    y : tensor of shape (n,), default=None
        None: no class is known.

    Returns
    -------
    kl : tensor of shape (n,)
        In nats.
    """
    unknown = -torch.logsumexp(class_logits, 1)
    if y is None:
        return unknown
    return torch.where(y < 0, unknown, -_chosen(class_logits, y))


def label_losses(class_logits, y):
    """-log p(y|z) at z = mu, where the class is known, and 0 elsewhere.

    Parameters
    ----------
    class_logits : tensor of shape (n, n_classes)

    y : tensor of shape (n,)

    Returns
    -------
    losses : tensor of shape (n,)
        In nats.
    """
    losses = torch.logsumexp(class_logits, 1) - _chosen(class_logits, y)
    return torch.where(y < 0, 0.0, losses)


def undecided_losses(class_logits, y, shares, log_priors):
    """sum_y p(y|z) log(shares_y / (pi_y p(y|z))) at z = mu, where the class is not known.

    `shares` is the mean of p(y|z) over such images. With it, the mean of this term is the entropy
    of p(y|z), which is low if each image clearly belongs to one class, plus KL(shares || pi), which
    is low if the classes are as frequent as they should be. With equal pi_y it is the information
    that an image gives about its class, with the opposite sign, up to a number; Krause et al.,
    "Discriminative clustering by regularized information maximization", NeurIPS 2010.

    Parameters
    ----------
    class_logits : tensor of shape (n, n_classes)

    y : tensor of shape (n,)

    shares, log_priors : tensor of shape (n_classes,)

    Returns
    -------
    losses : tensor of shape (n,)
        In nats; 0 where the class is known.
    """
    log_p = torch.log_softmax(class_logits, 1)
    losses = (log_p.exp() * (shares.log() - log_priors - log_p)).sum(1)
    return torch.where(y < 0, losses, 0.0)


def _chosen(class_logits, y):
    return class_logits.gather(1, y.clamp_min(0)[:, None])[:, 0]


def elbo_terms(
    likelihood,
    x,
    logits,
    mu,
    logvar,
    noise_logvar=None,
    class_logits=None,
    *,
    y=None,
    log_jacobian=(0.0,),
    holes=False,
    dtype=None,
):
    """log p(x|z) and KL(q(z|x) || p(z)); the ELBO is their difference.

    The prior p(z) is N(0, I), unless each class has its own; see `kl_with_classes`.

    Parameters
    ----------
    likelihood : str
        A key of `LIKELIHOODS`.

    x, logits : tensor of shape (n, C, H, W)

    mu, logvar : tensor of shape (n, K)

    noise_logvar, log_jacobian, holes
        As for `conditional_log_likelihood`.

    class_logits : tensor of shape (n, n_classes), default=None
        None: there are no classes.

    y : tensor of shape (n,), default=None
        None: no class is known.

    dtype : torch.dtype, default=None
        Precision of the sums; None: that of the logits.

    Returns
    -------
    log_likelihood, kl : tensor of shape (n,)
        In nats.
    """
    if class_logits is None:
        kl = kl_divergence(mu, logvar).sum(1, dtype=dtype)
    else:
        kl = kl_with_classes(class_logits, y).to(dtype)
    log_p = conditional_log_likelihood(
        likelihood,
        logits,
        x,
        noise_logvar=noise_logvar,
        log_jacobian=log_jacobian,
        holes=holes,
        dtype=dtype,
    )
    return log_p, kl


def log_weights(log_p, log_prior, noise, logvar):
    """log p(x|z) + log p(z) - log q(z|x) for draws z = mu + sigma * noise.

    Their exponentials are unbiased estimates of p(x); Burda et al. (2016), section 3.

    Parameters
    ----------
    log_p : tensor of shape (n,)
        log p(x|z), in nats.

    log_prior : tensor of shape (n,)
        log p(z), in nats.

    noise, logvar : tensor of shape (n, K)

    Returns
    -------
    log_weights : tensor of shape (n,)
        In nats, in the precision of `log_p`.
    """
    log_posterior = log_standard_normal(noise) - 0.5 * logvar.sum(1)
    return log_p + (log_prior - log_posterior).to(log_p.dtype)
