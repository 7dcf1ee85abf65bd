"""KL divergences, classes and the evidence lower bound (torch only; pure functions).

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

import torch

from .likelihoods import conditional_log_likelihood, normal_log_density


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
