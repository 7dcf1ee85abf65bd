"""Passes over many rows: exact independence of rows, and the ELBO below the evidence."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import SMALL, all_start_steps, fit
from nets import (
    ConvVAE,
    ImageDataset,
    ImageFormat,
    PixelNoise,
    dataset_of,
    draw_weights,
    linear_network,
    network,
    passes,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA

from skvae import ConvVAETransformer
from skvae._model.passes import (
    MAX_PASS_IMAGES,
    component_moments,
    elbo,
    impute,
    label_log_joint,
    marginal_log_likelihood,
    squared_error,
    weighted_choice,
    weighted_mean,
)


@pytest.fixture(scope="module")
def many(digits):
    """More than two chunks of images, all different."""
    rng = np.random.default_rng(0)
    return np.clip(digits[0][:300] + rng.uniform(0, 1, (300, 8, 8)), 0, 16)


@pytest.mark.parametrize("method", ["transform", "reconstruct", "score_samples"])
@pytest.mark.parametrize(
    "n", [1, 5, MAX_PASS_IMAGES, MAX_PASS_IMAGES + 1, 2 * MAX_PASS_IMAGES + 40]
)
def test_a_row_does_not_depend_on_the_others(small, many, method, n):
    function = getattr(small, method)
    together = function(many)
    assert_array_equal(function(many[:n]), together[:n])
    order = np.random.default_rng(n).permutation(len(many))
    assert_array_equal(function(many[order]), together[order])


def test_reconstruction_of_a_row_does_not_depend_on_the_others(small, many):
    z = small.transform(many)
    together = small.inverse_transform(z)
    assert_array_equal(small.inverse_transform(z[200:201]), together[200:201])


def test_transform_is_the_mean_of_the_posterior(small, many):
    x = torch.from_numpy(many[:MAX_PASS_IMAGES] / 16).float()[:, None]
    with torch.no_grad():
        mu, logvar = small.module_.encode(x)
    mean, std = small.posterior(many[:MAX_PASS_IMAGES])
    np.testing.assert_allclose(
        small.transform(many[:MAX_PASS_IMAGES]), mu.numpy(), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(mean, mu.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(std, torch.exp(logvar / 2).numpy(), rtol=1e-5)


def test_kl_per_component_is_that_of_the_training_images(digits):
    images = digits[0][:100]
    vae = ConvVAETransformer(
        2,
        hidden_channels=(8,),
        hidden_units=16,
        max_iter=5,
        likelihood="bernoulli",
        early_stopping=False,
        random_state=0,
    ).fit(images)
    mean, std = map(torch.from_numpy, vae.posterior(images))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, std), normal(0.0, 1.0)).mean(0)
    assert_allclose(vae.kl_per_component_, expected.numpy(), rtol=1e-4, atol=1e-6)


def test_components_are_sorted_by_what_they_tell(digits):
    images = digits[0]
    params = {"n_components": 8, "hidden_channels": (16,), "hidden_units": 64}
    params |= {"max_iter": 60, "pixel_range": (0, 16), "random_state": 0}
    vae = ConvVAETransformer(**params).fit(images)
    assert (np.diff(vae.kl_per_component_) <= 0).all()
    mu = vae.transform(images)
    active = (mu.var(0) > 0.01).sum()
    assert vae.n_active_components_ == active
    assert active >= 2
    # Without the first two, reconstructions are worse than without the last two.
    errors = []
    for silent in (slice(0, 2), slice(-2, None)):
        z = mu.copy()
        z[:, silent] = 0
        errors.append(np.mean((vae.inverse_transform(z) - images) ** 2))
    assert errors[0] > errors[1]


@pytest.fixture(scope="module")
def line():
    """A model with one component, and 300 images of 4 x 4 with a bar at one of four places."""
    rng = np.random.default_rng(0)
    images = np.zeros((300, 4, 4))
    images[np.arange(300), rng.integers(4, size=300)] = 1
    images = np.abs(images - (rng.uniform(size=images.shape) < 0.1))
    vae = ConvVAETransformer(
        n_components=1, hidden_channels=(16,), hidden_units=32, max_iter=60, random_state=0
    )
    with all_start_steps():
        return vae.fit(images), images


def quadrature(vae, images):
    """Grid over the one latent variable, and log p(x|z) of binary images on it."""
    z = np.linspace(-8, 8, 4001)
    p = vae.inverse_transform(z[:, None]).reshape(len(z), -1).astype(np.float64)
    p = np.clip(p, 1e-12, 1 - 1e-12)
    x = images.reshape(len(images), -1)
    return z, x @ np.log(p).T + (1 - x) @ np.log1p(-p).T


def test_elbo_is_below_the_evidence_and_near_it(line):
    vae, images = line
    z, log_lik = quadrature(vae, images)
    log_joint = log_lik - z**2 / 2 - np.log(2 * np.pi) / 2
    evidence = (np.logaddexp.reduce(log_joint, axis=1) + np.log(z[1] - z[0])).mean()
    # One draw for each of 300 images: the mean is known to about 0.1 nats.
    assert evidence - 1.0 < vae.score(images) < evidence + 0.2


def test_elbo_is_an_unbiased_estimate(line):
    # E_q log p(x|z) - KL, the first by quadrature and the second in closed form.
    vae, images = line
    mean, std = (part.astype(np.float64) for part in vae.posterior(images))
    z, log_lik = quadrature(vae, images)
    q = np.exp(-(((z - mean) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi))
    kl = 0.5 * (mean**2 + std**2 - 1 - 2 * np.log(std))[:, 0]
    exact = (q * log_lik).sum(1) * (z[1] - z[0]) - kl
    errors = vae.score_samples(images) - exact
    assert abs(errors.mean()) < 4 * errors.std() / np.sqrt(len(images))


def test_log_likelihood_nears_the_evidence_as_draws_grow(line):
    vae, images = line
    z, log_lik = quadrature(vae, images)
    log_joint = log_lik - z**2 / 2 - np.log(2 * np.pi) / 2
    evidence = np.logaddexp.reduce(log_joint, axis=1) + np.log(z[1] - z[0])
    few, many = (vae.log_likelihood(images, n) for n in (5, 5_000))
    # Where the posterior of an image has two humps, of which q knows one, few weights count.
    assert np.quantile(np.abs(many - evidence), 0.95) < 0.1
    assert abs((many - evidence).mean()) < 0.01
    # In expectation, five draws are below the evidence: within the error of a mean over images.
    error = (few - many).std() / np.sqrt(len(images))
    assert vae.score(images) < few.mean() < many.mean() + 3 * error


@pytest.mark.parametrize("binarize", [False, True])
def test_log_likelihood_of_a_row_does_not_depend_on_the_others(digits, binarize):
    images = digits[0][:150]
    vae = ConvVAETransformer(**SMALL, max_iter=2, pixel_range=(0, 16), binarize=binarize)
    vae.fit(images)
    together = vae.log_likelihood(images, 3)
    assert together.shape == (150,)
    assert together.dtype == np.float64
    order = np.random.default_rng(0).permutation(150)
    assert_array_equal(vae.log_likelihood(images[order], 3), together[order])
    assert_array_equal(vae.log_likelihood(images[7:8], 3), together[7:8])


def test_many_draws_begin_with_the_few(small, digits):
    # So that the estimates of one image by more draws are means that go on.
    images, n = digits[0][:4], 2 * MAX_PASS_IMAGES + 9
    means = [np.exp(small.log_likelihood(images, m) + 25) for m in (n, n - 1)]
    last = n * means[0] - (n - 1) * means[1]
    assert (last > 0).all()
    assert len(set(last)) == 4


def test_memory_does_not_grow_with_the_draws(small, digits, monkeypatch):
    rows, decode = [], type(small.module_).decode

    def counted(module, z):
        rows.append(len(z))
        return decode(module, z)

    monkeypatch.setattr(type(small.module_), "decode", counted)
    small.log_likelihood(digits[0][:2], 5_000)
    assert rows == [MAX_PASS_IMAGES] * (2 * 40)


@pytest.mark.parametrize("n_draws", [0, -1, 2.5, None, "many"])
def test_bad_number_of_draws(small, digits, n_draws):
    with pytest.raises(
        ValueError, match=f"n_draws must be a whole number above 0. Got {n_draws!r}"
    ):
        small.log_likelihood(digits[0][:2], n_draws)


class ProbabilisticPCA(ConvVAE):
    """A linear decoder with Gaussian noise, and its exact posterior; Tipping & Bishop (1999)."""

    def __init__(self, pca, image_shape):
        super().__init__((1, *image_shape), 2, (1,), 1, likelihood="gaussian")
        noise = pca.noise_variance_
        weights = pca.components_ * np.sqrt(pca.explained_variance_ - noise)[:, None]  # (K, D)
        self.likelihood.noise_logvar = torch.tensor(np.log(noise))
        self.weights, self.mean = torch.tensor(weights), torch.tensor(pca.mean_)
        # The principal axes are orthogonal: the components of the posterior are independent.
        self.precision = (self.weights**2).sum(1) / noise + 1
        self.noise = noise

    def encode(self, x):
        mu = (x.flatten(1).double() - self.mean) @ self.weights.T / self.noise / self.precision
        return mu, -torch.log(self.precision).expand_as(mu)

    def decode(self, z):
        return (z.double() @ self.weights + self.mean).reshape(-1, *self.image_shape)


@pytest.fixture(scope="module")
def linear():
    """Images of 3 x 4 pixels, in units from -40 to 90, of two factors and noise."""
    rng = np.random.default_rng(0)
    factors, loadings = rng.standard_normal((3_000, 2)), rng.standard_normal((2, 12))
    return 25 + 7 * (factors @ loadings) + 3 * rng.standard_normal((3_000, 12))


def test_linear_model_has_the_evidence_of_probabilistic_pca(linear):
    images = linear[:1_000]
    low, high = images.min(), images.max()
    unit = (images - low) / (high - low)
    module = ProbabilisticPCA(PCA(2).fit(unit), (3, 4))
    expected = PCA(2).fit(images).score_samples(images)  # in the units of images
    image_format = ImageFormat((3, 4), -1, (low, high), True, bounded=False)
    dataset = ImageDataset(images, image_format)
    # With the exact posterior every importance weight is p(x), with any number of draws.
    for n_draws in (1, 3):
        estimate = marginal_log_likelihood(module, dataset, n_draws, seed=0)
        assert_allclose(estimate, expected, atol=1e-3)
    bound = elbo(module, dataset, PixelNoise(2, seed=0))
    errors = bound - expected
    assert abs(errors.mean()) < 4 * errors.std() / np.sqrt(len(errors))


def test_trained_gaussian_is_below_the_evidence_and_near_it(linear):
    train, test = linear[:2_500], linear[2_500:]
    vae = ConvVAETransformer(
        2,
        image_shape=(3, 4),
        likelihood="gaussian",
        hidden_channels=(16,),
        hidden_units=64,
        max_iter=60,
        random_state=0,
    ).fit(train)
    pca = PCA(2).fit(train)
    evidence = pca.score(test)
    # In the units of the images. A network with more freedom than PCA could be above it by chance:
    # by some standard errors of the mean of 500 differences.
    assert evidence - 0.5 < vae.score(test) < evidence + 0.05
    assert evidence - 0.5 < vae.log_likelihood(test).mean() < evidence + 0.1
    assert_allclose(vae.noise_variance_, pca.noise_variance_, rtol=0.1)


@pytest.mark.parametrize("likelihood", ["continuous_bernoulli", "gaussian"])
def test_densities_are_in_the_units_of_the_images(digits, likelihood):
    images = digits[0][:200].astype(np.float64)
    params = {**SMALL, "likelihood": likelihood, "max_iter": 3}
    vae = ConvVAETransformer(**params).fit(images)
    other = ConvVAETransformer(**params).fit(images * 1_000 - 77)
    shift = 64 * np.log(1_000)
    assert_allclose(
        other.score_samples(images * 1_000 - 77), vae.score_samples(images) - shift, rtol=1e-3
    )
    assert_allclose(other.loss_curve_, np.array(vae.loss_curve_) + shift, rtol=1e-3)
    assert_allclose(
        other.log_likelihood(images[:20] * 1_000 - 77),
        vae.log_likelihood(images[:20]) - shift,
        rtol=1e-3,
    )


def test_bernoulli_is_a_probability_in_any_units(digits):
    images = digits[0][:200].astype(np.float64)
    vae, other = (
        ConvVAETransformer(**SMALL, max_iter=2).fit(images * scale) for scale in (1, 1_000)
    )
    assert_allclose(other.score_samples(images * 1_000), vae.score_samples(images), rtol=1e-4)


def test_noise_variance_is_there_for_the_gaussian_alone(small, digits):
    assert not hasattr(small, "noise_variance_")
    vae = ConvVAETransformer(**{**SMALL, "likelihood": "gaussian"}, max_iter=5, pixel_range=(0, 16))
    vae.fit(digits[0])
    residuals = digits[0] - vae.inverse_transform(vae.transform(digits[0]))
    # Early in training the two are of the same order.
    assert 0.5 < vae.noise_variance_ / residuals.var() < 2


def test_scores_of_binarised_images_are_those_of_one_draw_of_each(digits):
    images = digits[0][:300]
    vae = ConvVAETransformer(**SMALL, binarize=True, pixel_range=(0, 16), max_iter=3).fit(images)
    drawn = vae._scoring_dataset(images)[:].numpy()
    assert set(np.unique(drawn)) == {0, 1}
    # Pixels that are certain stay; the others are one as often as they say.
    x = images[:, None] / 16
    assert_array_equal(drawn[(x == 0) | (x == 1)], x[(x == 0) | (x == 1)])
    for level in (0.25, 0.5, 0.75):
        pixels = drawn[x == level]
        assert abs(pixels.mean() - level) < 4 * 0.5 / np.sqrt(len(pixels))
    # 0/1 images are taken as they are: scoring the draws is scoring the images.
    assert_array_equal(vae.score_samples(16 * drawn[:, 0]), vae.score_samples(images))
    assert_array_equal(vae.log_likelihood(16 * drawn[:9, 0], 5), vae.log_likelihood(images[:9], 5))
    grey = pickle.loads(pickle.dumps(vae))
    grey._binarize = False
    assert (grey.score_samples(images) != vae.score_samples(images)).all()


def test_scores_do_not_depend_on_beta_of_training(line):
    vae, images = line
    other = pickle.loads(pickle.dumps(vae)).set_params(beta=7.0)
    other = pickle.loads(pickle.dumps(other))  # its net is built with the other beta
    assert other.net_.beta == 7.0
    assert_array_equal(other.score_samples(images), vae.score_samples(images))


# Large pictures


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("size", [1, 32, 64])
def test_large_pictures_are_as_independent_as_small_ones(many, limit_passes, likelihood, size):
    limit_passes(n_numbers=2 * size * 64 - 1)
    assert passes.pass_size((1, 8, 8)) == size
    vae = ConvVAETransformer(**{**SMALL, "likelihood": likelihood}, max_iter=1).fit(many[:40])
    X, order = many[:23], np.random.default_rng(0).permutation(23)
    z = vae.transform(X)
    methods = {
        "transform": X,
        "score_samples": X,
        "posterior": X,
        "inverse_transform": z,
        "log_likelihood": X,
    }
    for name, rows in methods.items():
        method = getattr(vae, name)
        if name == "log_likelihood":
            together = method(rows, 12)
            assert_array_equal(method(rows[order], 12), together[order])
            assert_array_equal(method(rows[7:9], 12), together[7:9])
            continue
        together = np.asarray(method(rows))
        axis = together.ndim - 2 if name == "posterior" else 0
        for n in (1, 4, 5, 6, 11):
            part = np.asarray(method(rows[:n]))
            assert_array_equal(part, together.take(range(n), axis), err_msg=name)
        assert_array_equal(np.asarray(method(rows[order])), together.take(order, axis))


MEMORY = """
import resource, sys
import numpy as np
import torch
from skvae import ConvVAETransformer

