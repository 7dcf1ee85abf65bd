"""The first weights of a network: from a seed and from the images (torch, scikit-learn)."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from ._batches import WEIGHTS, generator_for, normal_draws
from ._elbo import MIN_NOISE_VARIANCE, elbo_terms, natural_parameter
from ._inference import squared_error
from ._network import draw_weights, reparametrize, start_at_linear, start_at_logits

# Largest sample for principal components: number of images, and of numbers in all of them.
MAX_IMAGES, MAX_NUMBERS = 10_000, 2**25

# Steps and first rate of Adam for a linear decoder of pixels that are not normal.
N_START_STEPS, START_RATE = 400, 0.05


def set_first_weights(module, dataset, valid, likelihood, seed):
    """Set the weights of a network before its training.

    The layers are drawn from the seed. The Gaussian family starts at probabilistic PCA. The
    other families start at the mean pixel of each channel.

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
    if module.linear is None:
        # Clamped: a channel that is always dark or light would give an infinite bias.
        mean = channel_means(dataset).clamp(1e-3, 1 - 1e-3)
        start_at_logits(module, natural_parameter(likelihood, mean))
        return
    rows = coarse_rows(module.linear, dataset)
    mean, axes, variances, noise_variance = probabilistic_pca(rows, module.n_components, seed)
    # Tipping & Bishop (1999), section 3: the posterior mean and variance, and the mean image.
    gains = (variances - noise_variance).sqrt()
    encoder, decoder = (axes * (gains / variances)).T, axes * gains
    logvar = torch.log(noise_variance / variances)
    if module.noise_logvar is not None:
        start_at_linear(module, mean, encoder, decoder, mean, logvar, noise_variance**0.5)
        error = squared_error(module, dataset.subsample() if valid is None else valid, seed)
        module.noise_logvar.fill_(math.log(max(error, MIN_NOISE_VARIANCE)))
    else:
        fitted = fit_linear_decoder(rows, mean, encoder, decoder, logvar, likelihood, generator)
        start_at_linear(module, mean, encoder, *fitted, 1.0)


def coarse_rows(linear, dataset):
    """At most 10,000 of the images, or fewer if they are large, as a linear path sees them.

    Parameters
    ----------
    linear : LinearPath

    dataset : ImageDataset

    Returns
    -------
    rows : ndarray of shape (n, D)
    """
    most = max(2, min(MAX_IMAGES, MAX_NUMBERS // math.prod(linear.coarse_shape)))
    sample = dataset.at(slice(None, None, math.ceil(len(dataset) / most)))
    return np.concatenate([linear.coarse(sample[part]).numpy() for part in sample.passes()])


def channel_means(dataset):
    """Mean pixel of each channel, over at most 2,048 of the images.

    Parameters
    ----------
    dataset : ImageDataset

    Returns
    -------
    means : tensor of shape (C,), float64
    """
    sample = dataset.subsample()
    return sum(sample[part].double().mean((2, 3)).sum(0) for part in sample.passes()) / len(sample)


def probabilistic_pca(rows, n_components, seed):
    """The maximum-likelihood solution of probabilistic PCA; Tipping & Bishop (1999).

    Computed by randomised PCA.

    Parameters
    ----------
    rows : ndarray of shape (n, D)

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
    from sklearn.decomposition import PCA  # imported here, as it makes `import skvae` slow

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


def fit_linear_decoder(rows, mean, encoder, decoder, logvar, likelihood, generator):
    """A linear decoder and the variance of the posterior, for pixels that are not normal.

    The encoder stays that of probabilistic PCA, while a few hundred steps of Adam minimise
    -ELBO over the rest.

    Parameters
    ----------
    rows : ndarray of shape (n, D)
        Pixels in [0, 1].

    mean, encoder, decoder, logvar : tensor
        Of probabilistic PCA, as for `start_at_linear`.

    likelihood : str

    generator : torch.Generator
        Of the batches and of the draws of z.

    Returns
    -------
    decoder : tensor of shape (D, q)

    bias : tensor of shape (D,)
        Logits of the mean picture.

    logvar : tensor of shape (q,)
    """
    inside = mean.clamp(1e-3, 1 - 1e-3)
    bias = natural_parameter(likelihood, inside).float()
    # To first order, a step of pixels is one of logits times the variance m (1 - m).
    decoder = decoder / (inside * (1 - inside) + 0.05)[:, None]
    learned = [decoder, bias, logvar.clamp(-4, -0.01)]
    learned = [tensor.clone().requires_grad_() for tensor in learned]
    adam = torch.optim.Adam(learned, betas=(0.9, 0.99))
    for step in range(N_START_STEPS):
        adam.param_groups[0]["lr"] = START_RATE * (1 - step / N_START_STEPS)
        picked = torch.randint(len(rows), (128,), generator=generator, device="cpu")
        x = torch.from_numpy(rows[picked.numpy()])
        decoder, bias, logvar = learned
        mu = F.linear(x - mean, encoder)
        noise = normal_draws(len(mu), mu.shape[1], generator)
        z = reparametrize(mu, logvar.expand_as(mu), noise)
        log_p, kl = elbo_terms(likelihood, x, F.linear(z, decoder, bias), mu, logvar.expand_as(mu))
        adam.zero_grad()
        (kl - log_p).mean().backward()
        adam.step()
    decoder, bias, logvar = (tensor.detach() for tensor in learned)
    return decoder, bias, logvar.clamp_max(-1e-3)
