"""The first weights: from the seed, and from the mean or the principal axes of the images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from nets import (
    LIKELIHOODS,
    MIN_NOISE_VARIANCE,
    ConvVAE,
    ImageDataset,
    ImageFormat,
    build_module,
    draw_weights,
    linear_network,
    set_pixel_units,
)
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from skvae._model import start as start_module
from skvae._model.start import (
    class_means,
    coarse_rows,
    fit_linear_decoder,
    incremental_pca,
    pixel_statistics,
    principal_components,
    probabilistic_pca,
    set_first_weights,
)

pytestmark = pytest.mark.usefixtures("whole_start")


def unset(shape, likelihood="bernoulli", n_components=2, n_classes=0):
    """A network without weights, and how rows of images from 0 to 255 are read."""
    image_format = ImageFormat(shape, -1, (0.0, 255.0), True, LIKELIHOODS[likelihood].bounded)
    architecture = {
        "image_shape": image_format.channels_first_shape,
        "n_components": n_components,
        "hidden_channels": (4,),
        "hidden_units": 8,
        "linear_path": LIKELIHOODS[likelihood].normal,
        "n_classes": n_classes,
    }
    return build_module(architecture, likelihood, "cpu"), image_format


def start(rows, shape, likelihood="bernoulli", seed=0, n_components=2):
    """A network with its first weights, for rows of images from 0 to 255."""
    module, image_format = unset(shape, likelihood, n_components)
    dataset = ImageDataset(rows, image_format)
    set_first_weights(module, dataset, None, seed)
    return module


BERNOULLI = [name for name, family in LIKELIHOODS.items() if not family.normal]


@pytest.fixture(scope="module")
def pictures():
    """300 rows of 4 x 5 pixels in three channels, each with a mean of its own."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 100, (300, 4, 5, 3)) + np.array([0, 60, 140])
    return rows.astype(np.uint8).reshape(300, 60)


@pytest.mark.parametrize("likelihood", BERNOULLI)
def test_logits_start_at_the_mean_of_each_channel(pictures, likelihood):
    module = start(pictures, (4, 5, 3), likelihood)
    bias = module.decoder[-2].bias.reshape(3, -1)
    mean = LIKELIHOODS[likelihood]().mean(bias.double()).detach().numpy()
    expected = pictures.reshape(-1, 3).mean(0) / 255
    np.testing.assert_allclose(mean, np.repeat(expected[:, None], mean.shape[1], 1), rtol=1e-5)


@pytest.mark.parametrize("n_components", [2, 3])
def test_the_normal_family_starts_at_probabilistic_pca(n_components):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, 3)) @ rng.standard_normal((3, 20))
    rows = np.clip(128 + 15 * rows + 5 * rng.standard_normal(rows.shape), 0, 255)
    module = start(rows, (4, 5), "gaussian", n_components=n_components)
    pca = PCA(n_components).fit(rows / 255)
    x = torch.from_numpy(rows / 255).float().reshape(-1, 1, 4, 5)
    with torch.no_grad():
        mu, logvar = (part.numpy() for part in module.encode(x))
        images = module.decode(torch.from_numpy(mu)).numpy()
    # The posterior of probabilistic PCA, up to the signs of the axes; Tipping & Bishop (1999).
    noise, variances = pca.noise_variance_, pca.explained_variance_
    scores = pca.transform(rows / 255)
    expected = scores * np.sqrt(variances - noise) / variances
    np.testing.assert_allclose(np.abs(mu), np.abs(expected), atol=2e-3)
    shrunk = scores * (variances - noise) / variances
    reconstructions = pca.inverse_transform(shrunk).reshape(images.shape)
    np.testing.assert_allclose(images, reconstructions, atol=1e-3)
    sigma_squared = np.broadcast_to(noise / variances, (500, n_components))
    # Drawn weights let sigma vary a little over the images.
    np.testing.assert_allclose(np.exp(logvar)[:, :2], sigma_squared[:, :2], rtol=0.3)
    measured = module.likelihood.variance.item()
    assert 0.7 < measured / noise < 1.5


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_images_of_one_value_start_at_finite_weights(value, likelihood):
    module = start(np.full((3, 20), value, np.uint8), (4, 5), likelihood)
    assert all(weight.isfinite().all() for weight in module.state_dict().values())
    with torch.no_grad():
        mean = LIKELIHOODS[likelihood]().mean(module.decode(torch.zeros(1, 2)))
    assert (mean - value / 255).abs().max() < 0.4


