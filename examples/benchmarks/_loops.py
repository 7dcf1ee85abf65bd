"""Training loops around one and the same network: bare PyTorch, and skorch as it comes."""

from copy import deepcopy

import skorch
import torch
import torch.nn.functional as F
from skorch.callbacks import Callback, LRScheduler
from torch.optim.lr_scheduler import OneCycleLR

from skvae._model.latents import kl_divergence


class KeepStart(Callback):
    """Keep copies of the network and of its optimiser as they are before the first step."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        # One copy of both, so that the optimiser holds the weights of the copied network.
        self.start_ = deepcopy((net.module_, net.optimizer_))


def start_of_fit(vae, X):
    """The network and the optimiser with which ``vae.fit(X)`` begins.

    All loops are to have the same rate and size of a batch, so automatic ones are fixed here.
    """
    keep = KeepStart()
    vae.set_params(callbacks=[keep], max_iter=1).fit(X)
    vae.set_params(batch_size=vae.net_.batch_size, learning_rate=vae.net_.lr)
    return keep.start_


def negative_elbo(module, x, noise):
    """Mean of -log p(x|z) + KL in nats, for x of shape (n, C, H, W) in [0, 1] (Bernoulli)."""
    mu, logvar = module.encode(x)
    logits = module.decode(mu + torch.exp(0.5 * logvar) * noise)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    return (cross_entropy + kl_divergence(mu, logvar).sum()) / len(x)


def one_cycle(n_images, vae, n_epochs):
    """Arguments of the schedule of ``vae.fit``."""
    n_steps = n_epochs * -(-n_images // vae.batch_size)
    return {
        "max_lr": vae.learning_rate,
        "total_steps": n_steps + 1,
        "cycle_momentum": False,
    }


def bare_fit(start, pixels, vae, n_epochs):
    """Train by a plain loop over slices of `pixels`: uint8, (n, C, H, W), on any device."""
    module, optimizer = deepcopy(start)
    schedule = OneCycleLR(optimizer, **one_cycle(len(pixels), vae, n_epochs))
    generator = torch.Generator(pixels.device).manual_seed(0)
    for _ in range(n_epochs):
        order = torch.randperm(len(pixels), generator=generator, device=pixels.device)
        for batch in pixels[order].split(vae.batch_size):
            x = batch.float().div_(255)
            noise = torch.randn(len(x), vae.n_components, generator=generator, device=pixels.device)
            optimizer.zero_grad()
            negative_elbo(module, x, noise).backward()
            optimizer.step()
            schedule.step()
    return module


class Autoencoder(torch.nn.Module):
    """A network that takes uint8 images, for skorch."""

    def __init__(self, module, n_components):
        super().__init__()
        self.module = module
        self.n_components = n_components

    def forward(self, x):
        x = x.float() / 255
        noise = torch.randn(len(x), self.n_components, device=x.device)
        return negative_elbo(self.module, x, noise)


class LossNet(skorch.NeuralNet):
    """A net whose module returns the loss."""

    def get_loss(self, y_pred, y_true, *args, **kwargs):
        return y_pred


def skorch_fit(start, X, vae, n_epochs):
    """Train by skorch with its default loader and callbacks; X: uint8 of shape (n, C, H, W)."""
    module, optimizer = deepcopy(start)
    schedule = LRScheduler(OneCycleLR, step_every="batch", **one_cycle(len(X), vae, n_epochs))
    net = LossNet(
        Autoencoder(module, vae.n_components),
        torch.nn.Identity,
        optimizer=lambda *args, **kwargs: optimizer,
        max_epochs=n_epochs,
        batch_size=vae.batch_size,
        iterator_train__shuffle=True,
        train_split=None,  # its default would set a fifth of the images aside: other work
        callbacks=[("schedule", schedule)],
        device=next(module.parameters()).device,
        verbose=0,
    )
    net.fit(X, None)
    return module


@torch.inference_mode()
def held_out_loss(module, pixels, n_components):
    """Mean -ELBO in nats of uint8 images, with the same noise for every network."""
    noise = torch.randn(len(pixels), n_components, generator=torch.Generator().manual_seed(0))
    noise = noise.to(pixels.device)
    parts = zip(pixels.split(1000), noise.split(1000), strict=True)
    sums = [len(x) * negative_elbo(module, x.float() / 255, z).item() for x, z in parts]
    return sum(sums) / len(pixels)
