"""Likelihoods, KL divergence and the evidence lower bound (torch only; pure functions).

One value per image, in nats: sums run over pixels and over components, never over images.
The symbols, here and in the rest of the package:

====== =================== ==========================================================
x      (n, C, H, W)        images with pixels in [0, 1]
mu     (n, K)              mean of the posterior q(z|x) = N(mu, diag(sigma^2))
logvar (n, K)              log sigma^2 of the posterior
z      (n, K)              latent variables
logits (n, C, H, W)        natural parameters of p(x|z), one per pixel
====== =================== ==========================================================
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F


class Likelihood(NamedTuple):
    """A family p(x|z) of independent pixels, by its natural parameter.

    Parameters
    ----------
    log_density : callable
        ``log_density(logits, x)``: log p of each pixel, in nats.

    mean : callable
        ``mean(logits)``: mean of each pixel, in [0, 1].
    """

    log_density: Callable
    mean: Callable


LIKELIHOODS = {
    # x log(s) + (1 - x) log(1 - s), s = sigmoid(logits); Kingma & Welling (2014), appendix C.1.
    "bernoulli": Likelihood(
        log_density=lambda logits, x: (
            -F.binary_cross_entropy_with_logits(logits, x, reduction="none")
        ),
        mean=torch.sigmoid,
    ),
}


def log_likelihood(likelihood, logits, x, dtype=None):
    """log p(x|z), summed over the pixels of each image.

    Parameters
    ----------
    likelihood : str
        A key of `LIKELIHOODS`.

    logits, x : tensor of shape (n, C, H, W)

    dtype : torch.dtype, default=None
        Precision of the sum; None: that of the logits.

    Returns
    -------
    log_likelihood : tensor of shape (n,)
        In nats.
    """
    log_density = LIKELIHOODS[likelihood].log_density(logits, x)
    return log_density.flatten(1).sum(1, dtype=dtype)


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
        In nats, never below zero but for rounding.
    """
    # expm1(v) - v keeps its digits near v = 0, where exp(v) - 1 - v loses them all.
    return 0.5 * (mu.square() + torch.expm1(logvar) - logvar)


def elbo_terms(likelihood, x, logits, mu, logvar, dtype=None):
    """log p(x|z) and KL(q(z|x) || N(0, I)); the ELBO is the first less the second.

    Parameters
    ----------
    likelihood : str
        A key of `LIKELIHOODS`.

    x, logits : tensor of shape (n, C, H, W)

    mu, logvar : tensor of shape (n, K)

    dtype : torch.dtype, default=None
        Precision of the sums; None: that of the logits.

    Returns
    -------
    log_likelihood, kl : tensor of shape (n,)
        In nats.
    """
    kl = kl_divergence(mu, logvar).sum(1, dtype=dtype)
    return log_likelihood(likelihood, logits, x, dtype), kl
