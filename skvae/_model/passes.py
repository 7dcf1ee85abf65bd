"""What a fitted network computes for many images, pass by pass (NumPy, torch)."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from .devices import sum_dtype, to_device, without_gradients
from .explained_variance import ExplainedVariance
from .latents import kl_divergence, log_weights, reparametrize
from .noise import DRAWS, PixelNoise, checksum, generator_for, normal_draws
from .weights import blank_module

# Largest number of images in a pass through a network, and of numbers in them. A network takes
# some hundred bytes of memory for each number.
MAX_PASS_IMAGES, MAX_PASS_NUMBERS = 128, 2**22

# Smallest number of images in a pass of several.
MIN_PASS_IMAGES = 32


def slices(n, size):
    """Slices of `size` positions that cover all n; the last one may be shorter."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def pass_size(image_shape):
    """Images (C, H, W) that go through a network at once: 128, 64 or 32, or 1 if they are large.

    The order of summation depends on this number, and functions such as exp give the last numbers
    of a tensor other bits than those that fill whole registers of 32. The number depends on the
    shape alone, so an image gives the same bits in every call and at every place.
    """
    n_images = MAX_PASS_IMAGES
    while n_images >= MIN_PASS_IMAGES:
        if n_images * math.prod(image_shape) <= MAX_PASS_NUMBERS:
            return n_images
        n_images //= 2
    return 1


