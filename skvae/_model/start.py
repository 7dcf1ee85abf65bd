"""The first weights of a network: from a seed and from the images (torch, scikit-learn)."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from .._compat import cpu_by_default
from .latents import kl_divergence, reparametrize
from .likelihoods import MIN_NOISE_VARIANCE
from .linear import LinearNetwork
from .noise import WEIGHTS, generator_for, normal_draws
from .passes import encode, squared_error
from .weights import draw_weights, set_pixel_units

# Largest sample for principal components: number of images, and of numbers in all of them.
MAX_IMAGES, MAX_NUMBERS = 10_000, 2**25

# Probabilistic PCA of images with holes: steps of EM, about how many products a step takes at most,
# and the share of the observed numbers that tell which step is the best.
N_EM_STEPS, MAX_EM_NUMBERS, EM_HELD_OUT = 20, 2**31, 0.1

# Steps and first rate of Adam for a linear decoder of pixels that are not normal.
N_START_STEPS, START_RATE = 400, 0.05


def set_first_weights(module, dataset, valid, seed):
    """Set the weights of a network before its training on a dataset.

    The layers are drawn from the seed. A network with a linear path starts at probabilistic PCA,
    with a decoder that suits the family. Another one starts at the mean pixel of each channel. The
    priors of classes start at the mean latents of labelled images. The noise variance is measured
    on `valid`, the images set aside; None: on the dataset.
    """
    generator = generator_for(seed, WEIGHTS)
    draw_weights(module, generator)
    mean, std = pixel_statistics(dataset)
    set_pixel_units(module, mean, std)
    if module.linear is None:
        # Clamped: a channel that is always dark or light would give an infinite bias.
        of_channels = mean.double().mean((1, 2)).clamp(1e-3, 1 - 1e-3)
        module.start_at_logits(module.likelihood.natural_parameter(of_channels))
    else:
        network = linear_network(*principal_components(module, dataset, seed))
        if not module.likelihood.normal:
            rows, _ = coarse_rows(module, dataset)
            network = fit_linear_decoder(network, rows, module.likelihood, generator)
        module.start_at(network)
    if module.prior.n_classes:
        module.prior.start_at(class_means(module, dataset))
    if module.likelihood.normal:
        sample = dataset.subsample() if valid is None else valid
        module.likelihood.set_variance(squared_error(module, sample, seed))


def coarse_rows(module, dataset):
    """At most 10,000 of the images, or fewer if they are large, as the linear path sees them.

    Rows of shape (n, D), where missing pixels have the mean pixel; and booleans of this shape where
    all pixels are missing, or None if nothing can be missing.
    """
    linear = module.linear
    most = max(2, min(MAX_IMAGES, MAX_NUMBERS // math.prod(linear.coarse_shape)))
    sample = dataset.thinned(most)
    parts = (sample[part] for part in sample.passes())
    if not module.holes:
        return np.concatenate([linear.coarse(x).numpy() for x in parts]), None
    rows, holes, mean = [], [], module.mean_image.cpu()
    for x in parts:
        missing = x.isnan()
        rows.append(linear.coarse(torch.where(missing, mean, x)).numpy())
        holes.append(linear.coarse(missing.float()).numpy() == 1)
    return np.concatenate(rows), np.concatenate(holes)


def pixel_statistics(dataset):
    """Mean of each observed pixel, and standard deviation around it of those of each channel.

    Of shape (C, H, W) and (C, 1, 1), over at most 2,048 of the images. A pixel that was never
    observed has the mean of its channel.
    """
    sample = dataset.subsample()
    total = square = count = 0.0
    for x in (sample[part].double() for part in sample.passes()):
        total, square = total + x.nansum(0), square + x.square().nansum(0)
        count = count + (~x.isnan()).sum(0)

    def of_channels(sums):
        return sums.sum((1, 2), keepdim=True) / count.sum((1, 2), keepdim=True).clamp_min(1)

    mean = torch.where(count > 0, total / count.clamp_min(1), of_channels(total))
    variance = of_channels(square - mean.square() * count).clamp_min(0)
    return mean.float(), variance.sqrt().float()


def class_means(module, dataset):
    """Mean of mu of each class over at most 2,048 labelled images, or 0: (n_classes, K)."""
    means = torch.zeros(module.prior.means.shape, dtype=torch.float32, device="cpu")
    known = np.flatnonzero(dataset.y >= 0)
    if len(known) == 0:
        return means
    sample = dataset.at(known).subsample()
    mu, _ = encode(module, sample)
    for label in np.unique(sample.y):
        means[label] = torch.from_numpy(mu[sample.y == label].mean(0))
    return means


def principal_components(module, dataset, seed):
    """`probabilistic_pca` of at most 10,000 of the images, as the linear path sees them."""
    sample = dataset.thinned(MAX_IMAGES)
    n_numbers = math.prod(module.linear.coarse_shape)
    if module.holes or len(sample) <= max(2, MAX_NUMBERS // n_numbers):
        rows, holes = coarse_rows(module, dataset)
        return probabilistic_pca(rows, holes, module.n_components, seed)
    return incremental_pca(module, sample)


def incremental_pca(module, dataset):
    """`probabilistic_pca` of images without holes that are too many or too large for memory."""
    from sklearn.decomposition import IncrementalPCA  # here, because its import is slow

    n_numbers = math.prod(module.linear.coarse_shape)
    # What the images so far say beyond these axes is forgotten: some more axes make it little.
    n_axes = min(module.n_components + 10, len(dataset) - 1, n_numbers - 1)
    pca = IncrementalPCA(n_axes)
    # Blocks of at least twice as many images as axes, but small: each costs the square of its size.
    n_blocks = max(1, len(dataset) // (2 * n_axes))
    for block in np.array_split(np.arange(len(dataset)), n_blocks):
        some = dataset.at(block)
        pca.partial_fit(
            np.concatenate([module.linear.coarse(some[part]).numpy() for part in some.passes()])
        )
    n = pca.n_samples_seen_
    total = float(pca.var_.sum()) * n / max(1, n - 1)
    kept = slice(module.n_components)
    return _probabilistic(pca.mean_, pca.components_[kept], pca.explained_variance_[kept], total)


def probabilistic_pca(rows, holes, n_components, seed):
    """The maximum-likelihood solution of probabilistic PCA; Tipping & Bishop (1999).

    Mean, of shape (D,); axes along which the images vary by more than the noise, (D, q), q <= K;
    variances along them, (q,); and the mean variance along all other axes, a float. Computed by
    randomised PCA of `rows`, of shape (n, D). `holes` are booleans of this shape, or None; there,
    rows have the mean pixel, and get what it expects, given the rest of the image.
    """
    pca = _complete_pca(rows, n_components, seed)
    if holes is None or not holes.any():
        return pca
    return _maximized(pca, rows, holes, seed)


def _maximized(pca, rows, holes, seed):
    """Probabilistic PCA of what was observed, from one that took the mean in holes for certain.

    Steps of EM; Ilin & Raiko (2010), section 3. Where much is missing, the maximum of the
    likelihood fits its noise. So a share of the observed numbers is held out, and the step after
    which these are expected best counts. Of many images and components, some images only.
    """
    mean, axes, variances, noise = (np.asarray(part, np.float64) for part in pca)
    (n, n_numbers), n_axes = rows.shape, len(variances)
    step = math.ceil(n * n_numbers * (n_axes + 1) ** 2 / MAX_EM_NUMBERS)
    if n_axes == 0 or n // step < 2 * n_axes:
        return pca
    model = latest = axes * np.sqrt(variances - noise), mean, noise  # loadings: (D, q)
    sample, seen = rows[::step].astype(np.float64), ~holes[::step]
    held_out = seen & (np.random.default_rng(seed).random(seen.shape) < EM_HELD_OUT)
    seen &= ~held_out
    least = math.inf
    for _ in range(N_EM_STEPS):
        latest = _em_step(sample, seen, *latest)
        error = np.square((_expected(sample, seen, *latest) - sample)[held_out]).sum()
        if error < least:
            least, model = error, latest
    for some in np.array_split(np.arange(n), step):
        expected = _expected(rows[some], ~holes[some], *model)
        rows[some] = np.where(holes[some], expected, rows[some])
    loadings, mean, noise = model
    axes, singular, _ = np.linalg.svd(loadings, full_matrices=False)
    variances = singular**2 + noise
    total = variances.sum() + noise * max(1, n_numbers - n_axes)
    return _probabilistic(mean, axes.T, variances, total)


def _em_step(rows, seen, loadings, mean, noise):
    """Loadings of shape (D, q), mean and noise variance after one step of EM.

    The loadings are scaled so that z has the variance 1, which EM would take many steps for; Liu,
    Rubin & Wu (1998).
    """
    centred = (rows - mean) * seen
    z, covariance = _posterior(centred, seen, loadings, noise)
    scale = np.linalg.cholesky((z.T @ z + covariance.sum(0)) / len(z))
    z = np.column_stack([z, np.ones(len(z))])  # the last one is for a change of the mean
    second = z[:, :, None] * z[:, None, :]
    second[:, :-1, :-1] += covariance
    size = z.shape[1]
    # Moments over the images in which a number was observed: (D, q + 1, q + 1) and (D, q + 1).
    second = (seen.T.astype(float) @ second.reshape(len(z), -1)).reshape(-1, size, size)
    first = centred.T @ z
    # Numbers that were never observed, or hardly ever, need the small identity.
    solution = np.linalg.solve(second + 1e-3 * np.eye(size), first[:, :, None])[:, :, 0]
    error = np.square(centred).sum() - 2 * np.sum(solution * first)
    error += np.einsum("di,dij,dj", solution, second, solution)
    noise = max(error / max(1, seen.sum()), MIN_NOISE_VARIANCE)
    return solution[:, :-1] @ scale, mean + solution[:, -1], noise


def _expected(rows, seen, loadings, mean, noise):
    """What probabilistic PCA expects of rows, given the numbers that were seen: (n, D)."""
    z, _ = _posterior((rows - mean) * seen, seen, loadings, noise)
    return z @ loadings.T + mean


def _posterior(centred, seen, loadings, noise):
    """Mean of shape (n, q) and covariance of shape (n, q, q) of z, given the observed numbers."""
    n_axes = loadings.shape[1]
    squares = (loadings[:, :, None] * loadings[:, None, :]).reshape(len(loadings), -1)
    precision = (seen.astype(float) @ squares).reshape(-1, n_axes, n_axes) + noise * np.eye(n_axes)
    inverse = np.linalg.inv(precision)
    return np.einsum("nij,nj->ni", inverse, centred @ loadings), noise * inverse


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
    return _probabilistic(mean, axes, variances, total)


def _probabilistic(mean, axes, variances, total):
    """Probabilistic PCA from axes of shape (q, D), variances along them and the total variance."""
    n_rest = max(1, axes.shape[1] - len(variances))
    noise_variance = (total - variances.sum(dtype=np.float64)) / n_rest
    noise_variance = max(float(noise_variance), MIN_NOISE_VARIANCE)
    above = variances > noise_variance * (1 + 1e-6)
    parts = mean, axes[above].T, variances[above]
    tensors = [torch.from_numpy(np.ascontiguousarray(part)).float() for part in parts]
    return *tensors, noise_variance


def linear_network(mean, axes, variances, noise_variance):
    """The `LinearNetwork` that is probabilistic PCA; Tipping & Bishop (1999), section 3.

    The posterior of component k is N(axes_k^T (x - mean) sqrt(v_k - s^2) / v_k, s^2 / v_k), where
    v_k is the variance along its axis and s^2 that of the noise. The mean image is
    mean + sum_k sqrt(v_k - s^2) axes_k z_k. Arguments are as `probabilistic_pca` gives them.
    """
    gains = (variances - noise_variance).sqrt()
    encoder, decoder = (axes * (gains / variances)).T, axes * gains
    logvar = torch.log(noise_variance / variances)
    return LinearNetwork(mean, encoder, decoder, mean, logvar, noise_variance**0.5, variances)


def fit_linear_decoder(network, rows, likelihood, generator):
    """A `LinearNetwork` whose decoder and posterior variance suit pixels that are not normal.

    The encoder stays that of probabilistic PCA. A few hundred steps of Adam minimise -ELBO over
    the rest, for rows of shape (n, D) in [0, 1]. The generator gives the batches and draws of z.
    """
    mean = network.mean.clamp(1e-3, 1 - 1e-3)
    # A small step of the logits changes the pixels by the variance m (1 - m) times the step.
    decoder = network.decoder / (mean * (1 - mean) + 0.05)[:, None]
    bias = likelihood.natural_parameter(mean).float()
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
        log_p = likelihood.log_density(F.linear(z, decoder, bias), x).sum(1)
        kl = kl_divergence(mu, logvars).sum(1)
        adam.zero_grad()
        (kl - log_p).mean().backward()
        with cpu_by_default:
            adam.step()
    return network._replace(
        decoder=decoder.detach(),
        bias=bias.detach(),
        logvar=logvar.detach().clamp_max(-1e-3),
        logit_unit=1.0,
    )
