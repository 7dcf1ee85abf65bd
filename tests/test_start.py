"""The first weights: from the seed, and from the mean and the variance of the images."""

import numpy as np
import pytest
import torch

from skvae._batches import ImageDataset
from skvae._elbo import LIKELIHOODS, MIN_NOISE_VARIANCE
from skvae._images import ImageFormat
from skvae._inference import build_module
from skvae._start import draw_weights


def start(rows, shape, likelihood="bernoulli", seed=0, binarize_seed=None):
    """A network with its first weights, for rows of images from 0 to 255."""
    image_format = ImageFormat(shape, -1, (0.0, 255.0), True)
    architecture = {
        "image_shape": image_format.channels_first_shape,
        "n_components": 2,
        "hidden_channels": (4,),
        "hidden_units": 8,
    }
    module = build_module(architecture, likelihood, "cpu")
    dataset = ImageDataset(rows, image_format, binarize_seed=binarize_seed)
    draw_weights(module, dataset, likelihood, seed)
    return module


@pytest.fixture(scope="module")
def pictures():
    """300 rows of 4 x 5 pixels in three channels, each with a mean of its own."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 100, (300, 4, 5, 3)) + np.array([0, 60, 140])
    return rows.astype(np.uint8).reshape(300, 60)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_logits_start_at_the_mean_of_each_channel(pictures, likelihood):
    module = start(pictures, (4, 5, 3), likelihood)
    bias = module.decoder[-2].bias.reshape(3, -1)
    mean = LIKELIHOODS[likelihood].mean(bias.double()).detach().numpy()
    expected = pictures.reshape(-1, 3).mean(0) / 255
    np.testing.assert_allclose(mean, np.repeat(expected[:, None], mean.shape[1], 1), rtol=1e-5)


def test_noise_starts_at_the_variance_of_the_pixels(pictures):
    module = start(pictures, (4, 5, 3), "gaussian")
    expected = (pictures.reshape(-1, 3) / 255).var(0).mean()
    assert module.noise_logvar.exp().item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_images_of_one_value_start_at_finite_weights(value, likelihood):
    module = start(np.full((3, 20), value, np.uint8), (4, 5), likelihood)
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    mean = LIKELIHOODS[likelihood].mean(module.decoder[-2].bias)
    assert (mean - value / 255).abs().max() <= 1.1e-3
    if likelihood == "gaussian":
        assert module.noise_logvar.item() == pytest.approx(np.log(MIN_NOISE_VARIANCE), rel=1e-5)


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