def part_size(image_shape):
    """Images ``(C, H, W)`` of a training step that go through a network at once."""
    return max(pass_size(image_shape), MAX_PASS_NUMBERS // math.prod(image_shape))


def build_module(architecture, likelihood, device):
    """A `ConvVAE`, of all parameters but for the likelihood, whose weights are not set yet."""
    module = blank_module(**architecture, likelihood=likelihood)
    # The format first: a copy of real weights would start the threads of torch.
    return module.to(memory_format=torch.channels_last).to_empty(device=device)


def encode(module, dataset):
    """mu and log sigma^2 of each image of a dataset: two ndarrays of shape (n, K), float32."""
    return _map_passes(module, module.encode, dataset)


def label_log_joint(module, dataset):
    """log pi_y + log p(z|y) at z = mu of each image, in nats: (n, n_classes), float32."""

    def log_joint(x):
        mu, _ = module.encode(x)
        return [module.prior.log_joint(mu)]

    return _map_passes(module, log_joint, dataset)[0]


def component_terms(module, mu, logvar):
    """KL(q(z_k|x) || N(0, 1)) in nats, mu and mu^2 of each component: (n, K) each.

    In units in which z_k has mean 0 and variance 1 under p(z).
    """
    mu, logvar = module.prior.standardize(mu, logvar)
    return kl_divergence(mu, logvar), mu, mu.square()


def component_moments(module, dataset):
    """Means of the `component_terms` over at most 2,048 of the images: (3, K), float64."""
    terms = _map_passes(
        module, lambda x: component_terms(module, *module.encode(x)), dataset.subsample()
    )
    return np.stack([term.mean(0, dtype=np.float64) for term in terms])


def squared_error(module, dataset, seed):
    """Mean squared error of pixels in [0, 1] decoded from a draw z ~ q(z|x) for each image.

    With the Gaussian family, this is the noise variance that makes the images most likely.
    """
    noise = PixelNoise(module.n_components, seed)
    return _mean_error(module, dataset, lambda x: module(x, noise(x.cpu()).to(x.device)).logits)


def reconstruction_error(module, dataset):
    """Mean squared error of observed pixels in [0, 1], decoded from the posterior mean: a float."""
    return _mean_error(
        module, dataset, lambda x: module.likelihood.mean(module.decode(module.encode(x)[0]))
    )


def _mean_error(module, dataset, mean):
    """Mean over the observed pixels of (x - mean(x))^2, a float."""
    parts = _map_passes(module, lambda x: module.likelihood.squared_errors(mean(x), x), dataset)
    error, n_observed = (part.sum(dtype=np.float64) for part in parts)
    return float(error / max(1, n_observed))


def decode(module, z, image_format):
    """E[x|z] in the units of X: (n, K) -> (n, n_features) or (n, *shape), float32."""

    def mean_image(z):
        mean = module.likelihood.mean(module.decode(z))
        return [torch.from_numpy(image_format.from_unit(mean.cpu().numpy()))]

    latents = torch.from_numpy(np.array(z, dtype=np.float32))
    return _map_passes(module, mean_image, latents)[0]


def explained_variance_ratio(module, dataset):
    """Share of the variance of the observed pixels that decoding the posterior means explains.

    A float; in the units of X, with values outside the pixel range as they are.
    """
    explained = ExplainedVariance(holes=module.holes)
    for some in dataset.passes():
        x = dataset.values(some)
        mu, _ = encode(module, dataset.at(some))
        mean = decode(module, mu, dataset.image_format).reshape(x.shape)
        explained.add(torch.from_numpy(x), torch.from_numpy(mean))
    return explained.ratio


def elbo(module, dataset, noise):
    """log p(x|z) - KL(q(z|x) || p(z)) of each image in nats, for one draw of z: (n,), float64."""

    def bound(x):
        terms = module.terms(
            x,
            noise(x.cpu()).to(x.device),
            log_jacobian=dataset.image_format.log_jacobian,
            dtype=sum_dtype(x.device),
        )
        return [terms.log_p - terms.kl]

    return _map_passes(module, bound, dataset)[0].astype(np.float64)


@without_gradients()
def marginal_log_likelihood(module, dataset, n_draws, seed):
    """Importance-weighted estimate of log p(x) in nats; Burda et al. (2016), eq. 8: (n,), float64.

    The seed and the pixels of an image determine its draws z ~ q(z|x).
    """
    result = np.empty(len(dataset))
    for i, draws in enumerate(_weighted_draws(module, dataset, n_draws, seed)):
        weights = torch.cat([weights for weights, _ in draws])  # log w of each draw
        result[i] = torch.logsumexp(weights, 0).item() - math.log(n_draws)
    return result


@without_gradients()
def impute(module, dataset, n_draws, seed, rng=None):
    """Images of which some pixels are known, decoded: in the units and the layout of X, float32.

    Without `rng` they are the weighted mean of E[x|z] over all draws z ~ q(z|x), which estimates
    E[x|observed pixels], and the seed and the pixels of an image determine its draws. Else `rng`, a
    RandomState, seeds the draws of each image, and chooses one of them, with a probability in
    proportion to its weight. Observed pixels get values, too.
    """
    mean, decoded = module.likelihood.mean, []
    if rng is not None:  # for each image: few draws may have nearly all the weight
        seed = rng.randint(2**31, size=len(dataset))
    for draws in _weighted_draws(module, dataset, n_draws, seed):
        image = weighted_mean(draws, mean) if rng is None else weighted_choice(draws, mean, rng)
        decoded.append(dataset.image_format.from_unit(image[None].cpu().numpy()))
    return np.concatenate(decoded)


def weighted_mean(draws, mean):
    """Mean of mean(logits) over draws of z, weighted by w: a tensor of shape (C, H, W).

    `draws` are pairs of log w, of shape (n,), and logits, of shape (n, C, H, W).
    """
    largest, total, image = -math.inf, 0.0, 0.0
    for weights, logits in draws:
        # Relative to the largest weight so far, so that nothing overflows.
        now = max(largest, weights.max().item())
        shares, before = torch.exp(weights - now).to(logits.dtype), math.exp(largest - now)
        image = before * image + torch.tensordot(shares, mean(logits), 1)
        total, largest = before * total + shares.sum().item(), now
    return image / total


def weighted_choice(draws, mean, rng):
    """mean(logits) for one of the draws, chosen with a probability in proportion to w: (C, H, W).

    By the Gumbel-max trick. `draws` are as for `weighted_mean`; `rng` is a RandomState.
    """
    largest, image = -math.inf, None
    for weights, logits in draws:
        # With noise of this distribution, each draw is the largest with the probability it needs.
        noisy = weights.double().cpu().numpy() + rng.gumbel(size=len(weights))
        if noisy.max() > largest:
            largest, image = noisy.max(), mean(logits[noisy.argmax()])
    return image


def _weighted_draws(module, dataset, n_draws, seed):
    """For each image an iterator over log w and logits of its draws z ~ q(z|x), in parts.

    A pass decodes all draws of several images, or a part of the draws of one. There is a seed for
    all images or for each.
    """
    seeds = np.broadcast_to(seed, len(dataset)).tolist()
    n_rows = pass_size(module.image_shape)
    n_together = max(1, n_rows // n_draws)
    mu, logvar = (torch.from_numpy(part) for part in encode(module, dataset))
    for some in slices(len(dataset), n_together):
        x = dataset[some]
        pairs = zip(x, seeds[some], strict=True)
        noise = torch.stack([_noise_of(image, n_draws, mu.shape[1], s) for image, s in pairs])
        log_jacobian = dataset.image_format.log_jacobian
        parts = _decoded_draws(module, log_jacobian, x, mu[some], logvar[some], noise)
        if len(x) == 1:
            yield parts
            continue
        ((weights, logits),) = parts
        each = zip(weights.split(n_draws), logits.split(n_draws), strict=True)
        yield from ([part] for part in each)


def _noise_of(image, n_draws, n_components, seed):
    """Draws from N(0, I) for an image: a larger `n_draws` extends the same sequence."""
    generator = generator_for(seed, DRAWS, checksum(image.numpy()))
    blocks = [
        normal_draws(MAX_PASS_IMAGES, n_components, generator)
        for _ in slices(n_draws, MAX_PASS_IMAGES)
    ]
    return torch.cat(blocks)[:n_draws]


def _decoded_draws(module, log_jacobian, x, mu, logvar, noise):
    """log w and logits of the draws of some images, one image after the other, in passes.

    `noise` has the shape (n, n_draws, K).
    """
    device, n_draws = next(module.parameters()).device, noise.shape[1]
    n_rows = pass_size(module.image_shape)
    mu, logvar = (part.repeat_interleave(n_draws, 0) for part in (mu, logvar))
    noise = noise.flatten(0, 1)
    for some in slices(len(noise), n_rows):
        n = some.stop - some.start
        images = np.arange(some.start, some.stop) // n_draws
        # Filled up, so that the bits of a draw do not depend on their number.
        padded = (
            F.pad(part[some], (0, 0, 0, n_rows - n)).to(device) for part in (mu, logvar, noise)
        )
        part_mu, part_logvar, part_noise = padded
        z = reparametrize(part_mu, part_logvar, part_noise)
        logits = module.decode(z)[:n]
        log_p = module.likelihood.log_likelihood(
            logits, x[images].to(device), log_jacobian, sum_dtype(device)
        )
        log_prior = module.prior.log_density(z[:n])
        yield log_weights(log_p, log_prior, part_noise[:n], part_logvar[:n]), logits


@without_gradients()
def _map_passes(module, function, inputs):
    """Apply `function` to `inputs` in passes of a fixed number of rows; its tensors as ndarrays.

    The last pass is filled up with zeros. The order of summation in matrix products depends on
    their size, so without this the last bits of a row would depend on the number of rows.
    """
    n, size, device = len(inputs), pass_size(module.image_shape), next(module.parameters()).device
    results = None
    for part in slices(n, size):
        block = inputs[part]
        n_rows = len(block)
        if n_rows < size:
            block = torch.cat([block, block.new_zeros(size - n_rows, *block.shape[1:])])
        outputs = function(to_device(block, device))
        outputs = [output[:n_rows].cpu().numpy() for output in outputs]
        if results is None:
            results = [np.empty((n, *out.shape[1:]), out.dtype) for out in outputs]
        for result, output in zip(results, outputs, strict=True):
            result[part] = output
    return results
