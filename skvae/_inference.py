"""A network with weights, and its passes over many rows (NumPy, torch)."""

import math

import numpy as np
import torch

from . import _elbo
from ._batches import DRAWS, WEIGHTS, checksum, generator_for
from ._elbo import (
    LIKELIHOODS,
    MIN_NOISE_VARIANCE,
    elbo_terms,
    kl_divergence,
    natural_parameter,
)
from ._network import ConvVAE, initialize_weights, reparametrize

# Rows in every pass. A constant, with the last pass filled up: matrix products choose their
# order of summation by the size, so that rows which came in calls of other sizes would differ
# in the last bits.
CHUNK = 128


def resolve_device(device):
    """The torch device string to compute on.

    Parameters
    ----------
    device : str
        ``"auto"`` (CUDA, else MPS, else CPU) or a torch device string.

    Returns
    -------
    device : str

    Raises
    ------
    ValueError
        If torch does not know the device, or this machine does not have it.
    """
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if device == "auto":
        return available[0]
    try:
        kind = torch.device(device).type
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # an AssertionError: torch was built without CUDA
        kind = None
    if kind not in available:
        raise ValueError(
            f"device={device!r} is not available. Available here: {', '.join(available)}; "
            "device='auto' takes the first of these."
        )
    return device


def build_module(architecture, likelihood, device):
    """A network whose weights are not set yet.

    Parameters
    ----------
    architecture : dict
        The parameters of `ConvVAE`, but for `learns_noise`.

    likelihood : str

    device : str

    Returns
    -------
    module : ConvVAE
    """
    # On the meta device, layers are made without drawing from the global generator.
    with torch.device("meta"):
        module = ConvVAE(**architecture, learns_noise=LIKELIHOODS[likelihood].learns_noise)
    return module.to_empty(device=device).to(memory_format=torch.channels_last)


def draw_weights(module, dataset, likelihood, seed):
    """Set the weights of `module` from `seed`; its logits start at the mean pixel.

    Parameters
    ----------
    module : ConvVAE

    dataset : ImageDataset

    likelihood : str

    seed : int
    """
    sample = dataset.thinned()
    # Mean and mean square of each channel.
    moments = torch.zeros(2, module.image_shape[0], dtype=torch.float64)
    for part in _chunks(len(sample)):
        x = sample[part].double()
        moments += torch.stack([x, x.square()]).mean((3, 4)).sum(1) / len(sample)
    mean, mean_square = moments
    # Within bounds: a channel that is always dark or light would give an infinite bias, and
    # images that are all the same an infinite log.
    bias = natural_parameter(likelihood, mean.clamp(1e-3, 1 - 1e-3))
    variance = (mean_square - mean.square()).mean().clamp_min(MIN_NOISE_VARIANCE)
    initialize_weights(module, generator_for(seed, WEIGHTS), bias, variance.log())


def encode(module, dataset):
    """Posterior of each image.

    Parameters
    ----------
    module : ConvVAE

    dataset : ImageDataset

    Returns
    -------
    mu, logvar : ndarray of shape (n, K), float32
    """

    def posterior(x):
        return [part.cpu().numpy() for part in module.encode(x)]

    return _map_chunks(module, posterior, dataset)


def component_statistics(module, dataset):
    """What each component tells about (at most 2,048 of) the images.

    Parameters
    ----------
    module : ConvVAE

    dataset : ImageDataset

    Returns
    -------
    kl : ndarray of shape (K,), float64
        Mean KL(q(z_k|x) || N(0, 1)), in nats.

    variance : ndarray of shape (K,), float64
        Variance of mu over the images.
    """
    mu, logvar = map(torch.from_numpy, encode(module, dataset.thinned()))
    kl = kl_divergence(mu, logvar).double().mean(0)
    return kl.numpy(), mu.double().var(0, correction=0).numpy()


