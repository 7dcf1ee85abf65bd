"""The first weights of a network: from a seed and from the images (torch, scikit-learn)."""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ._batches import WEIGHTS, generator_for, normal_draws
from ._elbo import MIN_NOISE_VARIANCE, elbo_terms, natural_parameter
from ._inference import encode, squared_error
from ._network import (
    draw_weights,
    reparametrize,
    start_at_class_means,
    start_at_linear,
    start_at_logits,
)

# Largest sample for principal components: number of images, and of numbers in all of them.
MAX_IMAGES, MAX_NUMBERS = 10_000, 2**25

# How often probabilistic PCA fills the holes.
N_FILLINGS = 5

# Steps and first rate of Adam for a linear decoder of pixels that are not normal.
N_START_STEPS, START_RATE = 400, 0.05


def set_first_weights(module, dataset, valid, likelihood, seed):
    """Set the weights of a network before its training.

    The layers are drawn from the seed. A network with a linear path starts at probabilistic PCA,
    with a decoder that suits the family. Another one starts at the mean pixel of each channel. The
    priors of classes start at the mean latents of labelled images.

    Parameters
    ----------
    module : ConvVAE

    dataset : ImageDataset
        The images to train on.

    valid : ImageDataset or None
        Images set aside, on which the noise variance is measured. None: measured on `dataset`.

    likelihood : str

    seed : int
    """
    generator = generator_for(seed, WEIGHTS)
    draw_weights(module, generator)
    if module.holes:
        module.mean_picture.copy_(mean_picture(dataset))
    if module.linear is None:
        # Clamped: a channel that is always dark or light would give an infinite bias.
        mean = channel_means(dataset).clamp(1e-3, 1 - 1e-3)
        start_at_logits(module, natural_parameter(likelihood, mean))
    else:
        rows, holes = coarse_rows(module, dataset)
        pca = probabilistic_pca(rows, holes, module.n_components, seed)
        network = linear_network(*pca)
        if module.noise_logvar is None:
            network = fit_linear_decoder(network, rows, likelihood, generator)
        start_at_linear(module, *network)
    if module.label_decoder is not None:
        start_at_class_means(module, class_means(module, dataset))
    if module.noise_logvar is not None:
        error = squared_error(module, dataset.subsample() if valid is None else valid, seed)
        module.noise_logvar.fill_(math.log(max(error, MIN_NOISE_VARIANCE)))


