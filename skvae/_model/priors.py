"""Priors p(z): the standard normal, and a normal for each class (torch)."""

import torch
from torch import nn

from .latents import kl_divergence, log_standard_normal


class StandardNormal(nn.Module):
    """p(z) = N(0, I), without classes."""

    n_classes = 0

    def kl(self, mu, logvar, y=None, dtype=None):
        """KL(q(z|x) || p(z)), summed in `dtype`: (n, K) twice -> (n,); and no class logits."""
        return kl_divergence(mu, logvar).sum(1, dtype=dtype), None

    def log_density(self, z):
        """log p(z): (n, K) -> (n,)."""
        return log_standard_normal(z)

    def standardize(self, mu, logvar):
        """The same posterior: each z_k has mean 0 and variance 1 already."""
        return mu, logvar


class ClassNormals(nn.Module):
    """p(z) = sum_y pi_y p(z|y), p(z|y) = N(m_y, diag(s^2)), with an s that all classes share.

    So p(y|z), which is proportional to pi_y p(z|y), is the softmax of a linear function of z, as
    in linear discriminant analysis.
    """

    latent_axes = {"means": 1, "logvar": 0}

    def __init__(self, n_components, n_classes):
        super().__init__()
        self.n_classes = n_classes
        self.means = nn.Parameter(torch.empty(n_classes, n_components))
        self.logvar = nn.Parameter(torch.empty(n_components))
        self.register_buffer("log_priors", torch.empty(n_classes))
        # Running mean of p(y|z) over images without a label.
        self.register_buffer("shares", torch.empty(n_classes))

    @torch.no_grad()
    def start_at(self, means):
        """Let p(z|y) start at N(m_y, I), with `means` of shape (n_classes, K)."""
        self.means.copy_(means)
        self.logvar.zero_()
        self.shares.fill_(1 / self.n_classes)

    @torch.no_grad()
    def set_priors(self, priors):
        """Set pi_y, an ndarray of shape (n_classes,)."""
        self.log_priors.copy_(torch.log(torch.tensor(priors, device="cpu")))

    @torch.no_grad()
    def update_shares(self, total, n_images, window):
        """Update the mean of p(y|z) over about `window` images by its sum over some of them."""
        self.shares.lerp_(total / n_images, min(1.0, n_images / window))

    def class_logits(self, mu, logvar):
        """log pi_y - KL(q(z|x) || p(z|y)) of each class: (n, K) twice -> (n, n_classes).

        All classes share s. So log p(z|y) at z = mu differs from -KL by a number that is the same
        for all classes, and the softmax of these logits is p(y|z) at z = mu.
        """
        # In units in which p(z|y) is N(0, I).
        mu = (mu[:, None] - self.means) * torch.exp(-0.5 * self.logvar)
        return self.log_priors - kl_divergence(mu, (logvar - self.logvar)[:, None]).sum(2)

    def kl(self, mu, logvar, y=None, dtype=None):
        """What KL(q(z|x) || p(z)) becomes, in `dtype`, of shape (n,), and the class logits.

        If the class is known, it is KL(q(z|x) || p(z|y)) - log pi_y, so that the ELBO is a bound
        of log p(x, y). Otherwise the class is summed out: an upper bound of KL(q(z|x) || p(z)). It
        is exact if q(z|x) meets one class only. For any weights r_y that sum to 1, log p(z) >=
        sum_y r_y (log pi_y + log p(z|y) - log r_y); the best r_y after taking the mean over q(z|x)
        gives -log sum_y pi_y exp(-KL(q(z|x) || p(z|y))).
        """
        class_logits = self.class_logits(mu, logvar)
        kl = -torch.logsumexp(class_logits, 1)
        if y is not None:
            kl = torch.where(y < 0, kl, -_chosen(class_logits, y))
        return kl.to(dtype), class_logits

    def log_joint(self, z):
        """log pi_y + log p(z|y) of each class: (n, K) -> (n, n_classes)."""
        standard = (z[:, None] - self.means) * torch.exp(-0.5 * self.logvar)
        return self.log_priors + log_standard_normal(standard) - 0.5 * self.logvar.sum()

    def log_density(self, z):
        """log p(z): (n, K) -> (n,)."""
        return torch.logsumexp(self.log_joint(z), 1)

    def moments(self):
        """Mean and variance of each latent variable under p(z): two tensors of shape (K,)."""
        priors = self.log_priors.exp()
        mean = priors @ self.means
        return mean, self.logvar.exp() + priors @ (self.means - mean).square()

    def standardize(self, mu, logvar):
        """A posterior in units in which each z_k has mean 0 and variance 1 under p(z)."""
        mean, variance = self.moments()
        return (mu - mean) / variance.sqrt(), logvar - variance.log()

    def label_losses(self, class_logits, y, log_frequencies):
        """-log p(y|z) at z = mu in nats, where the class is known, and 0 elsewhere: (n,).

        `log_frequencies` are those of the classes where the images come from. They replace the
        priors, so that p(z|y) does not make up for a difference between them.
        """
        class_logits = class_logits - self.log_priors + log_frequencies
        losses = torch.logsumexp(class_logits, 1) - _chosen(class_logits, y)
        return torch.where(y < 0, 0.0, losses)

    def undecided_losses(self, class_logits, y, entropy_weight):
        """sum_y p(y|z) (log(shares_y / pi_y) - w log p(y|z)) at z = mu; 0 for a known class: (n,).

        `shares` is the mean of p(y|z) over such images. With it, the mean of this term is the
        entropy of p(y|z), times its weight w, which is low if each image clearly belongs to one
        class, plus KL(shares || pi), which is low if the classes are as frequent as they should be.
        With equal pi_y and w = 1 it is the information that an image gives about its class, with
        the opposite sign, up to a number; Krause et al., "Discriminative clustering by regularized
        information maximization", NeurIPS 2010.
        """
        log_p = torch.log_softmax(class_logits, 1)
        of_classes = self.shares.log() - self.log_priors - entropy_weight * log_p
        losses = (log_p.exp() * of_classes).sum(1)
        return torch.where(y < 0, losses, 0.0)


def class_divergences(class_logits, others):
    """KL(p || q) in nats of p and q with these logits: (n, n_classes) twice -> (n,)."""
    log_p, log_q = torch.log_softmax(class_logits, 1), torch.log_softmax(others, 1)
    return (log_p.exp() * (log_p - log_q)).sum(1)


def _chosen(class_logits, y):
    """The logit of the class of each image; of any class if it is not known: (n,)."""
    return class_logits.gather(1, y.clamp_min(0)[:, None])[:, 0]
