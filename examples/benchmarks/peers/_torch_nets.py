"""What the workers on PyTorch share: threads and seed, a network, and NumPy passes."""

import torch
from torch import nn


def set_up(args):
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)


class KerasExample(nn.Module):
    """The network of Keras' published convolutional VAE."""

    def __init__(self, n_components):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 7 * 7, 16),
            nn.ReLU(),
        )
        self.mu_head = nn.Linear(16, n_components)
        self.logvar_head = nn.Linear(16, n_components)
        self.decoder = nn.Sequential(
            nn.Linear(n_components, 64 * 7 * 7),
            nn.ReLU(),
            nn.Unflatten(1, (64, 7, 7)),
            nn.ConvTranspose2d(64, 64, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def encode(self, x):
        hidden = self.encoder(x)
        return self.mu_head(hidden), self.logvar_head(hidden)

    def forward(self, x):
        mu, logvar = self.encode(x)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return self.decoder(z), mu, logvar


def numpy_passes(module, encode, decode):
    """``encode`` and ``decode`` of tensors as functions of NumPy arrays, in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Module
        Put in evaluation mode for the pass, then back.

    encode, decode : callable
        From a tensor to a tensor or to two.
    """

    @torch.no_grad()
    def run(function, array):
        was_training = module.training
        module.eval()
        output = function(torch.from_numpy(array))
        module.train(was_training)
        return output.numpy() if torch.is_tensor(output) else [part.numpy() for part in output]

    return lambda x: run(encode, x[:, None]), lambda z: run(decode, z)


def kl_divergence(mu, logvar):
    """1/2 sum(mu^2 + sigma^2 - 1 - log sigma^2), over components and images."""
    return -0.5 * torch.sum(1 + logvar - mu.square() - logvar.exp())