def megabytes():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes or kilobytes
    return peak / 2 ** (20 if sys.platform == "darwin" else 10)

torch.set_num_threads(1)
params = {"max_iter": 1, "random_state": 0, "likelihood": "gaussian"}
X = np.random.default_rng(0).integers(0, 256, (14, 512, 512, 3), np.uint8)
ConvVAETransformer(**params).fit(X[:3, :8, :8]).log_likelihood(X[:1, :8, :8])  # imports
idle = megabytes()
vae = ConvVAETransformer(hidden_channels=(8,) * 6, **params).fit(X)
z = vae.transform(X)
vae.inverse_transform(z[:6])
vae.posterior(X)
vae.score_samples(X)
vae.log_likelihood(X[:1], 3)
vae.sample(2)
vae.partial_fit(X)
small = megabytes() - idle
vae = ConvVAETransformer(**params).fit(X[:6])
vae.score_samples(X[:6])
vae.inverse_transform(z[:6])
print(small, megabytes() - idle)
"""


def test_memory_for_large_pictures_is_bounded():
    # A process of its own: the peak of this one is that of all tests. The 14 pictures of 512 x 512
    # in colour pass by fives; all at once would take 1 GB in the smaller network.
    quiet = ["-W", "ignore:Only:UserWarning", "-W", "ignore:The training:UserWarning"]
    command = [sys.executable, *quiet, "-c", MEMORY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    small, default = map(float, done.stdout.split())
    assert small < 600
    assert default < 1_500


# Classes


def test_the_joint_of_labels_is_that_of_the_posterior_mean(digits):
    module, dataset = network(n_classes=4), dataset_of(digits[0][:150])
    log_joint = label_log_joint(module, dataset)
    assert log_joint.shape == (150, 4)
    assert log_joint.dtype == np.float32
    decoder = module.prior
    with torch.no_grad():
        mu, _ = module.encode(dataset[:])
        normal = torch.distributions.Normal(decoder.means, torch.exp(decoder.logvar / 2))
        expected = normal.log_prob(mu[:, None]).sum(2) + decoder.log_priors
    assert_allclose(log_joint, expected, rtol=1e-5)
    # The labels of the images do not matter, and neither do the other images.
    labelled = dataset_of(digits[0][:150], np.arange(150) % 4)
    assert_array_equal(label_log_joint(module, labelled), log_joint)
    assert_array_equal(label_log_joint(module, dataset.at(slice(70, 75))), log_joint[70:75])


def test_moments_with_classes_are_in_units_of_the_prior(digits):
    module, dataset = network(n_classes=4), dataset_of(digits[0][:150])
    mean, variance = (part.detach().double() for part in module.prior.moments())
    with torch.no_grad():
        mu, logvar = (part.double() for part in module.encode(dataset[:]))
    normal = torch.distributions.Normal
    prior = normal(mean, variance.sqrt())
    kl = torch.distributions.kl_divergence(normal(mu, torch.exp(logvar / 2)), prior)
    standard = (mu - mean) / variance.sqrt()
    expected = torch.stack([kl, standard, standard.square()]).mean(1)
    assert_allclose(component_moments(module, dataset), expected, rtol=1e-4, atol=1e-6)


# Holes


@pytest.fixture(scope="module")
def gaussian():
    """An untrained network that is N(m, W W^T + s^2 I), and m and the covariance in float64."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((12, 2)))[0]
    variances, noise, mean = np.array([0.5, 0.3]), 0.1, rng.uniform(size=12)
    module = ConvVAE((3, 2, 2), 2, (4,), 8, linear_path=True, holes=True, likelihood="gaussian")
    draw_weights(module, torch.Generator().manual_seed(0))
    tensors = (torch.from_numpy(part).float() for part in (mean, axes, variances))
    module.start_at(linear_network(*tensors, noise))
    with torch.no_grad():
        module.mean_image.fill_(0.5)
        module.pixel_scale.fill_(1.0)
        module.likelihood.set_variance(noise)
        module.logvar_head.weight.zero_()  # q(z|x) has the variance that complete images have
    covariance = axes @ np.diag(variances - noise) @ axes.T + noise * np.eye(12)
    return module, mean, covariance


