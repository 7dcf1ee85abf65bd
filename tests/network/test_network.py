"""Shapes, the mirror, gradients and weights of the network."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from nets import (
    GELU,
    ClassNormals,
    ConvVAE,
    default_n_stages,
    draw_weights,
    linear_network,
    pass_size,
    set_pixel_units,
)
from sklearn.decomposition import PCA
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal
from torch.distributions import Normal as NormalDistribution

from skvae._model import linear
from skvae._model.convolutions import Fold, Unfold, dense, stage_folds
from skvae._model.linear import LinearPath, solve_by_elimination
from skvae._model.vae import LEAST_PRECISION, reparametrize

SHAPES = [
    (1, 1, 1),
    (1, 1, 2),
    (1, 1, 10),
    (1, 1, 100),
    (1, 50, 1),
    (1, 8, 8),
    (1, 17, 31),
    (1, 28, 28),
    (3, 32, 32),
    (2, 5, 64),
    (1, 105, 105),
]


def build(image_shape, n_components=3, hidden_channels=None, hidden_units=8):
    if hidden_channels is None:
        hidden_channels = (64,) * default_n_stages(*image_shape[1:])
    module = ConvVAE(image_shape, n_components, hidden_channels, hidden_units)
    draw_weights(module, torch.Generator().manual_seed(0))
    set_pixel_units(module, torch.full(image_shape, 0.5), torch.full((image_shape[0], 1, 1), 0.3))
    module.start_at_logits(torch.full(image_shape[:1], 0.3))
    return module


@pytest.mark.parametrize("image_shape", SHAPES, ids=str)
@pytest.mark.parametrize("hidden_channels", [None, (4,), (4, 6), (4, 5, 6, 7)], ids=str)
def test_any_shape_goes_in_and_comes_out(image_shape, hidden_channels):
    module = build(image_shape, hidden_channels=hidden_channels)
    x = torch.rand(2, *image_shape)
    mu, logvar = module.encode(x)
    assert mu.shape == logvar.shape == (2, 3)
    assert module.decode(mu).shape == x.shape
    logits, mu2, logvar2 = module(x, torch.zeros(2, 3))
    assert module.terms(x, torch.zeros(2, 3)).class_logits is None
    torch.testing.assert_close(logits, module.decode(mu))
    torch.testing.assert_close((mu2, logvar2), (mu, logvar))


@pytest.mark.parametrize("image_shape", SHAPES, ids=str)
@pytest.mark.parametrize("hidden_channels", [None, (4, 5, 6)], ids=str)
def test_decoder_mirrors_the_encoder(image_shape, hidden_channels):
    module = build(image_shape, hidden_channels=hidden_channels)

    def convolutions(part):
        return [layer for layer in part if isinstance(layer, nn.Conv2d)]

    there = [(c.in_channels, c.out_channels, c.kernel_size) for c in convolutions(module.encoder)]
    back = [(c.out_channels, c.in_channels, c.kernel_size) for c in convolutions(module.decoder)]
    assert there == back[::-1]
    folds = [(f.rows, f.columns) for f in module.encoder if isinstance(f, Fold)]
    unfolds = [(f.rows, f.columns) for f in module.decoder if isinstance(f, Unfold)]
    assert folds == unfolds[::-1]


@pytest.mark.parametrize("image_shape", SHAPES, ids=str)
def test_every_parameter_gets_a_gradient(image_shape):
    module = build(image_shape, hidden_channels=(4, 4))
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(16, *image_shape, generator=generator)
    logits, mu, logvar = module(x, torch.randn(16, 3, generator=generator))
    (logits.square().sum() + mu.square().sum() + logvar.square().sum()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("image_shape", [(1, 17, 31), (3, 32, 32), (1, 1, 10)], ids=str)
def test_every_pixel_reaches_the_latents_and_every_latent_reaches_every_pixel(image_shape):
    module = build(image_shape)
    x = torch.rand(1, *image_shape, requires_grad=True)
    module.encode(x)[0].sum().backward()
    assert (x.grad != 0).all()
    jacobian = torch.autograd.functional.jacobian(module.decode, torch.randn(1, 3))
    assert (jacobian != 0).all()


def test_fold_is_pixel_unshuffle_and_unfold_its_inverse():
    x = torch.rand(2, 3, 8, 12)
    torch.testing.assert_close(Fold(4, 4)(x), nn.PixelUnshuffle(4)(x))
    torch.testing.assert_close(Unfold(4, 4)(Fold(4, 4)(x)), x)
    assert Fold(2, 3)(x).shape == (2, 18, 4, 4)
    torch.testing.assert_close(Unfold(2, 3)(Fold(2, 3)(x)), x)


@pytest.mark.parametrize("height", [1, 2, 7, 8, 28, 29, 105, 256])
@pytest.mark.parametrize("n_stages", [1, 2, 3, 6])
def test_folds_leave_at_most_seven_cells_and_waste_less_than_one_fold(height, n_stages):
    folds = [rows for rows, _ in stage_folds(height, 1, n_stages)]
    total = math.prod(folds)
    assert len(folds) == n_stages
    assert math.ceil(height / total) <= 7
    assert total == 1 or math.ceil(height / (total / 2)) > 7
    assert all(fold in (1, 2) for fold in folds[1:])


def test_one_stage_for_small_images_and_two_for_large_ones():
    sides = {8: 1, 28: 1, 32: 2, 64: 2, 105: 2, 224: 2}
    assert {side: default_n_stages(side, side) for side in sides} == sides


def test_reparametrised_draws_have_the_moments_of_the_posterior():
    mu, logvar = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, -2.0]])
    noise = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0))
    z = reparametrize(mu, logvar, noise)
    torch.testing.assert_close(z.mean(0), mu[0], atol=0.01, rtol=0)
    torch.testing.assert_close(z.var(0), logvar[0].exp(), atol=0.01, rtol=0)


def test_weights_come_from_the_generator_alone():
    before = torch.random.get_rng_state()
    with torch.device("meta"):
        module = ConvVAE((1, 8, 8), 3, (4,), 8)
    module = module.to_empty(device="cpu")
    draw_weights(module, torch.Generator().manual_seed(0))
    module.start_at_logits(torch.tensor([0.3]))
    torch.testing.assert_close(torch.random.get_rng_state(), before)
    again = build((1, 8, 8), hidden_channels=(4,))
    for (name, weight), other in zip(module.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(weight, other), name
    fan_in = module.encoder[1].weight[0].numel()
    assert module.encoder[1].weight.abs().max() <= 1 / math.sqrt(fan_in)


def test_weights_are_drawn_where_their_generator_is(monkeypatch):
    # torch refuses a generator of another device; "meta" stands for a GPU here.
    uniform = torch.Tensor.uniform_

    def checked(tensor, *args, generator):
        assert tensor.device == generator.device
        return uniform(tensor, *args, generator=generator)

    with torch.device("meta"):
        module = ConvVAE((1, 8, 8), 3, (4,), 8)
    monkeypatch.setattr(torch.Tensor, "uniform_", checked)
    draw_weights(module, torch.Generator().manual_seed(0))


def test_logits_of_each_channel_start_at_the_bias():
    module, expected = build((3, 8, 8)), torch.tensor([0.1, 0.5, -7.0])
    module.start_at_logits(expected.double())
    bias = module.decoder[-2].bias.reshape(3, -1)
    torch.testing.assert_close(bias, expected[:, None].expand_as(bias))


def test_reordered_components_are_the_same_model():
    module, x = build((1, 9, 8), n_components=4), torch.rand(5, 1, 9, 8)
    (mu, logvar), order = module.encode(x), torch.tensor([2, 0, 3, 1])
    logits = module.decode(mu)
    module.reorder_components(module.state_dict(), order)
    torch.testing.assert_close(module.encode(x), (mu[:, order], logvar[:, order]))
    torch.testing.assert_close(module.decode(mu[:, order]), logits)


# The linear path, and the start at probabilistic PCA


def linear_path(image_shape, n_components=3, seed=0, holes=False):
    """A linear path whose matrices and gates are random."""
    path = LinearPath(image_shape, n_components, holes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in path.state_dict().values():
            tensor.normal_(generator=generator)
    return path


def block_means(x, blocks):
    """Means over blocks of the last two axes, by NumPy; those at the border may be smaller."""
    for axis, size in zip((-2, -1), blocks, strict=True):
        starts = np.arange(0, x.shape[axis], size)
        counts = np.diff([*starts, x.shape[axis]])
        x = np.add.reduceat(x, starts, axis)
        x = x / (counts[:, None] if axis == -2 else counts)
    return x


LINEAR_SHAPES = {
    (1, 1, 1): (1, 1),
    (3, 5, 4): (1, 1),
    (1, 1, 300): (1, 3),
    (1, 128, 129): (1, 2),
    (2, 130, 257): (2, 3),
}


@pytest.mark.parametrize(("image_shape", "blocks"), LINEAR_SHAPES.items(), ids=str)
def test_the_linear_path_is_two_matrix_products(image_shape, blocks):
    path, (_, height, width) = linear_path(image_shape), image_shape
    x = torch.rand(4, *image_shape, generator=torch.Generator().manual_seed(1))
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
    numbers = {name: tensor.double().numpy() for name, tensor in path.state_dict().items()}
    coarse = block_means(x.double().numpy(), blocks)
    with torch.no_grad():
        np.testing.assert_allclose(path.coarse(x), coarse.reshape(4, -1), rtol=1e-5)
        mu = (coarse.reshape(4, -1) - numbers["mean"]) @ numbers["encoder"].T
        mu *= numbers["encoder_gate"]
        np.testing.assert_allclose(path.encode(x), mu, rtol=1e-3, atol=1e-3)
        logits = (z.numpy() * numbers["decoder_gate"]) @ numbers["decoder"].T + numbers["bias"]
        logits = logits.reshape(coarse.shape).repeat(blocks[0], 2).repeat(blocks[1], 3)
        decoded = path.decode(z)
    assert decoded.shape == x.shape
    np.testing.assert_allclose(decoded, logits[..., :height, :width], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("image_shape", "blocks"), LINEAR_SHAPES.items(), ids=str)
def test_a_constant_picture_is_constant_on_the_linear_path(image_shape, blocks):
    path = linear_path(image_shape)
    cells = [math.ceil(side / size) for side, size in zip(image_shape[1:], blocks, strict=True)]
    coarse = path.coarse(torch.full((2, *image_shape), 0.3))
    assert coarse.shape == (2, image_shape[0] * math.prod(cells))
    torch.testing.assert_close(coarse, torch.full_like(coarse, 0.3))
    path.decoder.zero_()
    path.bias.fill_(0.3)
    torch.testing.assert_close(path.decode(torch.ones(2, 3)), torch.full((2, *image_shape), 0.3))


def build_gaussian(image_shape, n_components, hidden_channels=(4,)):
    """A network with a linear path, whose weights are all random."""
    module = ConvVAE(
        image_shape, n_components, hidden_channels, 8, linear_path=True, likelihood="gaussian"
    )
    generator = torch.Generator().manual_seed(0)
    draw_weights(module, generator)
    with torch.no_grad():
        for tensor in (*module.linear.state_dict().values(), module.mu_unit, module.logit_unit):
            tensor.normal_(generator=generator)
        module.likelihood.noise_logvar.fill_(-1.0)
    return module


@pytest.fixture(scope="module")
def low_rank():
    """400 pictures of 4 x 5 pixels in 2 channels: three directions, and noise."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((400, 3)) * [3.0, 2.0, 1.0]
    x = 0.5 + 0.05 * factors @ rng.standard_normal((3, 40))
    return x + 0.02 * rng.standard_normal(x.shape)


