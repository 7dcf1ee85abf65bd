"""The first weights of a network: from a seed and from the images (torch, scikit-learn)."""

import math

import numpy as np
import torch

from ._batches import WEIGHTS, generator_for
from ._elbo import LIKELIHOODS, MIN_NOISE_VARIANCE, natural_parameter
from ._inference import squared_error
from ._network import draw_weights, start_at_linear, start_at_logits

# Largest sample for principal components: number of images, and of numbers in all of them.
MAX_IMAGES, MAX_NUMBERS = 10_000, 2**25


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
    draw_weights(module, generator_for(seed, WEIGHTS))
    if LIKELIHOODS[likelihood].linear:
        start_at_linear(module, *probabilistic_pca(module, dataset, seed))
        error = squared_error(module, dataset.subsample() if valid is None else valid, seed)
        module.noise_logvar.fill_(math.log(max(error, MIN_NOISE_VARIANCE)))
    else:
        # Clamped: a channel that is always dark or light would give an infinite bias.
        mean = channel_means(dataset).clamp(1e-3, 1 - 1e-3)
        start_at_logits(module, natural_parameter(likelihood, mean))


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


def probabilistic_pca(module, dataset, seed):
    """The maximum-likelihood solution of probabilistic PCA; Tipping & Bishop (1999).

    Computed by randomised PCA of at most 10,000 images, or fewer if they are large.

    Parameters
    ----------
    module : ConvVAE
        Its linear path gives the resolution: large pictures are averaged over blocks.

    dataset : ImageDataset

    seed : int

    Returns
    -------
    mean : tensor of shape (D,)

    axes : tensor of shape (D, q)
        Orthonormal. Those along which the images vary by more than the noise: q <= K.

    variances : tensor of shape (q,)
        Of the images along each axis.

    noise_variance : float
        Mean variance along all other axes.
    """
    from sklearn.decomposition import PCA  # here, because its import is slow

    n_numbers = math.prod(module.linear.coarse_shape)
    max_images = max(2, min(MAX_IMAGES, MAX_NUMBERS // n_numbers))
    sample = dataset.at(slice(None, None, math.ceil(len(dataset) / max_images)))
    rows = np.concatenate([module.linear.coarse(sample[part]).numpy() for part in sample.passes()])
    n_axes = min(module.n_components, len(rows) - 1, n_numbers - 1)
    total = float(rows.var(0, dtype=np.float64).sum()) * len(rows) / max(1, len(rows) - 1)
    mean, axes, variances = rows.mean(0), np.zeros((0, n_numbers)), np.zeros(0)
    if n_axes > 0 and total > 0:
        # QR: with array API dispatch, scikit-learn has no LU factorisation.
        pca = PCA(
            n_axes, svd_solver="randomized", power_iteration_normalizer="QR", random_state=seed
        ).fit(rows)
        mean, axes, variances = pca.mean_, pca.components_, pca.explained_variance_
    noise_variance = (total - variances.sum(dtype=np.float64)) / max(1, n_numbers - len(variances))
    noise_variance = max(float(noise_variance), MIN_NOISE_VARIANCE)
    above = variances > noise_variance * (1 + 1e-6)
    tensors = [torch.from_numpy(part).float() for part in (mean, axes[above].T, variances[above])]
    return *tensors, noise_variance
