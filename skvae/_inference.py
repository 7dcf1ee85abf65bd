"""A network with weights, and its passes over many rows (NumPy, torch)."""

import numpy as np
import torch

from ._batches import WEIGHTS, generator_for
from ._elbo import LIKELIHOODS, elbo_terms, kl_divergence
from ._network import ConvVAE, initialize_weights

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


def build_module(architecture, device):
    """A network whose weights are not set yet.

    Parameters
    ----------
    architecture : dict
        The parameters of `ConvVAE`.

    device : str

    Returns
    -------
    module : ConvVAE
    """
    # On the meta device, layers are made without drawing from the global generator.
    with torch.device("meta"):
        module = ConvVAE(**architecture)
    return module.to_empty(device=device).to(memory_format=torch.channels_last)


def draw_weights(module, dataset, seed):
    """Set the weights of `module` from `seed`, the output bias from the mean pixel.

    Parameters
    ----------
    module : ConvVAE

    dataset : ImageDataset

    seed : int
    """
    sample = dataset.thinned()
    sums = sum(
        sample[part].mean((2, 3)).sum(0, dtype=torch.float64) for part in _chunks(len(sample))
    )
    initialize_weights(module, generator_for(seed, WEIGHTS), (sums / len(sample)).tolist())


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


def mean_kl_per_component(module, dataset):
    """Mean KL(q(z_k|x) || N(0, 1)) over at most 2,048 of the images.

    Parameters
    ----------
    module : ConvVAE

    dataset : ImageDataset

    Returns
    -------
    kl : ndarray of shape (K,), float64
        In nats.
    """
    mu, logvar = map(torch.from_numpy, encode(module, dataset.thinned()))
    return kl_divergence(mu, logvar).double().mean(0).numpy()


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
        # Apple's GPUs know no float64.
        dtype = None if x.device.type == "mps" else torch.float64
        output = module(x, noise(x.cpu()).to(x.device))
        log_likelihood, kl = elbo_terms(likelihood, x, *output, dtype=dtype)
        return [(log_likelihood - kl).cpu().numpy()]

    return _map_chunks(module, bound, dataset)[0].astype(np.float64)


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