def start_at(pca, image_shape, n_components):
    """A network that starts at what scikit-learn has found."""
    module = build_gaussian(image_shape, n_components)
    tensors = pca.mean_, pca.components_.T, pca.explained_variance_
    tensors = [torch.from_numpy(np.ascontiguousarray(part)).float() for part in tensors]
    module.start_at(linear_network(*tensors, float(pca.noise_variance_)))
    return module


def oracle_of(pca, rows):
    """Mean and variance of p(z|x), and E[x|z = mean], of probabilistic PCA.

    From the joint normal distribution of x and z, with scikit-learn's model of the covariance.
    """
    loadings = pca.components_.T * np.sqrt(pca.explained_variance_ - pca.noise_variance_)
    gain = pca.get_precision() @ loadings
    mu = (rows - pca.mean_) @ gain
    covariance = np.eye(len(pca.components_)) - loadings.T @ gain
    return mu, np.diag(covariance), pca.mean_ + mu @ loadings.T


@pytest.mark.parametrize("n_components", [1, 3, 5])
def test_an_untrained_gaussian_network_is_probabilistic_pca(low_rank, n_components):
    pca = PCA(n_components).fit(low_rank)
    module = start_at(pca, (2, 4, 5), n_components)
    x = torch.from_numpy(low_rank).float().reshape(-1, 2, 4, 5)
    mu, variances, means = oracle_of(pca, low_rank)
    with torch.no_grad():
        actual, logvar = module.encode(x)
        np.testing.assert_allclose(actual, mu, atol=1e-4)
        np.testing.assert_allclose(module.decode(actual).flatten(1), means, atol=1e-5)
        # Drawn weights let sigma vary a little over the images; without them it is exact.
        np.testing.assert_allclose(logvar.exp(), np.tile(variances, (400, 1)), rtol=0.3)
        module.logvar_head.weight.zero_()
        logvar = module.encode(x)[1]
        # Where the axis is hardly more than noise, a little less than the prior is kept.
        expected = np.minimum(variances, 1 / (1 + LEAST_PRECISION))
        np.testing.assert_allclose(logvar.exp(), np.tile(expected, (400, 1)), rtol=1e-4)


