"""The first weights of a network: from a seed and from the images (torch)."""

import torch

from ._batches import WEIGHTS, generator_for
from ._elbo import MIN_NOISE_VARIANCE, natural_parameter
from ._network import initialize_weights


def draw_weights(module, dataset, likelihood, seed):
    """Set the weights of `module` from `seed`; its logits start at the mean pixel.

    Parameters
    ----------
    module : ConvVAE

    dataset : ImageDataset

    likelihood : str

    seed : int
    """
    sample = dataset.subsample()
    # Mean and mean square of each channel.
    moments = torch.zeros(2, module.image_shape[0], dtype=torch.float64, device="cpu")
    for part in sample.passes():
        x = sample[part].double()
        moments += torch.stack([x, x.square()]).mean((3, 4)).sum(1) / len(sample)
    mean, mean_square = moments
    # Within bounds: a channel that is always dark or light would give an infinite bias, and
    # images that are all the same an infinite log.
    bias = natural_parameter(likelihood, mean.clamp(1e-3, 1 - 1e-3))
    variance = (mean_square - mean.square()).mean().clamp_min(MIN_NOISE_VARIANCE)
    initialize_weights(module, generator_for(seed, WEIGHTS), bias, variance.log())