def gaussian_images(mean, covariance, n=6):
    """Rows drawn from the normal, with no, one, all, and several numbers missing."""
    rng = np.random.default_rng(1)
    rows = rng.multivariate_normal(mean, covariance, n)
    holes = rng.uniform(size=rows.shape) < 0.3
    holes[0], holes[1], holes[2] = False, np.arange(12) == 4, True
    return np.where(holes, np.nan, rows), holes


GAUSSIAN_FORMAT = ImageFormat((3, 2, 2), 0, (0.0, 1.0), True, bounded=False, missing_values=np.nan)


def test_imputed_pixels_are_the_conditional_mean_of_a_normal(gaussian):
    module, mean, covariance = gaussian
    rows, holes = gaussian_images(mean, covariance)
    rows = rows.clip(-0.5, 1.5)  # which such images are to a network
    dataset = ImageDataset(rows, GAUSSIAN_FORMAT)
    runs = np.stack([impute(module, dataset, 2_000, seed) for seed in range(20)])
    error = runs.std(0, ddof=1) / len(runs) ** 0.5
    for i, (row, missing) in enumerate(zip(rows, holes, strict=True)):
        seen = ~missing
        part = np.linalg.solve(covariance[np.ix_(seen, seen)], row[seen] - mean[seen])
        expected = mean[missing] + covariance[np.ix_(missing, seen)] @ part
        filled = runs.mean(0)[i, missing]
        assert (np.abs(filled - expected) <= 5 * error[i, missing] + 1e-6).all(), i
    assert np.median(error[holes]) < 0.01  # it could hide little; the pixels vary by about 0.3


