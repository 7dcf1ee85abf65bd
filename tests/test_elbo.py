"""The terms of the ELBO against torch.distributions."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal
from torch.distributions import kl_divergence as oracle_kl

from skvae._elbo import LIKELIHOODS, elbo_terms, kl_divergence, log_likelihood


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def randn(*shape, generator):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_kl_is_that_of_normals(generator):
    mu, logvar = randn(50, 4, generator=generator), 3 * randn(50, 4, generator=generator)
    expected = oracle_kl(Normal(mu, torch.exp(logvar / 2)), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_divergence(mu, logvar), expected)


def test_kl_keeps_its_digits_near_the_prior():
    logvar = torch.tensor([[1e-3, -1e-3]])
    exact = 0.5 * (torch.expm1(logvar.double()) - logvar.double())
    torch.testing.assert_close(
        kl_divergence(torch.zeros(1, 2), logvar).double(), exact, rtol=2e-3, atol=0
    )


def test_bernoulli_is_that_of_torch_on_binary_images(generator):
    logits = 5 * randn(6, 2, 3, 4, generator=generator)
    x = (randn(6, 2, 3, 4, generator=generator) > 0).double()
    expected = Bernoulli(logits=logits).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(log_likelihood("bernoulli", logits, x), expected)


def test_bernoulli_is_linear_in_grey_values(generator):
    # The mean of log p(b|z) over binary images b ~ Bernoulli(x): what grey targets stand for.
    logits, x = randn(6, 1, 3, 3, generator=generator), torch.rand(6, 1, 3, 3).double()
    dark, light = (
        Bernoulli(logits=logits).log_prob(torch.full_like(x, value)) for value in (0.0, 1.0)
    )
    expected = (x * light + (1 - x) * dark).sum((1, 2, 3))
    torch.testing.assert_close(log_likelihood("bernoulli", logits, x), expected)


def test_bernoulli_stays_finite_at_extreme_logits():
    logits = torch.tensor([[[[-1e4, 1e4]]]])
    assert log_likelihood("bernoulli", logits, torch.tensor([[[[0.0, 1.0]]]])).item() == 0
    wrong = log_likelihood("bernoulli", logits, torch.tensor([[[[1.0, 0.0]]]])).item()
    assert math.isclose(wrong, -2e4)


def test_mean_is_where_the_likelihood_of_a_pixel_is_greatest():
    logits = torch.linspace(-6, 6, 2401, dtype=torch.float64)[:, None, None, None]
    for name, likelihood in LIKELIHOODS.items():
        for pixel in (0.1, 0.5, 0.85):
            x = torch.full_like(logits, pixel)
            best = logits[log_likelihood(name, logits, x).argmax()]
            assert abs(likelihood.mean(best).item() - pixel) < 2e-3


def test_terms_are_per_image_and_know_nothing_of_the_others(generator):
    logits, x = randn(5, 1, 2, 2, generator=generator), torch.rand(5, 1, 2, 2).double()
    mu, logvar = randn(5, 3, generator=generator), randn(5, 3, generator=generator)
    together = elbo_terms("bernoulli", x, logits, mu, logvar)
    for i in range(5):
        one = slice(i, i + 1)
        alone = elbo_terms("bernoulli", x[one], logits[one], mu[one], logvar[one])
        for term, expected in zip(alone, together, strict=True):
            assert term.shape == (1,)
            torch.testing.assert_close(term, expected[one])


def test_sums_in_the_precision_asked_for():
    x, logits = torch.rand(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
    terms = elbo_terms("bernoulli", x, logits, torch.ones(2, 3), torch.ones(2, 3), torch.float64)
    assert [term.dtype for term in terms] == [torch.float64] * 2
