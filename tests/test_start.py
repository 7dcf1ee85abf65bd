"""The first weights: from the seed, and from the mean or the principal axes of the images."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from skvae._batches import ImageDataset
from skvae._elbo import LIKELIHOODS, noise_variance
from skvae._images import ImageFormat
from skvae._inference import build_module
from skvae._start import set_first_weights


def start(rows, shape, likelihood="bernoulli", seed=0, n_components=2):
    """A network with its first weights, for rows of images from 0 to 255."""
    image_format = ImageFormat(shape, -1, (0.0, 255.0), True)
    architecture = {
        "image_shape": image_format.channels_first_shape,
        "n_components": n_components,
        "hidden_channels": (4,),
        "hidden_units": 8,
    }
    module = build_module(architecture, likelihood, "cpu")
    dataset = ImageDataset(rows, image_format)
    set_first_weights(module, dataset, None, likelihood, seed)
    return module


BERNOULLI = [name for name, family in LIKELIHOODS.items() if not family.linear]


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
    mean = LIKELIHOODS[likelihood].mean(bias.double()).detach().numpy()
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
    measured = noise_variance(module.noise_logvar).item()
    assert 0.7 < measured / noise < 1.5


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_images_of_one_value_start_at_finite_weights(value, likelihood):
    module = start(np.full((3, 20), value, np.uint8), (4, 5), likelihood)
    assert all(weight.isfinite().all() for weight in module.state_dict().values())
    with torch.no_grad():
        mean = LIKELIHOODS[likelihood].mean(module.decode(torch.zeros(1, 2)))
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