def test_draws_for_holes_have_the_conditional_distribution_of_the_signal(gaussian):
    # E[x|z] for z from p(z|x): a normal, whose covariance is that of x less the noise.
    module, mean, covariance = gaussian
    rows, holes = gaussian_images(mean, covariance)
    row, seen = rows[3].clip(-0.5, 1.5), ~holes[3]
    dataset, rng = ImageDataset(np.tile(row, (400, 1)), GAUSSIAN_FORMAT), np.random.RandomState(0)
    # Equal images have draws of their own.
    draws = impute(module, dataset, 100, 0, rng)
    signal = covariance - 0.1 * np.eye(12)
    gain = signal[:, seen] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    expected = mean + gain @ (row[seen] - mean[seen])
    deviation = np.sqrt(np.diag(signal - gain @ signal[seen]))
    assert (np.abs(draws.mean(0) - expected) < 5 * deviation / 20).all()
    # The standard error of a standard deviation is 1 / sqrt(2 n) of it; 100 draws are a little few.
    assert_allclose(draws.std(0), deviation, rtol=0.2)


def test_log_likelihoods_with_holes_are_those_of_the_observed_pixels(gaussian):
    module, mean, covariance = gaussian
    rows, holes = gaussian_images(mean, covariance, 40)
    rows = rows.clip(-0.5, 1.5)
    dataset = ImageDataset(rows, GAUSSIAN_FORMAT)
    expected = []
    for row, missing in zip(rows, holes, strict=True):
        seen = ~missing
        normal = torch.distributions.MultivariateNormal(
            torch.from_numpy(mean[seen]), torch.from_numpy(covariance[np.ix_(seen, seen)])
        )
        expected.append(normal.log_prob(torch.from_numpy(row[seen])).item() if seen.any() else 0.0)
    runs = [marginal_log_likelihood(module, dataset, 500, seed) for seed in range(10)]
    error = np.std(runs, 0, ddof=1) / 10**0.5
    # The log of a mean is a little low, by half its variance.
    bias = np.var(runs, 0, ddof=1) / 2
    assert_array_equal(np.abs(np.mean(runs, 0) - expected) <= 6 * error + bias + 1e-4, True)
    bound = np.mean([elbo(module, dataset, PixelNoise(2, seed)) for seed in range(50)], 0)
    assert bound.mean() < np.mean(expected)
    assert bound.mean() > np.mean(expected) - 0.5


