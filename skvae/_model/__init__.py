"""From a batch of images to numbers: the network, likelihoods, latents, passes over many images.

Knows no other room, no estimator and no skorch.
"""

from . import passes, start
from .convolutions import default_n_stages
from .devices import resolve_device, sum_dtype, to_device, with_gradients
from .explained_variance import ExplainedVariance
from .likelihoods import LIKELIHOODS, MIN_NOISE_VARIANCE
from .noise import (
    BINARIZE,
    CLUSTERS,
    EPOCH,
    PixelNoise,
    checksum,
    generator_for,
    normal_draws,
    uniform_draws,
)
from .passes import part_size, pass_size, slices
from .priors import class_divergences
from .weights import as_arrays, n_products, set_weights, weight_shapes
