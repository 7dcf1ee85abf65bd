"""Default epochs and sizes of batches: one budget of work for all images."""

import numpy as np
import pytest
import torch
from nets import ConvVAE, default_n_stages
from torch.utils.flop_counter import FlopCounterMode

from skvae._model.weights import n_products
from skvae._training.budget import (
    ENCODER_SHARE,
    N_STEPS,
    PRODUCTS_PER_IMAGE,
    PRODUCTS_PER_NUMBER,
    WORK,
    default_budget,
    resolve_budget,
)


def architecture(*image_shape, n_components=10, n_channels=64):
    return {
        "image_shape": image_shape,
        "n_components": n_components,
        "hidden_channels": (n_channels,) * default_n_stages(*image_shape[1:]),
        "hidden_units": 256,
    }


SHAPES = [(1, 28, 28), (1, 8, 8), (3, 64, 64), (1, 1, 256), (5, 32, 32), (3, 256, 256), (2, 1, 1)]


@pytest.mark.parametrize("image_shape", SHAPES, ids=str)
@pytest.mark.parametrize("linear_path", [False, True])
def test_products_are_those_that_torch_counts(image_shape, linear_path):
    sizes = {**architecture(*image_shape), "linear_path": linear_path}
    module = ConvVAE(**sizes)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module.decode(module.encode(torch.zeros(1, *image_shape))[0])
    # Zeros that fill up a sum count there.
    assert n_products(**sizes) == pytest.approx(counter.get_total_flops() / 2, rel=0.02, abs=1e4)


@pytest.mark.parametrize("image_shape", SHAPES, ids=str)
def test_half_of_the_products_are_the_encoders(image_shape):
    sizes = architecture(*image_shape)
    module = ConvVAE(**sizes)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module.encode(torch.zeros(1, *image_shape))
    share = counter.get_total_flops() / 2 / n_products(**sizes)
    assert share == pytest.approx(ENCODER_SHARE, abs=0.03)


def test_images_that_only_the_encoder_sees_are_paid_for_by_epochs():
    sizes = architecture(1, 28, 28)
    plain, consistent, few = (
        resolve_budget(None, "auto", 60_000, sizes, **labels).n_epochs
        for labels in (
            {"consistency": 0.0, "few_labels": False},
            {"consistency": 1.0, "few_labels": False},
            {"consistency": 1.0, "few_labels": True},
        )
    )
    beside = PRODUCTS_PER_IMAGE + PRODUCTS_PER_NUMBER * 28 * 28
    work = plain * (n_products(**sizes) + beside)
    # An image and its map; and half an image with a label: 64 beside 128.
    for n_epochs, n_passes in ((consistent, 1.5), (few, 1.75)):
        cost = n_passes * n_products(**sizes) + beside
        assert n_epochs == pytest.approx(work / cost, abs=0.9)


@pytest.mark.parametrize("n_components", [2, 10, 20])
def test_mnist_has_20_epochs_of_128_and_clothes_have_11(n_components):
    sizes = architecture(1, 28, 28, n_components=n_components, n_channels=32)
    assert default_budget(60_000, sizes) == (20, 128)
    beside_linear = {**sizes, "hidden_channels": (64,), "linear_path": True}
    assert default_budget(60_000, beside_linear) == (11, 128)


@pytest.mark.parametrize("image_shape", SHAPES, ids=str)
@pytest.mark.parametrize("n_images", [1, 20, 500, 5_000, 60_000, 10**6, 10**8])
def test_no_fit_takes_more_than_the_budget_or_one_epoch(image_shape, n_images):
    sizes = architecture(*image_shape)
    n_epochs, batch_size = default_budget(n_images, sizes)
    beside = PRODUCTS_PER_IMAGE + PRODUCTS_PER_NUMBER * int(np.prod(image_shape))
    work = n_images * (n_products(**sizes) + beside)
    assert 1 <= n_epochs <= 200
    assert n_epochs == 1 or n_epochs * work <= 1.5 * WORK
    assert n_epochs == 200 or (n_epochs + 1) * work > 0.9 * WORK
    assert batch_size in (16, 32, 64, 128)
    n_steps = n_epochs * n_images / batch_size
    assert batch_size == 16 or n_steps >= N_STEPS
    assert batch_size == 128 or n_steps < 2 * N_STEPS