def test_of_many_images_some_are_looked_at():
    # Every third row is light; the subsample takes every second one.
    rows = np.zeros((4_000, 4), np.uint8)
    rows[::3] = 255
    bias = start(rows, (2, 2)).decoder[-2].bias
    assert torch.sigmoid(bias).mean().item() == pytest.approx(1 / 3, abs=1e-3)


def test_the_seed_makes_the_weights(pictures):
    weights = [
        torch.cat([p.flatten() for p in start(pictures, (4, 5, 3), seed=seed).parameters()])
        for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_order_of_the_images_counts_for_rounding_at_most(pictures):
    one, other = (start(rows, (4, 5, 3)) for rows in (pictures, pictures[::-1]))
    for weight, expected in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(weight, expected)


# Probabilistic PCA


def pca_of(rows, shape, n_components=2, seed=0):
    """Mean, axes, variances and noise variance of rows from 0 to 255, as float64 arrays."""
    module, image_format = unset(shape, "gaussian", n_components)
    rows, holes = coarse_rows(module, ImageDataset(rows, image_format))
    assert holes is None
    *tensors, noise = probabilistic_pca(rows, holes, n_components, seed)
    assert [tensor.dtype for tensor in tensors] == [torch.float32] * 3
    return *(tensor.double().numpy() for tensor in tensors), noise


def low_rank(n, n_pixels, rank=3):
    """Rows from about 0 to 255 that vary along a few directions, and a little along all."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((n, rank)) * np.arange(rank, 0, -1)
    rows = 128 + 6 * factors @ rng.standard_normal((rank, n_pixels))
    return rows + rng.standard_normal(rows.shape)


@pytest.mark.parametrize("n_components", [1, 3])
def test_the_axes_are_those_of_scikit_learn(n_components):
    rows = low_rank(300, 40)
    mean, axes, variances, noise = pca_of(rows, (4, 5, 2), n_components)
    # The linear path sees channels first.
    rows = np.moveaxis(rows.reshape(300, 4, 5, 2), -1, 1).reshape(300, 40) / 255
    pca = PCA(n_components, svd_solver="full").fit(rows)
    np.testing.assert_allclose(mean, pca.mean_, rtol=1e-5)
    np.testing.assert_allclose(variances, pca.explained_variance_, rtol=1e-3)
    assert noise == pytest.approx(pca.noise_variance_, rel=1e-3)
    # Up to their signs.
    cosines = pca.components_ @ axes
    np.testing.assert_allclose(np.abs(cosines), np.eye(n_components), atol=2e-3)
    np.testing.assert_allclose(axes.T @ axes, np.eye(n_components), atol=1e-5)


@pytest.mark.parametrize(("n", "n_pixels", "n_components"), [(6, 40, 3), (30, 6, 9), (5, 20, 9)])
def test_fewer_images_or_pixels_than_components_and_some(n, n_pixels, n_components):
    rows = low_rank(n, n_pixels)
    _, axes, variances, noise = pca_of(rows, (1, n_pixels), n_components)
    eigenvalues = np.linalg.eigvalsh(np.cov(rows.T / 255))[::-1]
    n_axes = min(n_components, n - 1, n_pixels - 1)
    expected = max(MIN_NOISE_VARIANCE, eigenvalues[n_axes:].mean())  # of all pixels that are left
    assert noise == pytest.approx(expected, rel=1e-2)
    # Those that vary by more than the noise.
    kept = eigenvalues[:n_axes][eigenvalues[:n_axes] > noise]
    np.testing.assert_allclose(variances, kept, rtol=1e-2)
    assert axes.shape == (n_pixels, len(kept))


@pytest.mark.parametrize(
    ("rows", "n_axes"),
    [
        (low_rank(1, 20), 0),
        (low_rank(2, 20), 1),
        (np.full((7, 20), 255.0), 0),
        (np.zeros((2, 20)), 0),
        (np.full((1, 1), 9.0), 0),
        (np.arange(9.0)[:, None], 0),
        (np.repeat([[3.0], [250.0]], 20, 1), 1),
    ],
    ids=["one", "two", "white", "black", "a pixel", "pixels", "black and white"],
)
def test_the_least_that_there_can_be(rows, n_axes):
    n_pixels = rows.shape[1]
    mean, axes, variances, noise = pca_of(rows, (1, n_pixels), 4)
    np.testing.assert_allclose(mean, rows.mean(0) / 255, rtol=1e-5)
    assert axes.shape == (n_pixels, n_axes)
    if n_axes:  # the line through both images
        assert variances == pytest.approx(np.square(rows[1] - rows[0]).sum() / 2 / 255**2, rel=1e-3)
        line = (rows[1] - rows[0]) / np.linalg.norm(rows[1] - rows[0])
        np.testing.assert_allclose(np.abs(line @ axes), 1, rtol=1e-5)
    # A pixel alone varies by noise only.
    expected = rows.var(ddof=1) / 255**2 if rows.shape == (9, 1) else 0
    assert noise == pytest.approx(max(MIN_NOISE_VARIANCE, expected), rel=1e-3)
    module = start(rows, (1, n_pixels), "gaussian", n_components=4)
    assert all(weight.isfinite().all() for weight in module.state_dict().values())


@pytest.mark.parametrize(
    ("limit", "value", "step"),
    [("MAX_IMAGES", 100, 3), ("MAX_IMAGES", 250, 1), ("MAX_NUMBERS", 20 * 125, 2)],
)
def test_of_many_images_some_are_analysed(monkeypatch, limit, value, step):
    rows = low_rank(250, 20)
    monkeypatch.setattr(start_module, limit, value)
    some, expected = pca_of(rows, (4, 5)), pca_of(rows[::step].copy(), (4, 5))
    for part, other in zip(some, expected, strict=True):
        np.testing.assert_array_equal(part, other)


def test_large_pictures_are_few_but_at_least_two(monkeypatch):
    monkeypatch.setattr(start_module, "MAX_NUMBERS", 1)
    assert pca_of(low_rank(250, 20), (4, 5))[1].shape == (20, 1)


def test_large_pictures_are_analysed_in_blocks():
    rows = np.repeat(low_rank(60, 100), 3, 1)
    mean, axes, variances, noise = pca_of(rows, (1, 300))
    expected = pca_of(rows[:, ::3], (1, 100))
    np.testing.assert_allclose(mean, expected[0], rtol=1e-5)
    np.testing.assert_allclose(np.abs(axes), np.abs(expected[1]), atol=1e-3)
    np.testing.assert_allclose(variances, expected[2], rtol=1e-4)
    assert noise == pytest.approx(expected[3], rel=1e-4)


@pytest.mark.parametrize("shape", [(1, 300), (4, 5, 3)])
def test_the_axes_of_images_beyond_memory_are_those_of_all_of_them(monkeypatch, shape):
    n_pixels = int(np.prod(shape))
    rows = low_rank(1_000, n_pixels)
    module, image_format = unset(shape, "gaussian", 2)
    dataset = ImageDataset(rows, image_format)
    *expected, expected_noise = (
        np.asarray(part) for part in principal_components(module, dataset, 0)
    )
    monkeypatch.setattr(start_module, "MAX_NUMBERS", 100 * n_pixels)
    *tensors, noise = principal_components(module, dataset, 0)
    mean, axes, variances = (tensor.numpy() for tensor in tensors)
    part = pca_of(rows, shape)
    assert not np.allclose(part[2], expected[2], rtol=0.03)  # those of some are others
    np.testing.assert_allclose(mean, expected[0], rtol=1e-5)
    np.testing.assert_allclose(np.abs(axes.T @ expected[1]), np.eye(2), atol=2e-3)
    np.testing.assert_allclose(variances, expected[2], rtol=1e-3)
    assert noise == pytest.approx(expected_noise, rel=1e-3)


@pytest.mark.parametrize("n_images", [2, 5, 130, 1_001])
def test_any_number_of_images_can_be_analysed_in_blocks(n_images):
    module, image_format = unset((1, 40), "gaussian", 3)
    rows = low_rank(n_images, 40)
    expected = pca_of(rows, (1, 40), 3)
    mean, axes, variances, noise = incremental_pca(module, ImageDataset(rows, image_format))
    np.testing.assert_allclose(mean, expected[0], atol=1e-5)
    assert axes.shape == expected[1].shape
    np.testing.assert_allclose(variances, expected[2], rtol=0.02)
    assert noise == pytest.approx(expected[3], rel=0.02)


@pytest.mark.parametrize("image_shape", [(1, 8, 8), (1, 105, 105)])
def test_the_convolutions_start_at_the_same_function_in_any_unit(image_shape):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.uniform(0.6, 0.9, (20, *image_shape)).astype(np.float32))
    modules = [ConvVAE(image_shape, 2, (4,), 8) for _ in range(2)]
    for module in modules:
        draw_weights(module, torch.Generator().manual_seed(0))
    mean, std = x.mean(0), (x - x.mean(0)).std().reshape(1, 1, 1)
    set_pixel_units(modules[0], mean, std)
    with torch.no_grad():
        modules[1].mean_image.copy_(mean)
        modules[1].pixel_scale.copy_(1 / std)
        torch.testing.assert_close(modules[0].encode(x), modules[1].encode(x))
    # Sums over many numbers move less with each step of the optimiser.
    fan_in = modules[0].encoder[1].weight[0].numel()
    share = (modules[0].pixel_scale * std).item()
    assert share == pytest.approx(min(1, 144 / fan_in), rel=1e-5)


def test_the_axes_come_from_the_seed_alone():
    rows = low_rank(60, 20)
    state, torch_state = np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
    one, again = (pca_of(rows, (4, 5), seed=3) for _ in range(2))
    for part, other in zip(one, again, strict=True):
        np.testing.assert_array_equal(part, other)
    np.testing.assert_array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002
    assert np.random.get_state()[2:] == state[2:]  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), torch_state)


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_the_noise_starts_at_the_error_of_the_images_set_aside(scale):
    rows = low_rank(300, 20)
    valid = np.clip(128 + scale * (low_rank(500, 20)[300:] - 128), 0, 255)
    module, image_format = unset((4, 5), "gaussian", 3)
    train, valid = (ImageDataset(part, image_format) for part in (rows, valid))
    set_first_weights(module, train, valid, 0)
    # The mean squared error of a draw: by many draws, from torch.distributions.
    x = valid[:]
    with torch.no_grad():
        mu, logvar = module.encode(x)
        z = torch.distributions.Normal(mu, torch.exp(logvar / 2)).sample((50,))
        error = (module.decode(z.flatten(0, 1)).unflatten(0, (50, -1)) - x).square().mean().item()
    assert module.likelihood.variance.item() == pytest.approx(error, rel=0.1)


@pytest.mark.parametrize("likelihood", BERNOULLI)
def test_a_fitted_linear_decoder_explains_more_than_the_mean_image(likelihood):
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((500, 2)) @ rng.standard_normal((2, 30))
    rows = (1 / (1 + np.exp(-2 * factors))).astype(np.float32)
    network = linear_network(*probabilistic_pca(rows, None, 2, 0))
    fitted = fit_linear_decoder(
        network, rows, LIKELIHOODS[likelihood](), torch.Generator().manual_seed(0)
    )
    z = (rows - fitted.mean.numpy()) @ fitted.encoder.numpy().T
    logits = torch.from_numpy(z @ fitted.decoder.numpy().T + fitted.bias.numpy())
    images = LIKELIHOODS[likelihood]().mean(logits).numpy()
    error, deviation = ((rows - images) ** 2).mean(), rows.var(0).mean()
    assert error < 0.2 * deviation
    assert (fitted.logvar < 0).all()
    assert fitted.logit_unit == 1
    torch.testing.assert_close(fitted.encoder, network.encoder)


# Classes


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("n_images", [300, 5_000])
def test_classes_start_at_the_means_of_their_images(pictures, likelihood, n_images):
    rows = np.resize(pictures, (n_images, 60))
    # Of 5 classes, the fourth has no image; most images have no label.
    codes = np.where(np.arange(n_images) % 2, -1, np.resize([0, 1, 4, 4, 2, -1, 0], n_images))
    module, image_format = unset((4, 5, 3), likelihood, n_classes=5)
    dataset = ImageDataset(rows, image_format, labels=codes)
    set_first_weights(module, dataset, None, 0)
    with torch.no_grad():
        mu, _ = module.encode(dataset[:])
        means = class_means(module, dataset)
    assert (module.prior.logvar == 0).all()
    torch.testing.assert_close(module.prior.means.detach(), means)
    known = np.flatnonzero(codes >= 0)
    some = known[:: -(-len(known) // 2_048)]
    for label in range(5):
        of_class = some[codes[some] == label]
        expected = mu[of_class].double().mean(0) if len(of_class) else torch.zeros(2).double()
        torch.testing.assert_close(means[label].double(), expected, rtol=1e-4, atol=1e-5)


def test_without_any_label_classes_start_at_0(pictures):
    module, image_format = unset((4, 5, 3), n_classes=3)
    dataset = ImageDataset(pictures, image_format, labels=np.full(300, -1))
    set_first_weights(module, dataset, None, 0)
    assert (module.prior.means == 0).all()
    assert (module.prior.logvar == 0).all()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_labels_change_no_other_weight(pictures, likelihood):
    plain = start(pictures, (4, 5, 3), likelihood).state_dict()
    module, image_format = unset((4, 5, 3), likelihood, n_classes=2)
    dataset = ImageDataset(pictures, image_format, labels=np.arange(300) % 2)
    set_first_weights(module, dataset, None, 0)
    weights = module.state_dict()
    assert weights.keys() - plain.keys() == {
        f"prior.{name}" for name in ("means", "logvar", "log_priors", "shares")
    }
    for name, weight in plain.items():
        assert torch.equal(weights[name], weight), name


# Holes


def with_holes(rows, share=0.3, seed=1):
    """Rows with NaN in a share of their numbers."""
    return np.where(np.random.default_rng(seed).uniform(size=rows.shape) < share, np.nan, rows)


def unset_with_holes(shape, likelihood="gaussian", n_components=2, linear_path=True):
    """A network without weights, and how rows of images from 0 to 255 with holes are read."""
    plain, image_format = unset(shape, likelihood, n_components)
    image_format = replace(image_format, missing_values=np.nan)
    architecture = {
        "image_shape": plain.image_shape,
        "n_components": n_components,
        "hidden_channels": (4,),
        "hidden_units": 8,
        "linear_path": linear_path,
        "holes": True,
    }
    return build_module(architecture, likelihood, "cpu"), image_format


def test_the_mean_image_is_that_of_what_was_observed(pictures):
    rows = with_holes(pictures.astype(float))
    rows[:, 7] = np.nan  # a pixel of the second channel
    _, image_format = unset_with_holes((4, 5, 3))
    dataset = ImageDataset(rows, image_format)
    mean, std = pixel_statistics(dataset)
    assert mean.dtype == std.dtype == torch.float32
    x = dataset[:].double().numpy()
    seen = ~np.isnan(x)
    expected = np.nansum(x, 0) / seen.sum(0).clip(1)
    expected[1, 0, 2] = x[:, 1][seen[:, 1]].mean()
    np.testing.assert_allclose(mean, expected, rtol=1e-6)
    deviations = np.square(x - expected).swapaxes(0, 1).reshape(3, -1)
    np.testing.assert_allclose(std[:, 0, 0], np.nanmean(deviations, 1) ** 0.5, rtol=1e-5)


def test_nothing_at_all_was_observed():
    _, image_format = unset_with_holes((4, 5))
    dataset = ImageDataset(np.full((3, 20), np.nan), image_format)
    assert all((part == 0).all() for part in pixel_statistics(dataset))


@pytest.mark.parametrize(("share", "error"), [(0.5, 0.76), (0.8, 0.9), (0.9, 0.98)])
def test_the_start_with_many_holes_does_not_fit_their_noise(share, error):
    # The maximum of the likelihood of a few numbers of each image has far less noise, and expects
    # worse than the mean picture where most is missing.
    complete = (load_digits().data / 16).astype(np.float32)
    holes = np.random.default_rng(0).random(complete.shape) < share
    mean = np.nanmean(np.where(holes, np.nan, complete), 0)
    filled = np.where(holes, mean, complete)
    *_, noise = probabilistic_pca(filled, holes, 10, 0)
    assert noise == pytest.approx(probabilistic_pca(complete, None, 10, 0)[3], rel=0.1)
    errors = [np.square(some - complete)[holes].mean() for some in (filled, mean)]
    assert errors[0] ** 0.5 < error * errors[1] ** 0.5


@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 150)])
def test_rows_for_the_analysis_have_the_mean_pixel_in_holes(shape):
    module, image_format = unset_with_holes(shape)
    rows = with_holes(low_rank(50, int(np.prod(shape))), 0.6)
    dataset = ImageDataset(rows, image_format)
    module.mean_image.copy_(pixel_statistics(dataset)[0])
    filled, holes = coarse_rows(module, dataset)
    assert filled.dtype == np.float32
    assert holes.dtype == bool
    x = dataset[:]
    missing = x.isnan()
    expected = torch.where(missing, module.mean_image, x)
    if shape == (4, 150):  # means of two pixels; a hole is where both are missing
        missing = missing.unflatten(3, (-1, 2)).all(4)
        expected = expected.unflatten(3, (-1, 2)).mean(4)
    np.testing.assert_allclose(filled, expected.flatten(1), rtol=1e-6)
    np.testing.assert_array_equal(holes, missing.flatten(1))


def test_without_holes_the_analysis_is_the_same():
    rows = (low_rank(300, 40) / 255).astype(np.float32)
    expected = probabilistic_pca(rows, None, 3, 0)
    actual = probabilistic_pca(rows.copy(), np.zeros(rows.shape, bool), 3, 0)
    for part, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(part, other)


def test_the_axes_of_images_with_holes_are_nearly_those_of_the_complete_ones():
    rows = (low_rank(600, 40) / 255).astype(np.float32)
    complete = probabilistic_pca(rows, None, 3, 0)
    expected_mean, expected_axes, expected = (part.numpy() for part in complete[:3])
    marked = with_holes(rows)
    holes = np.isnan(marked)
    filled = np.where(holes, np.nanmean(marked, 0), marked).astype(np.float32)
    plain = probabilistic_pca(filled.copy(), None, 3, 0)
    observed = filled[~holes]
    mean, axes, variances, noise = probabilistic_pca(filled, holes, 3, 0)
    np.testing.assert_array_equal(filled[~holes], observed)
    # With the mean in the holes, the images seem to vary less along the axes, and by more noise.
    errors = [np.abs(some.numpy() - expected) for some in (variances, plain[2])]
    assert (errors[0] < 0.5 * errors[1]).all()
    assert noise < plain[3]
    cosines = np.linalg.svd(expected_axes.T @ axes.numpy())[1]
    assert (cosines > 0.995).all()
    spread = rows.std(0) / len(rows) ** 0.5  # standard error of the mean of the complete images
    assert (np.abs(mean.numpy() - expected_mean) < 5 * spread).all()
    # And what it expects in the holes is nearer to what was there than the mean is.
    errors = [np.square(some - rows)[holes].mean() for some in (filled, expected_mean)]
    assert errors[0] < 0.3 * errors[1]


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_the_start_with_holes_knows_the_noise_and_fills_as_well_as_the_truth(share):
    rng = np.random.default_rng(0)
    loadings, mean = 0.2 * rng.standard_normal((60, 3)), rng.uniform(size=60)
    complete = rng.standard_normal((800, 3)) @ loadings.T + mean
    complete += np.sqrt(0.02) * rng.standard_normal(complete.shape)
    holes = rng.uniform(size=complete.shape) < share
    holes[:20], holes[:, 7] = True, np.arange(800) > 30  # some images are lost, and nearly a pixel
    filled = np.where(holes, mean, complete).astype(np.float32)
    observed = filled[~holes]
    *_, variances, noise = probabilistic_pca(filled, holes, 3, 0)
    np.testing.assert_array_equal(filled[~holes], observed)
    assert noise == pytest.approx(0.02, rel=0.15)
    expected = np.linalg.eigvalsh(np.cov(complete.T))[::-1][:3]
    assert share == 0.8 or variances.numpy() == pytest.approx(expected, rel=0.1)
    # The conditional mean under the distribution from which the images were drawn.
    covariance, squares, best = loadings @ loadings.T + 0.02 * np.eye(60), [], []
    usual = np.arange(60) != 7
    for i in range(20, 120):
        seen, lost = ~holes[i], holes[i] & usual
        gain = covariance[np.ix_(lost, seen)] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
        expected = mean[lost] + gain @ (complete[i] - mean)[seen]
        best.append(np.square(expected - complete[i, lost]).sum())
        squares.append(np.square(filled[i, lost] - complete[i, lost]).sum())
    assert sum(squares) < 1.1 * sum(best)


@pytest.mark.parametrize("linear_path", [False, True])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_first_weights_of_images_with_holes_are_finite(pictures, likelihood, linear_path):
    linear_path = linear_path or LIKELIHOODS[likelihood].normal
    complete = pictures.astype(float)
    some = with_holes(complete)
    some[:, 7] = np.nan
    some[9] = np.nan
    one = np.full((1, 60), np.nan)
    one[0, :3] = 3
    for rows in (complete, some, one, np.repeat(one, 9, 0)):
        module, image_format = unset_with_holes((4, 5, 3), likelihood, 2, linear_path)
        dataset = ImageDataset(rows, image_format)
        set_first_weights(module, dataset, None, 0)
        assert all(weight.isfinite().all() for weight in module.state_dict().values())
        torch.testing.assert_close(module.mean_image, pixel_statistics(dataset)[0])


def test_complete_images_start_at_the_same_pca_whether_or_not_holes_may_come(pictures):
    plain = start(pictures, (4, 5, 3), "gaussian")
    module, image_format = unset_with_holes((4, 5, 3))
    set_first_weights(module, ImageDataset(pictures, image_format), None, 0)
    for name in ("mean", "bias", "encoder", "decoder", "encoder_gate", "decoder_gate"):
        assert torch.equal(getattr(module.linear, name), getattr(plain.linear, name)), name


def test_logits_start_at_the_mean_of_the_observed_pixels_of_each_channel(pictures):
    rows = with_holes(pictures.astype(float), 0.5)
    module, image_format = unset_with_holes((4, 5, 3), "bernoulli", linear_path=False)
    dataset = ImageDataset(rows, image_format)
    set_first_weights(module, dataset, None, 0)
    mean = torch.sigmoid(module.decoder[-2].bias.reshape(3, -1)).detach().numpy()
    expected = pixel_statistics(dataset)[0].mean((1, 2)).numpy()
    np.testing.assert_allclose(mean, np.repeat(expected[:, None], mean.shape[1], 1), rtol=1e-5)
