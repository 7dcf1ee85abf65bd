"""Latent variables: draws of them, their KL divergence, weights of draws (torch).

One value per image, in nats: sums run over pixels and over components, never over images.
The symbols, here and in the rest of the package:

============ =================== ====================================================
x            (n, C, H, W)        images with pixels in [0, 1]; missing ones are NaN
mu           (n, K)              mean of the posterior q(z|x) = N(mu, diag(sigma^2))
logvar       (n, K)              log sigma^2 of the posterior
noise        (n, K)              draws from N(0, I)
z            (n, K)              latent variables, mu + sigma * noise
logits       (n, C, H, W)        natural parameters of p(x|z), one per pixel
y            (n,)                class of each image, from 0; -1: not known
class_logits (n, n_classes)      log pi_y - KL(q(z|x) || p(z|y)) of each class
============ =================== ====================================================
"""

import torch

from .likelihoods import normal_log_density


def reparametrize(mu, logvar, noise):
    """z = mu + sigma * noise, Kingma & Welling (2014), section 2.4: (n, K) each."""
    return mu + torch.exp(0.5 * logvar) * noise


def kl_divergence(mu, logvar):
    """1/2 (mu^2 + sigma^2 - 1 - log sigma^2): KL(q(z_k|x) || N(0, 1)) of each component, (n, K).

    Kingma & Welling (2014), appendix B. The components are independent under both
    distributions, so the divergence of the whole posterior is the sum over them. In nats; not below
    zero, except for rounding.
    """
    # expm1(v) - v keeps its digits near v = 0, where exp(v) - 1 - v loses them all.
    return 0.5 * (mu.square() + torch.expm1(logvar) - logvar)


def log_standard_normal(z):
    """log N(z; 0, I) in nats: (..., K) -> (...)."""
    return normal_log_density(z.square(), 1, z.new_ones(())).sum(-1)


def log_weights(log_p, log_prior, noise, logvar):
    """log p(x|z) + log p(z) - log q(z|x) for draws z = mu + sigma * noise: (n,) twice -> (n,).

    In the precision of `log_p`. Their exponentials are unbiased estimates of p(x); Burda et al.
    (2016), section 3.
    """
    log_posterior = log_standard_normal(noise) - 0.5 * logvar.sum(1)
    return log_p + (log_prior - log_posterior).to(log_p.dtype)
