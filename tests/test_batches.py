"""Batches: every image once, noise that belongs to its image."""

import numpy as np
import pytest
import torch

from skvae import _batches
from skvae._batches import (
    EPOCH,
    NOISE_TABLE_SIZE,
    EpochBatches,
    ImageDataset,
    PixelNoise,
    ScoringBatches,
    generator_for,
    pass_size,
)
from skvae._images import ImageFormat

FORMAT = ImageFormat((2, 2), -1, (0.0, 255.0), True)


def dataset(n, indices=None):
    """n images, told apart by their pixels."""
    rows = np.arange(4 * n, dtype=np.uint8).reshape(n, 4)
    return ImageDataset(rows, FORMAT, indices)


def whole(batch):
    """A batch as one part."""
    parts = list(batch)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def epoch(data, number=0, *, batch_size=8, seed=0, binarize=False):
    """The batches of an epoch."""
    generator = generator_for(seed, EPOCH, number)
    batches = EpochBatches(data, batch_size, 3, generator, binarize, "cpu")
    return [whole(batch) for batch, _ in batches]


@pytest.mark.parametrize("n", [1, 7, 8, 9, 17])
def test_every_image_counts_once_in_every_epoch(n):
    data = dataset(n)
    seen = [torch.cat([batch["x"] for batch in epoch(data, number)]) for number in range(2)]
    for x in seen:
        order = x[:, 0, 0, 0].argsort()
        torch.testing.assert_close(x[order], data[:])
    if n > 8:
        assert not torch.equal(*seen)


@pytest.mark.parametrize("binarize", [False, True])
def test_an_epoch_depends_on_its_generator_alone(binarize):
    params = {"batch_size": 4, "binarize": binarize}
    first, again, second = (epoch(dataset(9), number, seed=5, **params) for number in (2, 2, 3))
    for batch, expected in zip(again, first, strict=True):
        assert torch.equal(batch["x"], expected["x"])
        assert torch.equal(batch["noise"], expected["noise"])
    assert not torch.equal(second[0]["noise"], first[0]["noise"])
    assert not torch.equal(epoch(dataset(9), 2, seed=6, **params)[0]["noise"], first[0]["noise"])


def test_binarised_anew_at_every_showing():
    rows = np.full((4_000, 4), 51, np.uint8)  # a fifth of 255
    data = ImageDataset(rows, FORMAT)
    first, second = (
        torch.cat([batch["x"] for batch in epoch(data, number, batch_size=128, binarize=True)])
        for number in range(2)
    )
    assert set(first.unique().tolist()) == {0, 1}
    for x in (first, second):
        assert abs(x.mean() - 0.2) < 4 * 0.4 / 16_000**0.5
    # As often both light as two independent draws.
    assert abs((first * second).mean() - 0.04) < 4 * 0.2 / 16_000**0.5


def test_binarised_once_for_each_image():
    data = dataset(60).binarized(seed=1)
    x, order = data[:], np.random.default_rng(0).permutation(60)
    assert set(x.unique().tolist()) == {0, 1}
    assert torch.equal(data[order], x[order])
    assert torch.equal(data[7:8], x[7:8])
    assert torch.equal(data.subsample()[:], x)
    assert not torch.equal(dataset(60).binarized(seed=2)[:], x)


def test_a_subset_holds_its_rows_in_order():
    data = dataset(10, np.array([3, 5, 8]))
    assert len(data) == 3
    torch.testing.assert_close(data[:], dataset(10)[np.array([3, 5, 8])])
    noise = PixelNoise(3, 0)
    (batch,) = (whole(batch) for batch, _ in ScoringBatches(data, noise, "cpu"))
    assert torch.equal(batch["x"], data[:])
    assert torch.equal(batch["noise"], noise(data[:]))


@pytest.mark.parametrize(
    ("image_shape", "expected"),
    [
        ((1, 8, 8), 128),
        ((3, 104, 105), 128),
        ((1, 256, 256), 64),
        ((3, 512, 512), 5),
        ((3, 4_000, 4_000), 1),
    ],
)
def test_large_images_go_through_a_network_in_small_numbers(image_shape, expected):
    # Never more than 128 images or 2^22 numbers, but one image at least.
    assert pass_size(image_shape) == expected
    assert pass_size(image_shape[::-1]) == expected
    image_format = ImageFormat(image_shape[1:] + image_shape[:1], -1, (0.0, 255.0), True)
    data = ImageDataset(np.broadcast_to(np.uint8(0), (300, np.prod(image_shape))), image_format)
    assert data.pass_size == expected
    assert [part.start for part in data.passes()] == list(range(0, 300, expected))
    assert [part.stop for part in data.passes()] == [*range(expected, 300, expected), 300]