def test_squared_errors_are_means_over_observed_pixels(gaussian):
    module, mean, covariance = gaussian
    rows, _ = gaussian_images(mean, covariance, 300)
    dataset = ImageDataset(rows.clip(-0.5, 1.5), GAUSSIAN_FORMAT)
    x, noise = dataset[:], PixelNoise(2, seed=3)
    with torch.no_grad():
        logits = module(x, noise(x))[0]
    expected = np.nanmean(np.square((x - logits).double().numpy()))
    assert squared_error(module, dataset, 3) == pytest.approx(expected, rel=1e-5)
    nothing = ImageDataset(np.full((3, 12), np.nan), GAUSSIAN_FORMAT)
    assert squared_error(module, nothing, 3) == 0


def test_imputed_rows_do_not_depend_on_the_others(gaussian):
    module, mean, covariance = gaussian
    rows, _ = gaussian_images(mean, covariance, 150)
    dataset, order = ImageDataset(rows, GAUSSIAN_FORMAT), np.random.default_rng(0).permutation(150)
    for n_draws in (1, 3, 130):
        together = impute(module, dataset, n_draws, 0)
        assert together.shape == (150, 12)
        assert_array_equal(impute(module, dataset.at(order), n_draws, 0), together[order])
        for i in (0, 77):
            alone = impute(module, dataset.at(slice(i, i + 1)), n_draws, 0)
            assert_array_equal(alone, together[i : i + 1])