def decode(module, z, likelihood, image_format):
    """Mean of p(x|z), in the units and the layout of X.

    Parameters
    ----------
    module : ConvVAE

    z : ndarray of shape (n, K)

    likelihood : str

    image_format : ImageFormat

    Returns
    -------
    X : ndarray of shape (n, n_features) or (n, *shape), float32
    """

    def mean_image(z):
        mean = LIKELIHOODS[likelihood].mean(module.decode(z))
        return [image_format.from_unit(mean.cpu().numpy())]

    latents = torch.from_numpy(np.array(z, dtype=np.float32))
    return _map_chunks(module, mean_image, latents)[0]


def elbo(module, dataset, likelihood, noise):
    """log p(x|z) - KL(q(z|x) || N(0, I)) of each image, for one draw z ~ q(z|x).

    Parameters
    ----------
    module : ConvVAE

    dataset : ImageDataset

    likelihood : str

    noise : PixelNoise

    Returns
    -------
    elbo : ndarray of shape (n,), float64
        In nats.
    """

    def bound(x):
        output = module(x, noise(x.cpu()).to(x.device))
        log_p, kl = elbo_terms(
            likelihood,
            x,
            *output,
            log_jacobian=dataset.image_format.log_jacobian,
            dtype=_precision(x.device),
        )
        return [(log_p - kl).cpu().numpy()]

    return _map_chunks(module, bound, dataset)[0].astype(np.float64)


@torch.inference_mode()
def log_likelihood(module, dataset, likelihood, n_draws, seed):
    """Importance-weighted estimate of log p(x) of each image; Burda et al. (2016), eq. 8.

    Parameters
    ----------
    module : ConvVAE

    dataset : ImageDataset

    likelihood : str

    n_draws : int
        Draws z ~ q(z|x) for each image.

    seed : int
        With the pixels of an image, makes its draws.

    Returns
    -------
    log_likelihood : ndarray of shape (n,), float64
        In nats.
    """
    device = next(module.parameters()).device
    result = np.empty(len(dataset))
    for i, posterior in enumerate(zip(*encode(module, dataset), strict=True)):
        mu, logvar = (torch.from_numpy(part)[None].to(device) for part in posterior)
        x = dataset[i : i + 1]
        generator = generator_for(seed, DRAWS, checksum(x.numpy()))
        x, log_weights = x.to(device), []
        # Always whole chunks, so that more draws begin with the same ones.
        for _ in range(0, n_draws, CHUNK):
            noise = torch.randn(CHUNK, mu.shape[1], generator=generator).to(device)
            z = reparametrize(mu, logvar, noise)
            logits = module.decode(z)
            log_p = _elbo.log_likelihood(
                likelihood,
                logits,
                x.expand_as(logits),
                noise_logvar=module.noise_logvar,
                log_jacobian=dataset.image_format.log_jacobian,
                dtype=_precision(device),
            )
            log_weights.append(_elbo.log_weights(log_p, z, noise, logvar))
        log_weights = torch.cat(log_weights)[:n_draws]
        result[i] = torch.logsumexp(log_weights, 0).item() - math.log(n_draws)
    return result


def _precision(device):
    """Precision of sums over pixels; Apple's GPUs know no float64."""
    return None if device.type == "mps" else torch.float64


@torch.inference_mode()
def _map_chunks(module, function, blocks):
    """Arrays that `function` makes of all of `blocks`, by passes of exactly CHUNK rows."""
    n, device = len(blocks), next(module.parameters()).device
    results = None
    for part in _chunks(n):
        block = blocks[part]
        n_rows = len(block)
        if n_rows < CHUNK:
            block = torch.cat([block, block.new_zeros(CHUNK - n_rows, *block.shape[1:])])
        outputs = [output[:n_rows] for output in function(block.to(device))]
        if results is None:
            results = [np.empty((n, *out.shape[1:]), out.dtype) for out in outputs]
        for result, output in zip(results, outputs, strict=True):
            result[part] = output
    return results


def _chunks(n):
    """Slices of CHUNK positions, the last one perhaps of fewer."""
    return [slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]
