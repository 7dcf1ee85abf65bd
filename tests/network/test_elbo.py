"""The terms of the ELBO against torch.distributions."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import LIKELIHOODS, MIN_NOISE_VARIANCE, ClassNormals
from torch.distributions import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
)
from torch.distributions import kl_divergence as oracle_kl

from skvae._model.latents import kl_divergence, log_weights
from skvae._model.likelihoods import normal_log_density
from skvae._model.priors import StandardNormal

NOISE_LOGVAR = torch.tensor(-2.5, dtype=torch.float64)
CONTINUOUS = [name for name, family in LIKELIHOODS.items() if family.continuous]


def likelihood_of(name, holes=False, noise_logvar=NOISE_LOGVAR):
    likelihood = LIKELIHOODS[name](holes)
    if likelihood.normal:
        likelihood.noise_logvar = noise_logvar
    return likelihood


def log_likelihood(name, logits, x, **params):
    return likelihood_of(name).log_likelihood(logits, x, **params)


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


def test_the_table():
    assert CONTINUOUS == ["continuous_bernoulli", "gaussian"]
    assert [name for name, family in LIKELIHOODS.items() if not family.bounded] == ["gaussian"]
    assert [name for name, family in LIKELIHOODS.items() if family.normal] == ["gaussian"]


def test_continuous_bernoulli_is_that_of_torch(generator):
    logits = 5 * randn(6, 2, 3, 4, generator=generator)
    x = torch.rand(6, 2, 3, 4, generator=generator, dtype=torch.float64)
    oracle = ContinuousBernoulli(logits=logits)
    expected = oracle.log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(log_likelihood("continuous_bernoulli", logits, x), expected)
    mean = likelihood_of("continuous_bernoulli").mean(logits)
    torch.testing.assert_close(mean, oracle.mean)


def test_gaussian_is_that_of_torch(generator):
    mean, x = randn(6, 2, 3, 4, generator=generator), randn(6, 2, 3, 4, generator=generator)
    std = NOISE_LOGVAR.exp().sqrt()
    expected = Normal(mean, std).log_prob(x).sum((1, 2, 3))
    actual = log_likelihood("gaussian", mean, x)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(likelihood_of("gaussian").mean(mean), mean)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("logit", [-30.0, -2.0, -0.5, -1e-3, 0.0, 1e-9, 0.49, 0.51, 3.0, 20.0])
def test_a_density_integrates_to_one_and_its_mean_is_the_mean(name, logit):
    # A fine grid over the support; for the Gaussian, eight standard deviations.
    low, high = (0, 1) if LIKELIHOODS[name].bounded else (logit - 3, logit + 3)
    x = torch.linspace(low, high, 200_001, dtype=torch.float64)
    logits = torch.full_like(x, logit)
    column = (len(x), 1, 1, 1)
    log_p = log_likelihood(name, logits.reshape(column), x.reshape(column))
    assert math.isclose(torch.trapezoid(log_p.exp(), x).item(), 1, rel_tol=1e-7)
    mean = likelihood_of(name).mean(logits[:1]).item()
    assert math.isclose(torch.trapezoid(x * log_p.exp(), x).item(), mean, abs_tol=1e-7)


@pytest.mark.parametrize("logit", [0.0, 1e-8, -0.4999, 0.5001, -40.0, 1e4])
def test_continuous_bernoulli_is_stable_and_smooth_in_float32(logit):
    v = torch.tensor([[[[logit]]]], requires_grad=True)
    x = torch.tensor([[[[0.3]]]])
    value = log_likelihood("continuous_bernoulli", v, x)
    exact = v.detach().double().requires_grad_()
    expected = log_likelihood("continuous_bernoulli", exact, x.double())
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
    # d log p / d logit = x - mean, for a natural exponential family.
    (gradient,) = torch.autograd.grad(value.sum(), v)
    mean = likelihood_of("continuous_bernoulli").mean(exact.detach())
    torch.testing.assert_close(gradient.double(), x.double() - mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_mean_is_where_the_likelihood_of_a_pixel_is_greatest(name):
    logits = torch.linspace(-12, 12, 48_001, dtype=torch.float64)[:, None, None, None]
    for pixel in (0.1, 0.5, 0.85):
        x = torch.full_like(logits, pixel)
        best = logits[log_likelihood(name, logits, x).argmax()]
        assert abs(likelihood_of(name).mean(best).item() - pixel) < 2e-3
        assert abs(likelihood_of(name).natural_parameter(x[0]).item() - best.item()) < 1e-3


def test_natural_parameter_of_bernoulli_is_the_logit():
    mean = torch.tensor([1e-3, 0.2, 0.5, 0.999], dtype=torch.float64)
    torch.testing.assert_close(
        likelihood_of("bernoulli").natural_parameter(mean), torch.logit(mean)
    )


def test_noise_variance_has_a_floor_and_is_a_variance_above_it():
    for logvar, expected in ((-100.0, MIN_NOISE_VARIANCE), (-1.0, math.exp(-1))):
        likelihood = likelihood_of("gaussian", noise_logvar=torch.tensor(logvar))
        assert likelihood.variance.item() == pytest.approx(expected, rel=1e-5)
    for variance, expected in ((0.0, MIN_NOISE_VARIANCE), (0.25, 0.25)):
        likelihood.set_variance(variance)
        assert likelihood.variance.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_jacobian_turns_a_density_into_that_of_other_units(name, generator):
    logits, x = randn(5, 1, 2, 2, generator=generator), torch.rand(5, 1, 2, 2).double()
    plain = log_likelihood(name, logits, x)
    scaled = log_likelihood(name, logits, x, log_jacobian=(-1.5,))
    torch.testing.assert_close(scaled, plain - 4 * 1.5 * LIKELIHOODS[name].continuous)


def test_log_weights_are_log_ratios_of_densities(generator):
    mu, logvar = randn(40, 3, generator=generator), randn(40, 3, generator=generator)
    noise, log_p = randn(40, 3, generator=generator), randn(40, generator=generator)
    posterior = Normal(mu, torch.exp(logvar / 2))
    z = mu + torch.exp(logvar / 2) * noise
    ratio = (Normal(0.0, 1.0).log_prob(z) - posterior.log_prob(z)).sum(1)
    log_prior = Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(log_weights(log_p, log_prior, noise, logvar), log_p + ratio)


def test_terms_are_per_image_and_know_nothing_of_the_others(generator):
    logits, x = randn(5, 1, 2, 2, generator=generator), torch.rand(5, 1, 2, 2).double()
    mu, logvar = randn(5, 3, generator=generator), randn(5, 3, generator=generator)
    log_p = log_likelihood("bernoulli", logits, x)
    kl, class_logits = StandardNormal().kl(mu, logvar)
    assert class_logits is None
    for i in range(5):
        one = slice(i, i + 1)
        torch.testing.assert_close(log_likelihood("bernoulli", logits[one], x[one]), log_p[one])
        torch.testing.assert_close(StandardNormal().kl(mu[one], logvar[one])[0], kl[one])


def test_the_standard_normal_is_that_of_torch(generator):
    mu, logvar = randn(50, 4, generator=generator), randn(50, 4, generator=generator)
    prior, normal = StandardNormal(), Normal(0.0, 1.0)
    expected = oracle_kl(Normal(mu, torch.exp(logvar / 2)), normal).sum(1)
    torch.testing.assert_close(prior.kl(mu, logvar)[0], expected)
    torch.testing.assert_close(prior.log_density(mu), normal.log_prob(mu).sum(1))


def test_sums_in_the_precision_asked_for():
    x, logits, mu = torch.rand(2, 1, 8, 8), torch.randn(2, 1, 8, 8), torch.ones(2, 3)
    log_p = log_likelihood("bernoulli", logits, x, dtype=torch.float64)
    kl, _ = StandardNormal().kl(mu, mu, dtype=torch.float64)
    assert log_p.dtype == kl.dtype == torch.float64


@pytest.mark.parametrize("variance", [1e-6, 0.01, 3.0])
def test_the_normal_density_is_that_of_torch_and_sums_give_sums(variance, generator):
    mean, x = randn(6, 20, generator=generator), randn(6, 20, generator=generator)
    errors, variance = (x - mean).square(), torch.tensor(variance, dtype=torch.float64)
    expected = Normal(mean, variance.sqrt()).log_prob(x)
    torch.testing.assert_close(normal_log_density(errors, 1, variance), expected)
    sums = normal_log_density(errors.sum(1), errors.shape[1], variance)
    torch.testing.assert_close(sums, expected.sum(1))
    torch.testing.assert_close(normal_log_density(errors.mean(), 1, variance), expected.mean())


def noise_of_batch(given, logits, x, holes=False):
    likelihood = likelihood_of("gaussian", holes, given)
    errors = likelihood.squared_errors(logits, x)
    cautious = likelihood.cautious(*(error.sum() for error in errors))
    assert likelihood.noise_logvar is given  # the family itself keeps its noise
    return cautious.noise_logvar


@pytest.mark.parametrize("given", [-100.0, -2.0, 0.0, 5.0])
def test_cautious_noise_is_the_larger_of_two_variances(given, generator):
    mean, x = randn(6, 1, 3, 4, generator=generator), randn(6, 1, 3, 4, generator=generator)
    noise = noise_of_batch(torch.tensor(given, dtype=torch.float64), mean, x)
    assert noise.shape == ()
    error = (x - mean).numpy()
    assert noise.exp().item() == pytest.approx(max(math.exp(given), (error**2).mean()))
    if given == -100:
        # No other variance makes the batch more likely.
        def total(variance):
            return Normal(mean, variance**0.5).log_prob(x).sum().item()

        best = noise.exp()
        assert total(best) > max(total(0.99 * best), total(1.01 * best))


def test_an_exact_reconstruction_is_as_noisy_as_the_floor_says():
    x = torch.full((2, 1, 3, 3), 0.25)
    noise = noise_of_batch(torch.tensor(-math.inf), x, x)
    likelihood = likelihood_of("gaussian", noise_logvar=noise)
    assert likelihood.variance.item() == pytest.approx(MIN_NOISE_VARIANCE)
    log_p = likelihood.log_likelihood(x, x)
    expected = 9 * Normal(0.0, MIN_NOISE_VARIANCE**0.5).log_prob(torch.tensor(0.0))
    torch.testing.assert_close(log_p, expected.expand(2))


# Classes


def classes_of(generator, n_classes=4, n_components=3):
    """Means, log s^2 and log pi_y of some classes."""
    means = 2 * randn(n_classes, n_components, generator=generator)
    log_priors = torch.log_softmax(randn(n_classes, generator=generator), 0)
    return means, randn(n_components, generator=generator), log_priors


@torch.no_grad()
def prior_of(means, class_logvar, log_priors):
    prior = ClassNormals(means.shape[1], len(means)).to(means.dtype)
    for weight, value in zip(
        (prior.means, prior.logvar, prior.log_priors),
        (means, class_logvar, log_priors),
        strict=True,
    ):
        weight.copy_(value)
    return prior.requires_grad_(False)


def posterior_of(generator, n=50, n_components=3):
    mu = 2 * randn(n, n_components, generator=generator)
    return mu, randn(n, n_components, generator=generator)


def mixture_of(means, class_logvar, log_priors):
    components = Independent(Normal(means, torch.exp(class_logvar / 2).expand_as(means)), 1)
    return MixtureSameFamily(Categorical(logits=log_priors), components)


def test_logits_of_classes_are_prior_and_divergence(generator):
    (mu, logvar), classes = posterior_of(generator), classes_of(generator)
    logits = prior_of(*classes).class_logits(mu, logvar)
    means, class_logvar, log_priors = classes
    posterior = Normal(mu[:, None], torch.exp(logvar / 2)[:, None])
    divergence = oracle_kl(posterior, Normal(means, torch.exp(class_logvar / 2))).sum(2)
    torch.testing.assert_close(logits, log_priors - divergence)


def test_their_softmax_is_the_posterior_of_the_classes_at_the_mean(generator):
    (mu, logvar), classes = posterior_of(generator), classes_of(generator)
    means, class_logvar, log_priors = classes
    density = MultivariateNormal(means, torch.diag(class_logvar.exp())).log_prob(mu[:, None])
    expected = torch.softmax(log_priors + density, 1)
    logits = prior_of(*classes).class_logits(mu, logvar)
    torch.testing.assert_close(torch.softmax(logits, 1), expected)
    torch.testing.assert_close(torch.softmax(prior_of(*classes).log_joint(mu), 1), expected)


def test_the_joint_of_classes_is_that_of_a_mixture(generator):
    z, classes = posterior_of(generator)[0], classes_of(generator)
    mixture = mixture_of(*classes)
    log_joint = prior_of(*classes).log_joint(z)
    components = mixture.component_distribution.log_prob(z[:, None])
    torch.testing.assert_close(log_joint, mixture.mixture_distribution.logits + components)
    torch.testing.assert_close(prior_of(*classes).log_density(z), mixture.log_prob(z))


def monte_carlo_kl(mu, logvar, mixture, generator, n_draws=100_000):
    """KL(q(z|x) || p(z)) by draws from q, and its standard error, of each image."""
    posterior = Normal(mu, torch.exp(logvar / 2))
    noise = randn(n_draws, *mu.shape, generator=generator)
    z = posterior.loc + posterior.scale * noise
    ratio = posterior.log_prob(z).sum(2) - mixture.log_prob(z)
    return ratio.mean(0), ratio.std(0) / n_draws**0.5


@pytest.mark.parametrize("distance", [0.0, 0.5, 2.0, 200.0])
def test_with_the_class_summed_out_it_is_an_upper_bound(distance, generator):
    means, class_logvar, log_priors = classes_of(generator)
    means = distance * means
    mu, logvar = posterior_of(generator, 6)
    mu = means[torch.tensor([0, 1, 2, 3, 0, 1])] + 0.3 * mu
    kl, _ = prior_of(means, class_logvar, log_priors).kl(mu, logvar)
    mixture = mixture_of(means, class_logvar, log_priors)
    expected, error = monte_carlo_kl(mu, logvar, mixture, generator)
    assert (kl >= expected - 5 * error).all()
    if distance in (0.0, 200.0):  # one cluster, or one that q(z|x) meets: the bound is exact
        assert ((kl - expected).abs() <= 5 * error).all()
    else:
        assert (kl > expected + 5 * error).any()


def test_a_known_class_is_the_case_of_one_class(generator):
    (mu, logvar), (means, class_logvar, log_priors) = posterior_of(generator), classes_of(generator)
    y = torch.arange(50) % 5 - 1
    prior = prior_of(means, class_logvar, log_priors)
    kl, class_logits = prior.kl(mu, logvar, y)
    torch.testing.assert_close(class_logits, prior.class_logits(mu, logvar))
    for label in range(4):
        one = slice(label, label + 1)
        only = prior_of(means[one], class_logvar, log_priors[one])
        alone, _ = only.kl(mu, logvar)
        torch.testing.assert_close(kl[y == label], alone[y == label])
        known, _ = only.kl(mu, logvar, torch.zeros(50, dtype=torch.int64))
        torch.testing.assert_close(known, alone)
    everything, _ = prior.kl(mu, logvar)
    torch.testing.assert_close(kl[y < 0], everything[y < 0])
    # To know the class is to pay for one of the terms of a sum only.
    assert (kl >= everything).all()


def test_one_standard_class_is_no_class(generator):
    (mu, logvar), zeros = posterior_of(generator), torch.zeros(1, 3, dtype=torch.float64)
    prior, standard = prior_of(zeros, zeros[0], zeros[0, :1]), StandardNormal()
    for y in (None, torch.full((50,), -1), torch.zeros(50, dtype=torch.int64)):
        torch.testing.assert_close(prior.kl(mu, logvar, y)[0], standard.kl(mu, logvar, y)[0])
    torch.testing.assert_close(prior.log_density(mu), standard.log_density(mu))
    torch.testing.assert_close(prior.standardize(mu, logvar), standard.standardize(mu, logvar))


def test_label_losses_are_cross_entropies(generator):
    logits, y = randn(50, 4, generator=generator).requires_grad_(), torch.arange(50) % 5 - 1
    means, class_logvar, log_priors = classes_of(generator)
    prior, frequencies = prior_of(means, class_logvar, log_priors), torch.rand(4).double().log()

    def label_losses(logits, y):
        # The logits are those of equal frequencies here.
        return prior.label_losses(logits + log_priors - frequencies, y, frequencies)

    losses = label_losses(logits, y)
    expected = F.cross_entropy(logits, y, ignore_index=-1, reduction="none")
    torch.testing.assert_close(losses, expected)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), logits)[0])
    assert (gradient[y < 0] == 0).all()
    # A number that all classes share changes nothing.
    torch.testing.assert_close(label_losses(logits + randn(50, 1, generator=generator), y), losses)


def test_classes_stay_finite_far_from_all_of_them():
    mu, logvar = torch.full((2, 3), 1e6), torch.zeros(2, 3)
    means, zeros = torch.tensor([[0.0] * 3, [1.0] * 3]), torch.zeros(3)
    prior = prior_of(means, zeros, torch.tensor([0.5, 0.5]).log())
    kl, logits = prior.kl(mu, logvar)
    assert kl.isfinite().all()
    assert prior.label_losses(logits, torch.tensor([0, 1]), 0.0).isfinite().all()
    assert prior.label_losses(logits, torch.tensor([1, -1]), 0.0)[1] == 0


def test_sums_over_classes_in_the_precision_asked_for(generator):
    (mu, logvar), classes = posterior_of(generator, 2), classes_of(generator)
    prior, mu, logvar = prior_of(*classes).float(), mu.float(), logvar.float()
    assert prior.kl(mu, logvar)[0].dtype == torch.float32
    assert prior.kl(mu, logvar, dtype=torch.float64)[0].dtype == torch.float64


# Holes


def holes_of(x, generator):
    """x with NaN in holes: none in the first image, all of the second, about half of the others."""
    missing = torch.rand(x.shape, generator=generator) < 0.5
    missing[0], missing[1] = False, True
    return x.where(~missing, torch.nan)


def distribution_of(name, logits):
    std = NOISE_LOGVAR.exp().sqrt()
    return {
        "bernoulli": lambda: Bernoulli(logits=logits),
        "continuous_bernoulli": lambda: ContinuousBernoulli(logits=logits),
        "gaussian": lambda: Normal(logits, std),
    }[name]()


@pytest.mark.parametrize("log_jacobian", [(0.0,), (-1.5,), (-1.5, 0.25)])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_likelihood_of_an_image_with_holes_is_that_of_what_was_observed(
    name, log_jacobian, generator
):
    logits = 3 * randn(6, 2, 3, 4, generator=generator)
    x = holes_of(torch.rand(logits.shape, generator=generator).round().double(), generator)
    actual = likelihood_of(name, holes=True).log_likelihood(logits, x, log_jacobian)
    for i in range(6):
        expected = torch.zeros((), dtype=torch.float64)
        for c in range(2):
            seen = ~x[i, c].isnan()
            log_p = distribution_of(name, logits[i, c][seen]).log_prob(x[i, c][seen])
            expected += log_p.sum()
            if LIKELIHOODS[name].continuous:
                expected += seen.sum() * log_jacobian[c % len(log_jacobian)]
        torch.testing.assert_close(actual[i], expected)
    assert actual[1] == 0


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_complete_images_are_images_that_may_have_holes(name, generator):
    logits, x = randn(5, 3, 4, 4, generator=generator), torch.rand(5, 3, 4, 4).double()
    jacobians = (-1.5, 0.25, 3.0)
    likelihoods = [likelihood_of(name, holes) for holes in (False, True)]
    terms = [likelihood.log_likelihood(logits, x, jacobians) for likelihood in likelihoods]
    # The same numbers in the same order; only the Jacobian is added up in another one.
    torch.testing.assert_close(*terms, rtol=1e-14, atol=1e-13)
    for part, other in zip(*(each.squared_errors(logits, x) for each in likelihoods), strict=True):
        assert torch.equal(part, other)
    noises = [noise_of_batch(torch.tensor(-9.0), logits, x, holes) for holes in (False, True)]
    assert torch.equal(*noises)


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e18])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_holes_have_no_gradient(name, scale, generator):
    logits = scale * randn(6, 2, 3, 4, generator=generator).float()
    x = holes_of(torch.rand(6, 2, 3, 4, generator=generator), generator)
    logits.requires_grad_()
    likelihood = likelihood_of(name, True, NOISE_LOGVAR.float())
    log_p = likelihood.log_likelihood(logits, x)
    log_p.sum().backward()
    assert (logits.grad[x.isnan()] == 0).all()
    assert logits.grad.isfinite().all()
    assert (logits.grad[~x.isnan()] != 0).any()
    # What stands in the holes is nothing that the likelihood sees.
    other = torch.where(x.isnan(), -logits.detach(), logits.detach())
    assert torch.equal(
        likelihood.log_likelihood(other, x),
        log_p.detach(),
    )


def test_squared_errors_are_those_of_what_was_observed(generator):
    logits = randn(6, 2, 3, 4, generator=generator)
    x = holes_of(randn(6, 2, 3, 4, generator=generator), generator)
    error, n_observed = likelihood_of("gaussian", holes=True).squared_errors(logits, x)
    squares = np.square((x - logits).numpy())
    np.testing.assert_allclose(error, np.nansum(squares, (1, 2, 3)), rtol=1e-12)
    np.testing.assert_array_equal(n_observed, np.isfinite(squares).sum((1, 2, 3)))
    assert (n_observed[0], n_observed[1]) == (24, 0)
    # The mean over the pixels of the batch, not over its images.
    noise = noise_of_batch(torch.tensor(-100.0).double(), logits, x, holes=True)
    assert noise.exp().item() == pytest.approx(np.nanmean(squares))
    given = torch.tensor(-2.0).double()
    assert noise_of_batch(given, logits[1:2], x[1:2], holes=True) == given  # nothing was observed


def test_the_jacobian_of_an_image_counts_what_was_observed(generator):
    x = holes_of(randn(6, 3, 3, 4, generator=generator), generator)
    observed = ~x.isnan()
    each = np.array([-1.5, 0.25, 3.0])
    counts = observed.sum((2, 3)).numpy()
    for log_jacobian, expected, whole in (
        (tuple(each), counts @ each, 12 * each.sum()),
        ((0.3,), 0.3 * counts.sum(1), 36 * 0.3),
    ):
        for holes, of_each in ((True, expected), (False, [whole] * 6)):
            likelihood = likelihood_of("gaussian", holes)
            actual = likelihood.image_jacobian(x, log_jacobian, torch.float64)
            np.testing.assert_allclose(actual, of_each, rtol=1e-12)