def test_components_without_an_axis_tell_nothing(low_rank):
    pca = PCA(3).fit(low_rank)
    module, few = (start_at(pca, (2, 4, 5), k) for k in (5, 3))
    x = torch.from_numpy(low_rank).float().reshape(-1, 2, 4, 5)
    with torch.no_grad():
        mu, logvar = module.encode(x)
        torch.testing.assert_close(mu[:, :3], few.encode(x)[0])
        assert (mu[:, 3:] == 0).all()
        assert 0.95 < logvar[:, 3:].exp().min() <= logvar[:, 3:].exp().max() < 1
        logits = module.decode(mu)
        torch.testing.assert_close(logits, few.decode(mu[:, :3]))
        mu[:, 3:] = 7
        torch.testing.assert_close(module.decode(mu), logits)
    assert all(weight.isfinite().all() for weight in module.state_dict().values())


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
@pytest.mark.parametrize("make", [build, build_gaussian])
def test_a_posterior_is_never_wider_than_the_prior(make, scale):
    module = make((1, 8, 8), 4)
    with torch.no_grad():
        module.logvar_head.weight *= scale
        _, logvar = module.encode(torch.randn(200, 1, 8, 8))
    assert (logvar <= 0).all()
    assert logvar.isfinite().all()


def test_every_parameter_of_a_gaussian_network_gets_a_gradient():
    module = build_gaussian((2, 9, 8), 3)
    logits, mu, logvar = module(torch.rand(16, 2, 9, 8), torch.randn(16, 3))
    (logits.square().sum() + mu.square().sum() + logvar.square().sum()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    # The matrices are no parameters: they do not learn.
    learning = {name for name, _ in module.linear.named_parameters()}
    assert learning == {"encoder_gate", "decoder_gate"}


def test_reordered_components_are_the_same_gaussian_model():
    module, x = build_gaussian((2, 9, 8), 4), torch.rand(5, 2, 9, 8)
    order, z = torch.tensor([2, 0, 3, 1]), torch.randn(5, 4)
    noise = module.likelihood.noise_logvar.clone()
    with torch.no_grad():
        (mu, logvar), logits = module.encode(x), module.decode(z)
        module.reorder_components(module.state_dict(), order)
        torch.testing.assert_close(module.encode(x), (mu[:, order], logvar[:, order]))
        torch.testing.assert_close(module.decode(z[:, order]), logits)
    assert torch.equal(module.likelihood.noise_logvar, noise)


# The label decoder


def label_decoder(n_components=3, n_classes=4):
    """A label decoder in float64 with random weights."""
    decoder, generator = ClassNormals(n_components, n_classes).double(), torch.Generator()
    generator.manual_seed(0)
    with torch.no_grad():
        decoder.means.normal_(generator=generator)
        decoder.logvar.normal_(generator=generator)
    priors = np.random.default_rng(0).dirichlet(np.ones(n_classes))
    decoder.set_priors(priors)
    return decoder, priors


def mixture_of(decoder, priors):
    """p(z), by torch.distributions."""
    scale = torch.exp(decoder.logvar / 2).expand_as(decoder.means)
    components = Independent(NormalDistribution(decoder.means, scale), 1)
    return MixtureSameFamily(Categorical(torch.from_numpy(priors)), components)


def build_with_classes(n_components=4, n_classes=3):
    module = ConvVAE((1, 9, 8), n_components, (4,), 8, linear_path=True, n_classes=n_classes)
    generator = torch.Generator().manual_seed(0)
    draw_weights(module, generator)
    with torch.no_grad():
        for tensor in (*module.linear.state_dict().values(), module.mu_unit, module.logit_unit):
            tensor.normal_(generator=generator)
        module.prior.means.normal_(generator=generator)
        module.prior.logvar.normal_(generator=generator)
    module.prior.set_priors(np.arange(1, n_classes + 1) * 2 / (n_classes**2 + n_classes))
    return module


def test_the_label_decoder_is_discriminant_analysis():
    decoder, priors = label_decoder()
    z = torch.randn(40, 3, generator=torch.Generator().manual_seed(1)).double()
    covariance = torch.diag(decoder.logvar.exp())
    density = MultivariateNormal(decoder.means, covariance).log_prob(z[:, None])
    expected = density + torch.from_numpy(priors).log()
    torch.testing.assert_close(decoder.log_joint(z), expected)
    # The spread of the posterior does not change p(y|z) at its mean.
    for logvar in (torch.zeros_like(z), z.flip(1)):
        logits = decoder.class_logits(z, logvar)
        torch.testing.assert_close(torch.softmax(logits, 1), torch.softmax(expected, 1))
    # Differences between classes are linear in z.
    odds = expected - expected[:, :1]
    slope = (decoder.means - decoder.means[:1]) / decoder.logvar.exp()
    torch.testing.assert_close(odds - odds[:1], (z - z[:1]) @ slope.T)


def test_moments_of_the_label_decoder_are_those_of_the_mixture():
    decoder, priors = label_decoder()
    mixture = mixture_of(decoder, priors)
    torch.testing.assert_close(decoder.moments(), (mixture.mean, mixture.variance))


def test_priors_are_set_as_logs():
    decoder, priors = label_decoder()
    torch.testing.assert_close(decoder.log_priors.exp(), torch.from_numpy(priors))
    assert {name for name, _ in decoder.named_parameters()} == {"means", "logvar"}


def test_the_prior_of_a_network():
    module, z = build_with_classes(), torch.randn(20, 4, generator=torch.Generator())
    priors = np.array([1, 2, 3]) / 6
    with torch.no_grad():
        expected = mixture_of(module.prior.double(), priors).log_prob(z.double())
        torch.testing.assert_close(
            module.prior.log_density(z).double(), expected, check_dtype=False
        )
        plain = build((1, 8, 8))
        expected = NormalDistribution(0.0, 1.0).log_prob(z[:, :3]).sum(1)
        torch.testing.assert_close(plain.prior.log_density(z[:, :3]), expected)


def test_standardised_draws_have_mean_0_and_variance_1_under_the_prior():
    module, priors = build_with_classes().double(), np.array([1, 2, 3]) / 6
    mixture = mixture_of(module.prior, priors)
    mu, logvar = torch.randn(2, 5, 4).double()
    with torch.no_grad():
        new_mu, new_logvar = module.prior.standardize(mu, logvar)
        torch.testing.assert_close(new_mu, (mu - mixture.mean) / mixture.variance.sqrt())
        expected = torch.exp(logvar / 2) / mixture.variance.sqrt()
        torch.testing.assert_close(torch.exp(new_logvar / 2), expected)
        # Of draws from p(z), too: a law that needs no formula.
        rng = np.random.default_rng(0)
        codes, noise = rng.choice(3, 100_000, p=priors), rng.standard_normal((100_000, 4))
        decoder = module.prior
        z = decoder.means[codes] + torch.exp(decoder.logvar / 2) * torch.from_numpy(noise)
        new, _ = module.prior.standardize(z, torch.zeros_like(z))
    zeros, ones = torch.zeros(4).double(), torch.ones(4).double()
    torch.testing.assert_close(new.mean(0), zeros, atol=5 / 100_000**0.5, rtol=0)
    torch.testing.assert_close(new.var(0), ones, atol=5 * (2 / 100_000) ** 0.5, rtol=0)
    # Without classes p(z) is standard already.
    plain = build((1, 8, 8))
    mu, logvar = mu.float(), logvar.float()
    same = plain.prior.standardize(mu[:, :3], logvar[:, :3])
    assert torch.equal(same[0], mu[:, :3])
    assert torch.equal(same[1], logvar[:, :3])


def test_a_network_with_classes_tells_their_logits():
    module, x, noise = build_with_classes(), torch.rand(5, 1, 9, 8), torch.randn(5, 4)
    with torch.no_grad():
        logits, mu, logvar = module(x, noise)
        class_logits = module.terms(x, noise).class_logits
        torch.testing.assert_close((mu, logvar), module.encode(x))
        torch.testing.assert_close(logits, module.decode(mu + torch.exp(logvar / 2) * noise))
        torch.testing.assert_close(class_logits, module.prior.class_logits(mu, logvar))
    assert class_logits.shape == (5, 3)


def test_every_parameter_of_a_network_with_classes_gets_a_gradient():
    module = build_with_classes()
    draw = module(torch.rand(16, 1, 9, 8), torch.randn(16, 4))
    logits, class_logits = draw.logits, module.prior.class_logits(draw.mu, draw.logvar)
    (logits.square().sum() + class_logits.square().sum()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_reordered_components_are_the_same_classes():
    module, x = build_with_classes(), torch.rand(5, 1, 9, 8)
    order, z = torch.tensor([2, 0, 3, 1]), torch.randn(5, 4)
    decoder = module.prior
    with torch.no_grad():
        class_logits, log_joint = module.terms(x, z).class_logits, decoder.log_joint(z)
        means, logvar = decoder.means.clone(), decoder.logvar.clone()
        module.reorder_components(module.state_dict(), order)
        torch.testing.assert_close(module.terms(x, z[:, order]).class_logits, class_logits)
        torch.testing.assert_close(decoder.log_joint(z[:, order]), log_joint)
    assert torch.equal(decoder.means, means[:, order])
    assert torch.equal(decoder.logvar, logvar[order])


def test_classes_start_at_given_means_and_variance_1():
    module = build_with_classes()
    means = torch.randn(3, 4)
    module.prior.start_at(means)
    assert torch.equal(module.prior.means.detach(), means)
    assert (module.prior.logvar == 0).all()


# Holes


def linear_with_holes(image_shape, n_components, n_axes, seed=0):
    """A network that starts at a linear one, and that network: W, m and s^2 in float64.

    Components beyond `n_axes` are those of the prior.
    """
    rng, n_numbers = np.random.default_rng(seed), math.prod(image_shape)
    axes = np.linalg.qr(rng.standard_normal((n_numbers, n_axes)))[0]
    variances, noise = np.sort(rng.uniform(0.2, 3, n_axes))[::-1].copy(), 0.05
    mean = rng.uniform(size=n_numbers)
    tensors = (torch.from_numpy(part).float() for part in (mean, axes, variances))
    module = ConvVAE(
        image_shape, n_components, (4,), 8, linear_path=True, holes=True, likelihood="gaussian"
    )
    draw_weights(module, torch.Generator().manual_seed(seed))
    module.start_at(linear_network(*tensors, noise))
    with torch.no_grad():
        module.mean_image.copy_(torch.from_numpy(rng.uniform(size=image_shape)))
        module.pixel_scale.fill_(1.0)
    weights = np.zeros((n_numbers, n_components))
    weights[:, :n_axes] = axes * np.sqrt(variances - noise)
    return module, weights, mean, noise


def conditional_means(weights, mean, noise, rows):
    """E[z|observed x] of probabilistic PCA, row by row; NaN is missing."""
    expected = np.zeros((len(rows), weights.shape[1]))
    for i, row in enumerate(rows):
        seen = ~np.isnan(row)
        W = weights[seen]
        M = W.T @ W + noise * np.eye(W.shape[1])
        expected[i] = np.linalg.solve(M, W.T @ (row[seen] - mean[seen]))
    return expected


def images_with_holes(image_shape, seed=0):
    """Images with no, all, a single, half and nearly all pixels missing."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(6, *image_shape)).astype(np.float32)
    for image, share in zip(x[3:], (0.5, 0.5, 0.9), strict=True):
        image[rng.uniform(size=image_shape) < share] = np.nan
    x[1] = np.nan
    x[2].flat[0] = np.nan
    return x


@pytest.mark.parametrize(
    ("image_shape", "n_components", "n_axes"),
    [
        ((1, 4, 5), 3, 3),
        ((1, 4, 5), 1, 1),
        ((3, 4, 3), 4, 4),
        ((3, 4, 3), 5, 2),
        ((1, 1, 9), 8, 8),
        ((1, 1, 1), 2, 0),
    ],
)
def test_the_linear_path_gives_the_posterior_mean_of_what_was_observed(
    image_shape, n_components, n_axes
):
    module, weights, mean, noise = linear_with_holes(image_shape, n_components, n_axes)
    x = images_with_holes(image_shape)
    with torch.no_grad():
        mu, logvar = module.encode(torch.from_numpy(x))
    expected = conditional_means(weights, mean, noise, x.reshape(6, -1).astype(np.float64))
    # The matrices are float32; where little was observed, their rounding is divided by s^2.
    np.testing.assert_allclose(mu, expected, rtol=1e-4, atol=1e-4)
    assert (mu[1] == 0).all()  # the mean of the prior
    assert logvar.isfinite().all()
    assert (mu[:, n_axes:] == 0).all()


@pytest.mark.parametrize("n_rows", [0, 5])
def test_elimination_solves_what_a_linear_path_asks_for(n_rows):
    # Even where images tell next to nothing: I - A^T A V with the largest eigenvalue near 0.
    rng = torch.Generator().manual_seed(0)
    A = torch.rand(n_rows, 6, 20, generator=rng, dtype=torch.float64) / 8
    V = torch.logspace(-3, 1, 6, dtype=torch.float64)
    gram = A @ A.mT
    scale = torch.linalg.eigvals(gram * V).abs().amax(1)[:, None, None] + 1e-6
    system = torch.eye(6) - gram * V / scale
    b = torch.rand(n_rows, 6, generator=rng, dtype=torch.float64)
    x = solve_by_elimination(system, b)
    torch.testing.assert_close((system @ x[:, :, None])[:, :, 0], b, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(x, torch.linalg.solve(system, b), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("image_shape", LINEAR_SHAPES, ids=str)
def test_without_holes_the_linear_path_is_the_same(image_shape):
    path = linear_path(image_shape, holes=True)
    plain = linear_path(image_shape)
    weights = path.state_dict()
    weights.pop("variances")
    plain.load_state_dict(weights)
    x = torch.rand(3, *image_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(path.encode(x, torch.ones_like(x)), plain.encode(x))
        assert torch.equal(path.encode(x), plain.encode(x))


@pytest.mark.parametrize("image_shape", [(1, 1, 300), (2, 130, 257)], ids=str)
def test_blocks_of_large_pictures_are_missing_where_all_their_pixels_are(image_shape):
    # A picture of the blocks is the same to the path as a picture of pixels that are as large.
    blocks = LINEAR_SHAPES[image_shape]
    path = linear_path(image_shape, holes=True)
    with torch.no_grad():
        for name in ("encoder", "variances"):  # so that the matrix is that of a posterior
            getattr(path, name).mul_(0.01)
        path.variances.abs_()
    small = LinearPath(path.coarse_shape, 3, True)
    small.load_state_dict(path.state_dict())
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(4, *path.coarse_shape, generator=generator)
    seen = (torch.rand(coarse.shape, generator=generator) < 0.5).float()
    _, height, width = image_shape

    def large(x):
        x = x.repeat_interleave(blocks[0], 2).repeat_interleave(blocks[1], 3)
        return x[..., :height, :width]

    with torch.no_grad():
        mu = path.encode(large(coarse), large(seen))
        torch.testing.assert_close(mu, small.encode(coarse, seen), rtol=1e-4, atol=1e-4)


def test_the_posterior_of_many_images_in_parts(monkeypatch):
    module, *_ = linear_with_holes((3, 4, 3), 4, 4)
    x = torch.from_numpy(np.concatenate([images_with_holes((3, 4, 3), seed) for seed in range(3)]))
    with torch.no_grad():
        together = module.encode(x)
        for numbers in (1, 3 * 144, 5 * 144 + 1):
            monkeypatch.setattr(linear, "MAX_GRAM_NUMBERS", numbers)
            torch.testing.assert_close(module.encode(x), together)


def test_the_convolutions_see_deviations_and_which_pixels_there_are():
    module = ConvVAE((2, 6, 5), 3, (4,), 8, holes=True)
    draw_weights(module, torch.Generator().manual_seed(0))
    seen = []
    module.encoder.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        module.mean_image.copy_(torch.rand(2, 6, 5))
        module.pixel_scale.fill_(2.0)
        x = torch.from_numpy(images_with_holes((2, 6, 5)))
        mu, logvar = module.encode(x)
    observed = ~x.isnan()
    expected = torch.cat([(x - module.mean_image).nan_to_num(), observed.float() - 1], 1)
    torch.testing.assert_close(seen[0][..., :6, :5], 2 * expected, rtol=0, atol=0)
    assert mu.isfinite().all()
    assert logvar.isfinite().all()
    assert module.decode(mu).shape == x.shape
    # That all pixels of a picture are the mean ones is not that they are missing.
    with torch.no_grad():
        mean, missing = module.mean_image[None], torch.full((1, 2, 6, 5), torch.nan)
        assert not torch.equal(module.encode(mean)[0], module.encode(missing)[0])


@pytest.mark.parametrize("linear", [False, True])
def test_every_parameter_gets_a_finite_gradient_from_images_with_holes(linear):
    if linear:
        module, *_ = linear_with_holes((2, 6, 5), 3, 2)
        for layer in (module.mu_head, module.decoder[-2]):  # which start at 0
            nn.init.uniform_(layer.weight, -0.1, 0.1)
    else:
        module = ConvVAE((2, 6, 5), 3, (4,), 8, holes=True)
        draw_weights(module, torch.Generator().manual_seed(0))
        module.mean_image.fill_(0.5)
        module.pixel_scale.fill_(1.0)
    x = torch.from_numpy(images_with_holes((2, 6, 5)))
    logits, mu, logvar, *_ = module(x, torch.randn(6, 3))
    (logits.square().sum() + mu.square().sum() + logvar.square().sum()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_reordered_components_are_the_same_model_of_images_with_holes():
    module, *_ = linear_with_holes((1, 4, 5), 4, 3)
    with torch.no_grad():
        module.linear.encoder_gate.uniform_(0.5, 1.5)
    x, order = torch.from_numpy(images_with_holes((1, 4, 5))), torch.tensor([2, 0, 3, 1])
    mu, logvar = module.encode(x)
    module.reorder_components(module.state_dict(), order)
    torch.testing.assert_close(module.encode(x), (mu[:, order], logvar[:, order]))


# Rows that do not depend on their place


def dense_products(n_components, image_shape=(1, 28, 28), hidden_units=256, n_channels=64):
    """(numbers out, numbers in) of each dense product of a network with a linear path."""
    sizes = image_shape, n_components, (n_channels,), hidden_units
    module = ConvVAE(*sizes, linear_path=True, holes=True)
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    assert len(layers) == 5
    matrices = [layer.weight for layer in layers]
    matrices += [module.linear.encoder, module.linear.decoder]
    return sorted({tuple(matrix.shape) for matrix in matrices})


@pytest.mark.parametrize("n_components", [1, 3, 10, 32])
@pytest.mark.parametrize("image_shape", [(1, 8, 8), (1, 28, 28), (3, 17, 5)], ids=str)
@pytest.mark.parametrize("n_channels", [32, 64])
def test_a_row_of_a_dense_product_has_the_same_bits_at_every_place(
    n_components, image_shape, n_channels
):
    generator = torch.Generator().manual_seed(0)
    for n_out, n_in in dense_products(n_components, image_shape, n_channels=n_channels):
        weight, bias = torch.randn(n_out, n_in, generator=generator), torch.randn(n_out)
        for n in (1, 2, 4, 8, 16, 32, 64, 128):
            x = torch.randn(1, n_in, generator=generator).repeat(n, 1)  # one row at every place
            y = dense(x, weight, bias)
            assert (y == y[:1]).all(), (n_out, n_in, n)
            torch.testing.assert_close(y, x @ weight.T + bias, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (1, 200, 3), (3, 64, 64), (3, 512, 512), (3, 1024, 1024)]
)
def test_passes_have_as_many_rows_as_dense_products_want(shape):
    size = pass_size(shape)
    assert size in {1, 32, 64, 128}
    assert size == 1 or size * math.prod(shape) <= 2**22


def test_images_with_holes_have_the_same_bits_at_every_place(monkeypatch):
    module, *_ = linear_with_holes((3, 4, 3), 4, 4)
    x = torch.from_numpy(images_with_holes((3, 4, 3)))[3:4].repeat(16, 1, 1, 1)
    x[5] = x[5].flip(1)
    places = torch.arange(16) != 5
    for numbers in (1, 3 * 144, 5 * 144 + 1, 2**24):
        monkeypatch.setattr(linear, "MAX_GRAM_NUMBERS", numbers)
        with torch.no_grad():
            mu = module.encode(x)[0][places]
        assert (mu == mu[:1]).all()


# An activation without subnormal numbers


def test_the_activation_is_gelu_with_an_exact_zero_as_slope_of_its_tail():
    x = torch.linspace(-20, 20, 4_001, dtype=torch.float64).requires_grad_()
    y = GELU()(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    distribution = torch.from_numpy(scipy.stats.norm.cdf(x.detach().numpy()))
    torch.testing.assert_close(y[x > -4], (x * distribution)[x > -4])
    torch.testing.assert_close(y, x * distribution, rtol=0, atol=2e-4)
    assert (slope[x < -4] == 0).all()
    assert (slope[(x > -4) & (x < -1)].abs() > 1e-4).all()