@pytest.mark.parametrize("binarize", [False, True])
def test_a_large_batch_comes_in_parts_that_memory_can_hold(binarize, monkeypatch):
    monkeypatch.setattr(_batches, "MAX_PASS_IMAGES", 3)
    monkeypatch.setattr(_batches, "MAX_PASS_NUMBERS", 4 * 4)  # four images
    generator = generator_for(0, EPOCH, 0)
    batches = EpochBatches(dataset(20), 10, 3, generator, binarize, "cpu")
    sizes, images = [], []
    for batch, _ in batches:
        parts = list(batch)
        assert len(batch) == sum(len(part["x"]) for part in parts) == 10
        assert all(part["noise"].shape == (len(part["x"]), 3) for part in parts)
        sizes.append([len(part["x"]) for part in parts])
        images += [part["x"] for part in parts]
    assert sizes == [[4, 4, 2], [4, 4, 2]]
    if not binarize:
        x = torch.cat(images)
        torch.testing.assert_close(x[x[:, 0, 0, 0].argsort()], dataset(20)[:])
    sizes = [len(batch) for batch, _ in ScoringBatches(dataset(8), PixelNoise(3, 0), "cpu")]
    assert sizes == [3, 3, 2]


def test_a_subsample_is_spread_over_the_set():
    rows = np.zeros((25_001, 4), np.uint8)
    indices = ImageDataset(rows, FORMAT).subsample().indices
    assert 1_500 < len(indices) <= 2_048
    assert indices[-1] > 24_980
    assert len(set(np.diff(indices))) == 1


def test_rows_are_not_changed_and_may_be_read_only(tmp_path):
    path = tmp_path / "images"
    np.arange(40, dtype=np.uint8).tofile(path)
    rows = np.memmap(path, np.uint8, "r", shape=(10, 4))
    x = ImageDataset(rows, FORMAT)[2:4]
    x += 1
    np.testing.assert_array_equal(rows[2:4].ravel(), np.arange(8, 16))


def test_noise_belongs_to_the_pixels():
    x = torch.rand(200, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    noise = PixelNoise(3, seed=1)(x)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    assert torch.equal(PixelNoise(3, seed=1)(x[order]), noise[order])
    assert torch.equal(PixelNoise(3, seed=1)(x[7:8]), noise[7:8])
    assert not torch.equal(PixelNoise(3, seed=2)(x), noise)


def test_noise_of_different_images_is_independent_and_normal():
    # Images that differ in one grey level of one pixel are as far apart as any.
    x = torch.zeros(4_096, 1, 3, 4)
    levels = torch.arange(16) / 255
    x[:, 0, 0, :3] = torch.cartesian_prod(levels, levels, levels)
    noise = PixelNoise(4, seed=0)(x)
    # Throwing 4,096 balls into 16,384 bins hits about 3,624 of them.
    assert len(torch.unique(noise, dim=0)) > 3_500
    n = noise.numel()
    assert abs(noise.mean()) < 4 / n**0.5
    assert abs(noise.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs(noise[1:].flatten() @ noise[:-1].flatten() / n) < 4 / n**0.5


def test_errors_average_out_as_far_as_images_take_different_rows():
    # The mean noise of n images that take rows of a table with m rows at random has the variance
    # 1 / n + 1 / m: it falls with n, but never below that of the whole table.
    n, n_components = 4 * NOISE_TABLE_SIZE, 64
    x = torch.zeros(n, 1, 1, 3)
    x[:, 0, 0, :2] = torch.cartesian_prod(torch.arange(256.0), torch.arange(256.0)) / 255
    mean_square = PixelNoise(n_components, seed=3)(x).mean(0).square().mean().item()
    expected = 1 / n + 1 / NOISE_TABLE_SIZE
    assert abs(mean_square / expected - 1) < 4 * (2 / n_components) ** 0.5


def test_generators_of_different_uses_differ():
    draws = {
        torch.rand(1, generator=generator_for(s, u, e)).item()
        for s in range(3)
        for u in range(3)
        for e in range(3)
    }
    assert len(draws) == 27
