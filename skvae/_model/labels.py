"""The label decoder: a normal prior for each class (torch)."""

import torch
from torch import nn

from .latents import log_joint_of_classes, logits_of_classes

# Images over which a label decoder takes the mean of p(y|z).
SHARES_WINDOW = 2_048


class LabelDecoder(nn.Module):
    """The label decoder p(y|z): each class y has a normal prior of its own.

    p(z|y) = N(m_y, diag(s^2)), with an s that all classes share. So p(y|z), which is proportional
    to pi_y p(z|y), is the softmax of a linear function of z, as in linear discriminant analysis.

    Parameters
    ----------
    n_components : int
        K, the number of latent variables.

    n_classes : int
    """

    def __init__(self, n_components, n_classes):
        super().__init__()
        self.means = nn.Parameter(torch.empty(n_classes, n_components))
        self.logvar = nn.Parameter(torch.empty(n_components))
        self.register_buffer("log_priors", torch.empty(n_classes))
        # Running mean of p(y|z) over images without a label.
        self.register_buffer("shares", torch.empty(n_classes))

    def forward(self, mu, logvar):
        """`logits_of_classes` of a posterior: (n, K) twice -> (n, n_classes)."""
        return logits_of_classes(mu, logvar, self.means, self.logvar, self.log_priors)

    @torch.no_grad()
    def set_priors(self, priors):
        """Set pi_y, an ndarray of shape (n_classes,)."""
        self.log_priors.copy_(torch.log(torch.tensor(priors, device="cpu")))

    @torch.no_grad()
    def update_shares(self, total, n_images):
        """Update the running mean of p(y|z) by its sum over some images without a label."""
        self.shares.lerp_(total / n_images, min(1.0, n_images / SHARES_WINDOW))

    def log_joint(self, z):
        """log pi_y + log p(z|y) of each class: (n, K) -> (n, n_classes)."""
        return log_joint_of_classes(z, self.means, self.logvar, self.log_priors)

    def moments(self):
        """Mean and variance of each latent variable under p(z): two tensors of shape (K,)."""
        priors = self.log_priors.exp()
        mean = priors @ self.means
        return mean, self.logvar.exp() + priors @ (self.means - mean).square()
