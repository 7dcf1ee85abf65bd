"""Batches: every image once, noise that belongs to its image."""

import numpy as np
import pytest
import torch

from skvae._batches import EpochBatches, ImageDataset, PixelNoise, ScoringBatches, generator_for
from skvae._images import ImageFormat

FORMAT = ImageFormat((2, 2), -1, (0.0, 255.0), True)


def dataset(n, indices=None):
    """n images, told apart by their pixels."""
    rows = np.arange(4 * n, dtype=np.uint8).reshape(n, 4)
    return ImageDataset(rows, FORMAT, indices)


def epoch(batches):
    return [batch for batch, _ in batches]


@pytest.mark.parametrize("n", [1, 7, 8, 9, 17])
def test_every_image_counts_once_in_every_epoch(n):
    data = dataset(n)
    batches = EpochBatches(data, 8, 3, seed=0, first_epoch=0, binarize=False, device="cpu")
    seen = [torch.cat([batch["x"] for batch in epoch(batches)]) for _ in range(2)]
    for x in seen:
        order = x[:, 0, 0, 0].argsort()
        torch.testing.assert_close(x[order], data[:])
    if n > 8:
        assert not torch.equal(*seen)


@pytest.mark.parametrize("binarize", [False, True])
def test_epochs_depend_on_seed_and_number_alone(binarize):
    def numbered(seed, first_epoch):
        return EpochBatches(dataset(9), 4, 3, seed, first_epoch, binarize, "cpu")

    resumed = numbered(5, 2)
    uninterrupted = numbered(5, 0)
    epochs = [epoch(uninterrupted) for _ in range(3)]
    for batch, expected in zip(epoch(resumed), epochs[2], strict=True):
        assert torch.equal(batch["x"], expected["x"])
        assert torch.equal(batch["noise"], expected["noise"])
    assert not torch.equal(epochs[0][0]["noise"], epochs[1][0]["noise"])
    assert not torch.equal(epoch(numbered(6, 2))[0]["noise"], epochs[2][0]["noise"])


def test_binarised_anew_at_every_showing():
    rows = np.full((4_000, 4), 51, np.uint8)  # a fifth of 255
    data = ImageDataset(rows, FORMAT)
    batches = EpochBatches(data, 128, 3, seed=0, first_epoch=0, binarize=True, device="cpu")
    first, second = (torch.cat([batch["x"] for batch in epoch(batches)]) for _ in range(2))
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
    assert torch.equal(data.thinned()[:], x)
    assert not torch.equal(dataset(60).binarized(seed=2)[:], x)


def test_a_subset_holds_its_rows_in_order():
    data = dataset(10, np.array([3, 5, 8]))
    assert len(data) == 3
    torch.testing.assert_close(data[:], dataset(10)[np.array([3, 5, 8])])
    batches = epoch(ScoringBatches(data, 2, PixelNoise(3, 0), "cpu"))
    torch.testing.assert_close(torch.cat([batch["x"] for batch in batches]), data[:])


def test_thinned_is_spread_over_the_set():
    rows = np.zeros((25_001, 4), np.uint8)
    indices = ImageDataset(rows, FORMAT).thinned().indices
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
    assert noise[1:].flatten() @ noise[:-1].flatten() / n < 4 / n**0.5


def test_generators_of_different_uses_differ():
    draws = {
        torch.rand(1, generator=generator_for(s, u, e)).item()
        for s in range(3)
        for u in range(3)
        for e in range(3)
    }
    assert len(draws) == 27