def parts_of(weights, images, sizes):
    places = np.cumsum(sizes)[:-1]
    return zip(
        (torch.from_numpy(part) for part in np.split(weights, places)),
        (torch.from_numpy(part) for part in np.split(images, places)),
        strict=True,
    )


@pytest.mark.parametrize("scale", [0.0, 1.0, 50.0, 1e4])
@pytest.mark.parametrize("shift", [0.0, -1e4, 1e4])
@pytest.mark.parametrize("sizes", [(300,), (1, 299), (100, 100, 100), (128, 128, 44)])
def test_the_weighted_mean_is_that_of_the_softmax(scale, shift, sizes):
    rng = np.random.default_rng(0)
    weights = shift + scale * rng.standard_normal(300)
    logits = rng.standard_normal((300, 2, 3, 4)).astype(np.float32)
    shares = np.exp(weights - weights.max())
    expected = np.tensordot(shares / shares.sum(), 1 / (1 + np.exp(-logits.astype(float))), 1)
    image = weighted_mean(parts_of(weights, logits, sizes), torch.sigmoid)
    assert image.dtype == torch.float32
    assert_allclose(image, expected, rtol=1e-5)
    order = np.argsort(weights)  # each part has a larger weight than all before it
    image = weighted_mean(parts_of(weights[order], logits[order], sizes), torch.sigmoid)
    assert_allclose(image, expected, rtol=1e-5)


