"""From a batch of images to numbers: the network, likelihoods, latents, passes over many images.

Knows no other room, no estimator and no skorch.
"""

from . import passes, start
from .convolutions import default_hidden_channels
from .devices import Device, resolve_device, sum_dtype, to_device, with_gradients
from .explained_variance import ExplainedVariance
from .latents import kl_divergence
from .likelihoods import LIKELIHOODS, MIN_NOISE_VARIANCE
from .noise import BINARIZE, EPOCH, PixelNoise, checksum, generator_for, normal_draws, uniform_draws
from .passes import part_size, pass_size, slices
from .priors import class_divergences
from .weights import (
    as_arrays,
    as_tensors,
    n_products,
    set_weights,
    weight_shapes,
)

__all__ = [
    "BINARIZE",
    "EPOCH",
    "LIKELIHOODS",
    "MIN_NOISE_VARIANCE",
    "Device",
    "ExplainedVariance",
    "PixelNoise",
    "as_arrays",
    "as_tensors",
    "checksum",
    "class_divergences",
    "default_hidden_channels",
    "generator_for",
    "kl_divergence",
    "n_products",
    "normal_draws",
    "part_size",
    "pass_size",
    "passes",
    "resolve_device",
    "set_weights",
    "slices",
    "start",
    "sum_dtype",
    "to_device",
    "uniform_draws",
    "weight_shapes",
    "with_gradients",
]
