"""Passes over many rows: exact independence of rows, and the ELBO below the evidence."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from skvae import ConvVAETransformer
from skvae._inference import CHUNK, resolve_device


@pytest.fixture(scope="module")
def many(digits):
    """More than two chunks of images, all different."""
    rng = np.random.default_rng(0)
    return np.clip(digits[0][:300] + rng.uniform(0, 1, (300, 8, 8)), 0, 16)


@pytest.mark.parametrize("method", ["transform", "score_samples"])
@pytest.mark.parametrize("n", [1, 5, CHUNK, CHUNK + 1, 2 * CHUNK + 40])
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
    x = torch.from_numpy(many[:CHUNK] / 16).float()[:, None]
    with torch.no_grad():
        mu, logvar = small.module_.encode(x)
    mean, std = small.posterior(many[:CHUNK])
    np.testing.assert_allclose(small.transform(many[:CHUNK]), mu.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mean, mu.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(std, torch.exp(logvar / 2).numpy(), rtol=1e-5)


def test_kl_per_component_is_that_of_the_training_images(digits):
    images = digits[0][:100]
    vae = ConvVAETransformer(
        n_components=2, hidden_channels=(8,), hidden_units=16, max_iter=5, random_state=0
    ).fit(images)
    mean, std = map(torch.from_numpy, vae.posterior(images))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, std), normal(0.0, 1.0)).mean(0)
    np.testing.assert_allclose(vae.kl_per_component_, expected.numpy(), rtol=1e-4, atol=1e-6)


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


def test_scores_do_not_depend_on_beta_of_training(line):
    vae, images = line
    other = pickle.loads(pickle.dumps(vae)).set_params(beta=7.0)
    other = pickle.loads(pickle.dumps(other))  # its net is built with the other beta
    assert other.net_.beta == 7.0
    assert_array_equal(other.score_samples(images), vae.score_samples(images))


def test_device_auto_is_the_first_available():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto") in (expected, "mps")
    assert resolve_device("cpu") == "cpu"


@pytest.mark.parametrize("device", ["nonsense", "xla", "", "meta"])
def test_unknown_device(device):
    with pytest.raises(ValueError, match=r"device='.*' is not available. Available here: .*cpu"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["cuda", "cuda:7"])
def test_no_cuda(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=rf"device='{device}' is not available. Available .*cpu"):
        resolve_device(device)


def test_no_such_gpu(monkeypatch):
    # A machine that has CUDA, but not so many devices.
    def empty(*args, device):
        raise RuntimeError("CUDA error: invalid device ordinal")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", empty)
    with pytest.raises(ValueError, match=r"device='cuda:7' is not available. .*cuda, cpu"):
        resolve_device("cuda:7")