@pytest.mark.parametrize("shift", [0.0, -1e4, 1e4])
@pytest.mark.parametrize("sizes", [(6,), (2, 4), (1, 1, 1, 1, 1, 1)])
def test_draws_are_chosen_in_proportion_to_their_weights(shift, sizes):
    weights = shift + np.array([0.0, -1.0, 1.5, -9.0, 0.5, -800.0])
    images = np.arange(6, dtype=np.float32)[:, None, None, None]
    rng = np.random.RandomState(0)
    chosen = [
        int(weighted_choice(parts_of(weights, images, sizes), lambda x: x, rng))
        for _ in range(3_000)
    ]
    frequencies = np.bincount(chosen, minlength=6) / 3_000
    p = np.exp(weights - weights.max())
    p /= p.sum()
    assert (np.abs(frequencies - p) <= 4 * np.sqrt(p * (1 - p) / 3_000)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_of_the_caller_changes_no_bit(digits, dtype):
    images = digits[0][:60]
    vae = fit(images)
    calls = [
        vae.transform,
        vae.score_samples,
        vae.reconstruct,
        vae.log_likelihood,
        lambda X: fit(X).transform(X),
        lambda X: fit(X).partial_fit(X).transform(X),
    ]
    for call in calls:
        expected = call(images)
        with torch.autocast("cpu", dtype=dtype):
            assert_array_equal(call(images), expected)
            assert torch.is_autocast_enabled("cpu")