def coarse_rows(module, dataset):
    """At most 10,000 of the images, or fewer if they are large, as a linear path sees them.

    Parameters
    ----------
    module : ConvVAE
        With a linear path.

    dataset : ImageDataset

    Returns
    -------
    rows : ndarray of shape (n, D)
        Missing pixels have the mean pixel.

    holes : ndarray of bool of shape (n, D), or None
        Where all pixels are missing. None: nothing can be missing.
    """
    linear = module.linear
    most = max(2, min(MAX_IMAGES, MAX_NUMBERS // math.prod(linear.coarse_shape)))
    sample = dataset.at(slice(None, None, math.ceil(len(dataset) / most)))
    parts = (sample[part] for part in sample.passes())
    if not module.holes:
        return np.concatenate([linear.coarse(x).numpy() for x in parts]), None
    rows, holes, mean = [], [], module.mean_picture.cpu()
    for x in parts:
        missing = x.isnan()
        rows.append(linear.coarse(torch.where(missing, mean, x)).numpy())
        holes.append(linear.coarse(missing.float()).numpy() == 1)
    return np.concatenate(rows), np.concatenate(holes)


def mean_picture(dataset):
    """Mean of each observed pixel, over at most 2,048 of the images.

    Parameters
    ----------
    dataset : ImageDataset

    Returns
    -------
    mean : tensor of shape (C, H, W), float32
        A pixel that was never observed has the mean of its channel.
    """
    sample = dataset.subsample()
    total, count = 0.0, 0.0
    for x in (sample[part].double() for part in sample.passes()):
        total, count = total + x.nansum(0), count + (~x.isnan()).sum(0)
    channel = total.sum((1, 2), keepdim=True) / count.sum((1, 2), keepdim=True).clamp_min(1)
    return torch.where(count > 0, total / count.clamp_min(1), channel).float()


def class_means(module, dataset):
    """Mean of mu of each class, over at most 2,048 of the labelled images.

    Parameters
    ----------
    module : ConvVAE

    dataset : ImageDataset
        With labels.

    Returns
    -------
    means : tensor of shape (n_classes, K)
        0 for a class without an image.
    """
    means = torch.zeros(module.label_decoder.means.shape, dtype=torch.float32, device="cpu")
    known = np.flatnonzero(dataset.y >= 0)
    if len(known) == 0:
        return means
    sample = dataset.at(known).subsample()
    mu, _ = encode(module, sample)
    for label in np.unique(sample.y):
        means[label] = torch.from_numpy(mu[sample.y == label].mean(0))
    return means


def channel_means(dataset):
    """Mean of the mean picture in each channel, over at most 2,048 of the images.

    Parameters
    ----------
    dataset : ImageDataset

    Returns
    -------
    means : tensor of shape (C,), float64
    """
    return mean_picture(dataset).double().mean((1, 2))


def probabilistic_pca(rows, holes, n_components, seed):
    """The maximum-likelihood solution of probabilistic PCA; Tipping & Bishop (1999).

    Computed by randomised PCA. Holes are filled by what it expects in them, given the rest of the
    image, and it is computed again, five times.

    Parameters
    ----------
    rows : ndarray of shape (n, D)
        Filled in place where there are holes.

    holes : ndarray of bool of shape (n, D), or None

    n_components : int
        K.

    seed : int

    Returns
    -------
    mean : tensor of shape (D,)

    axes : tensor of shape (D, q)
        Axes along which the images vary by more than the noise; q <= K.

    variances : tensor of shape (q,)
        Of the images along the axes.

    noise_variance : float
        Mean variance along all other axes.
    """
    pca = _complete_pca(rows, n_components, seed)
    if holes is None or not holes.any():
        return pca
    for _ in range(N_FILLINGS):
        network = linear_network(*pca)
        mu = F.linear(torch.from_numpy(rows) - network.mean, network.encoder)
        filled = F.linear(mu, network.decoder, network.bias).numpy()
        rows[holes] = filled[holes]
        pca = _complete_pca(rows, n_components, seed)
    return pca


def _complete_pca(rows, n_components, seed):
    from sklearn.decomposition import PCA  # here, because its import is slow

    n, n_numbers = rows.shape
    n_axes = min(n_components, n - 1, n_numbers - 1)
    total = float(rows.var(0, dtype=np.float64).sum()) * n / max(1, n - 1)
    mean, axes, variances = rows.mean(0), np.zeros((0, n_numbers)), np.zeros(0)
    if n_axes > 0 and total > 0:
        # QR: with array API dispatch, scikit-learn warns that LU is not available.
        pca = PCA(
            n_axes, svd_solver="randomized", power_iteration_normalizer="QR", random_state=seed
        ).fit(rows)
        mean, axes, variances = pca.mean_, pca.components_, pca.explained_variance_
    noise_variance = (total - variances.sum(dtype=np.float64)) / max(1, n_numbers - len(variances))
    noise_variance = max(float(noise_variance), MIN_NOISE_VARIANCE)
    above = variances > noise_variance * (1 + 1e-6)
    tensors = [torch.from_numpy(part).float() for part in (mean, axes[above].T, variances[above])]
    return *tensors, noise_variance


class LinearNetwork(NamedTuple):
    """An encoder and a decoder without hidden layers; see `start_at_linear`.

    Parameters
    ----------
    mean, bias : tensor of shape (D,)

    encoder : tensor of shape (q, D)

    decoder : tensor of shape (D, q)

    logvar : tensor of shape (q,)

    logit_unit : float

    variances : tensor of shape (q,)
    """

    mean: torch.Tensor
    encoder: torch.Tensor
    decoder: torch.Tensor
    bias: torch.Tensor
    logvar: torch.Tensor
    logit_unit: float
    variances: torch.Tensor


def linear_network(mean, axes, variances, noise_variance):
    """The network that is probabilistic PCA; Tipping & Bishop (1999), section 3.

    The posterior of component k is N(axes_k^T (x - mean) sqrt(v_k - s^2) / v_k, s^2 / v_k), where
    v_k is the variance along its axis and s^2 that of the noise. The mean image is
    mean + sum_k sqrt(v_k - s^2) axes_k z_k.

    Parameters
    ----------
    mean, axes, variances, noise_variance
        As `probabilistic_pca` gives them.

    Returns
    -------
    network : LinearNetwork
    """
    gains = (variances - noise_variance).sqrt()
    encoder, decoder = (axes * (gains / variances)).T, axes * gains
    logvar = torch.log(noise_variance / variances)
    return LinearNetwork(mean, encoder, decoder, mean, logvar, noise_variance**0.5, variances)


@torch.enable_grad()  # the caller may have turned gradients off
def fit_linear_decoder(network, rows, likelihood, generator):
    """A linear network whose decoder and posterior variance suit pixels that are not normal.

    The encoder stays that of probabilistic PCA. A few hundred steps of Adam minimise -ELBO over
    the rest.

    Parameters
    ----------
    network : LinearNetwork
        That of probabilistic PCA.

    rows : ndarray of shape (n, D)
        Pixels in [0, 1].

    likelihood : str

    generator : torch.Generator
        Determines the batches and the draws of z.

    Returns
    -------
    network : LinearNetwork
    """
    mean = network.mean.clamp(1e-3, 1 - 1e-3)
    # A small step of the logits changes the pixels by the variance m (1 - m) times the step.
    decoder = network.decoder / (mean * (1 - mean) + 0.05)[:, None]
    bias = natural_parameter(likelihood, mean).float()
    learned = [decoder, bias, network.logvar.clamp(-4, -0.01)]
    decoder, bias, logvar = (tensor.clone().requires_grad_() for tensor in learned)
    adam = torch.optim.Adam([decoder, bias, logvar], betas=(0.9, 0.99))
    n_steps = min(N_START_STEPS, len(rows))  # a handful of images should take no time
    for step in range(n_steps):
        adam.param_groups[0]["lr"] = START_RATE * (1 - step / n_steps)
        picked = torch.randint(len(rows), (128,), generator=generator, device="cpu")
        x = torch.from_numpy(rows[picked.numpy()])
        mu = F.linear(x - network.mean, network.encoder)
        logvars = logvar.expand_as(mu)
        z = reparametrize(mu, logvars, normal_draws(*mu.shape, generator))
        log_p, kl = elbo_terms(likelihood, x, F.linear(z, decoder, bias), mu, logvars)
        adam.zero_grad()
        (kl - log_p).mean().backward()
        adam.step()
    return network._replace(
        decoder=decoder.detach(),
        bias=bias.detach(),
        logvar=logvar.detach().clamp_max(-1e-3),
        logit_unit=1.0,
    )
