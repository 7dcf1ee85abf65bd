"""Shapes, the mirror, gradients and weights of the network."""

import math

import pytest
import torch
from torch import nn

from skvae._network import (
    ConvVAE,
    Fold,
    Unfold,
    default_hidden_channels,
    draw_weights,
    reorder_components,
    reparametrize,
    stage_folds,
    start_at_logits,
)

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
        hidden_channels = default_hidden_channels(*image_shape[1:])
    module = ConvVAE(image_shape, n_components, hidden_channels, hidden_units)
    draw_weights(module, torch.Generator().manual_seed(0))
    start_at_logits(module, torch.full(image_shape[:1], 0.3))
    return module


@pytest.mark.parametrize("image_shape", SHAPES, ids=str)
@pytest.mark.parametrize("hidden_channels", [None, (4,), (4, 6), (4, 5, 6, 7)], ids=str)
def test_any_shape_goes_in_and_comes_out(image_shape, hidden_channels):
    module = build(image_shape, hidden_channels=hidden_channels)
    x = torch.rand(2, *image_shape)
    mu, logvar = module.encode(x)
    assert mu.shape == logvar.shape == (2, 3)
    assert module.decode(mu).shape == x.shape
    logits, mu2, logvar2, noise_logvar = module(x, torch.zeros(2, 3))
    assert noise_logvar is None
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
    logits, mu, logvar, _ = module(x, torch.randn(16, 3, generator=generator))
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


def test_one_stage_for_each_halving_beyond_the_first_two():
    sides = {8: 1, 28: 1, 32: 2, 64: 3, 105: 3, 224: 4}
    assert {side: len(default_hidden_channels(side, side)) for side in sides} == sides


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
    start_at_logits(module, torch.tensor([0.3]))
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
    start_at_logits(module, expected.double())
    bias = module.decoder[-2].bias.reshape(3, -1)
    torch.testing.assert_close(bias, expected[:, None].expand_as(bias))


def test_reordered_components_are_the_same_model():
    module, x = build((1, 9, 8), n_components=4), torch.rand(5, 1, 9, 8)
    (mu, logvar), order = module.encode(x), torch.tensor([2, 0, 3, 1])
    logits = module.decode(mu)
    reorder_components(module.state_dict(), order)
    torch.testing.assert_close(module.encode(x), (mu[:, order], logvar[:, order]))
    torch.testing.assert_close(module.decode(mu[:, order]), logits)
