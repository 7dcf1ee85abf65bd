"""From a batch of images to numbers: the network, likelihoods, latents, passes over many images.

Knows no other room, no estimator and no skorch.
"""

from . import passes, start
from .convolutions import default_hidden_channels
from .devices import Device, resolve_device, sum_dtype, to_device, with_gradients
from .explained_variance import ExplainedVariance
from .latents import elbo_terms, kl_divergence, label_losses, undecided_losses
from .likelihoods import (
    LIKELIHOODS,
    MIN_NOISE_VARIANCE,
    cautious_noise,
    image_jacobian,
    noise_variance,
    normal_log_density,
    squared_errors,
)
from .noise import BINARIZE, EPOCH, PixelNoise, checksum, generator_for, normal_draws, uniform_draws
from .passes import part_size, pass_size, slices
from .weights import (
    as_arrays,
    as_tensors,
    n_products,
    reorder_components,
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
    "cautious_noise",
    "checksum",
    "default_hidden_channels",
    "elbo_terms",
    "generator_for",
    "image_jacobian",
    "kl_divergence",
    "label_losses",
    "n_products",
    "noise_variance",
    "normal_draws",
    "normal_log_density",
    "part_size",
    "pass_size",
    "passes",
    "reorder_components",
    "resolve_device",
    "set_weights",
    "slices",
    "squared_errors",
    "start",
    "sum_dtype",
    "to_device",
    "undecided_losses",
    "uniform_draws",
    "weight_shapes",
    "with_gradients",
]
