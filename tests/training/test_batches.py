"""Batches: every image once, noise that belongs to its image."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from nets import (
    SETTINGS,
    ImageDataset,
    ImageFormat,
    PixelNoise,
    Processes,
    TrainSettings,
    batches,
    generator_for,
    pass_size,
)

from skvae._data.dataset import binary_draw
from skvae._data.labels import scarce
from skvae._model.noise import EPOCH, NOISE_TABLE_SIZE, uniform_draws
from skvae._training.batches import (
    N_LABELLED,
    EpochBatches,
    ScoringBatches,
    batches_of,
    random_order,
)

FORMAT = ImageFormat((2, 2), -1, (0.0, 255.0), True)
ALONE = Processes()
MANY, FEW = np.arange(40) % 4 - 1, np.where(np.arange(40) % 3 == 1, np.arange(40) % 4, -1)


class OneOf(Processes):
    """One of several processes, for what each does by itself."""

    def __init__(self, rank, size):
        self.group, self.rank, self.size = None, rank, size


def dataset(n, indices=None, labels=None):
    """n images, told apart by their pixels."""
    rows = np.arange(4 * n, dtype=np.uint8).reshape(n, 4)
    return ImageDataset(rows, FORMAT, indices, labels=labels)


def settings_of(**changed):
    """Settings of a training: batches of 8 images, unless they are `changed`."""
    return TrainSettings(**{**SETTINGS, "batch_size": 8, **changed})


def whole(batch):
    """A batch as one part."""
    parts = list(batch)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def epoch(data, number=0, *, batch_size=8, seed=0, binarize=False, augment=0.0, processes=ALONE):
    """The batches of an epoch."""
    generator = generator_for(seed, EPOCH, number)
    settings = settings_of(batch_size=batch_size, binarize=binarize, augment=augment)
    batches = EpochBatches(data, settings, 3, generator, processes)
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
    (batch,) = (whole(batch) for batch, _ in ScoringBatches(data, noise, "cpu", ALONE))
    assert torch.equal(batch["x"], data[:])
    assert torch.equal(batch["noise"], noise(data[:]))


@pytest.mark.parametrize(
    ("image_shape", "expected"),
    [
        ((1, 8, 8), 128),
        ((3, 104, 105), 128),
        ((1, 256, 256), 64),
        ((3, 512, 512), 1),
        ((3, 4_000, 4_000), 1),
    ],
)
def test_large_images_go_through_a_network_in_small_numbers(image_shape, expected):
    # Never more than 128 images or 2^22 numbers, but one image at least.
    assert pass_size(image_shape) == expected
    assert pass_size(image_shape[::-1]) == expected
    image_format = ImageFormat(image_shape[1:] + image_shape[:1], -1, (0.0, 255.0), True)
    data = ImageDataset(np.broadcast_to(np.uint8(0), (300, np.prod(image_shape))), image_format)
    assert [part.start for part in data.passes()] == list(range(0, 300, expected))
    assert [part.stop for part in data.passes()] == [*range(expected, 300, expected), 300]


@pytest.mark.parametrize("binarize", [False, True])
def test_a_large_batch_comes_in_parts_that_memory_can_hold(binarize, limit_passes):
    limit_passes(3, 4 * 4)  # four images
    generator = generator_for(0, EPOCH, 0)
    batches = EpochBatches(
        dataset(20), settings_of(batch_size=10, binarize=binarize), 3, generator, ALONE
    )
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
    sizes = [len(batch) for batch, _ in ScoringBatches(dataset(8), PixelNoise(3, 0), "cpu", ALONE)]
    assert sizes == [1] * 8


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


def test_a_set_without_some_images():
    data = dataset(40, labels=MANY).without(np.array([39, 0, 17]))
    kept = np.setdiff1d(np.arange(40), [0, 17, 39])
    np.testing.assert_array_equal(place_of(data[:]), kept)
    np.testing.assert_array_equal(data.y, MANY[kept])
    np.testing.assert_array_equal(place_of(data.at(slice(3, 30, 5))[:]), kept[3:30:5])


# The order of an epoch


@pytest.mark.parametrize("n", [7, 64, 65, 1_000, 1_037])
def test_the_order_of_many_images(n, monkeypatch):
    monkeypatch.setattr(batches, "MAX_SHUFFLED", 64)
    monkeypatch.setattr(batches, "BLOCK", 10)
    monkeypatch.setattr(batches, "N_BLOCKS_MIXED", 4)
    generator = torch.Generator().manual_seed(0)
    windows = list(random_order(n, generator))
    order = np.concatenate(windows)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    other = np.concatenate(list(random_order(n, generator)))
    assert not np.array_equal(order, other)
    if n <= 64:
        assert len(windows) == 1
        return
    assert max(map(len, windows)) == 40
    for window in windows:
        assert len(np.unique(window // 10)) <= 4
        # Mixed within the window, not block after block.
        assert np.mean(np.diff(window) == 1) < 0.2
    # The blocks of a window are not neighbours of each other.
    assert any(np.ptp(window) > 200 for window in windows) == (n > 200)


@pytest.mark.parametrize("sizes", [[5, 5, 5], [1, 9, 2], [16], [3, 3], [8, 8]])
def test_batches_of_windows(sizes):
    numbers = np.arange(sum(sizes))
    some = list(batches_of(np.split(numbers, np.cumsum(sizes)[:-1]), 4))
    np.testing.assert_array_equal(np.concatenate(some), numbers)
    assert [len(batch) for batch in some[:-1]] == [4] * (len(some) - 1)


def test_each_image_counts_once_in_an_epoch_of_many(monkeypatch):
    monkeypatch.setattr(batches, "MAX_SHUFFLED", 16)
    monkeypatch.setattr(batches, "BLOCK", 4)
    monkeypatch.setattr(batches, "N_BLOCKS_MIXED", 2)
    parts = epoch(dataset(50), batch_size=6)
    assert [len(part["x"]) for part in parts] == [6] * 8 + [2]
    places = place_of(torch.cat([part["x"] for part in parts]))
    np.testing.assert_array_equal(np.sort(places), np.arange(50))


# The shares of several processes


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("labels", ["none", "many", "few"])
@pytest.mark.parametrize("binarize", [False, True])
@pytest.mark.parametrize("in_parts", [False, True])
def test_shares_add_up_to_the_batch(size, labels, binarize, in_parts, limit_passes):
    def set_limits(n_images):
        if in_parts:
            limit_passes(1, 4 * n_images)

    data = dataset(40, labels={"none": None, "many": MANY, "few": FEW}[labels])
    settings = {"batch_size": 13, "binarize": binarize}
    set_limits(6)
    expected = labelled_batches(data, **settings)
    set_limits(6 // size)  # so that the parts of all processes are those of one
    shares = [labelled_batches(data, **settings, processes=OneOf(r, size)) for r in range(size)]
    for (batch, parts, labelled), *others in zip(expected, *shares, strict=True):
        for other, _, _ in others:
            assert (len(other), other.n_labelled) == (len(batch), batch.n_labelled)
        # 40 = 3 * 13 + 1: of the last batch, only the first process gets an image.
        for whole_parts, which in ((parts, 1), (labelled, 2)):
            assert len({len(other[which]) for other in others}) <= 1
            for name in whole_parts[0] if whole_parts else ():
                together = torch.cat([part[name] for part in whole_parts])
                for r, other in enumerate(others):
                    own = torch.cat([part[name] for part in other[which]])
                    assert torch.equal(own, together[r::size])


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("labels", ["none", "few"])
@pytest.mark.parametrize("binarize", [False, True])
def test_draws_belong_to_the_batch_however_it_is_divided(size, labels, binarize, limit_passes):
    data = dataset(40, labels={"none": None, "few": FEW}[labels])
    settings = {"batch_size": 13, "binarize": binarize, "consistency": float(labels == "few")}
    expected = labelled_batches(data, **settings)
    limit_passes(1, 4 * 2)  # two images of each process
    shares = [labelled_batches(data, **settings, processes=OneOf(r, size)) for r in range(size)]
    for (_, (part,), labelled), *others in zip(expected, *shares, strict=True):
        for r, (_, parts, further) in enumerate(others):
            for whole_part, divided in ((part, parts), *((each, further) for each in labelled)):
                for name, tensor in whole_part.items():
                    assert torch.equal(torch.cat([p[name] for p in divided]), tensor[r::size])
            assert len(parts) == 1 if len(part["x"]) == 1 else len(parts) > 2


@pytest.mark.parametrize("binarize", [False, True])
@pytest.mark.parametrize("n_in_a_pass", [4, 100])
def test_parts_can_be_read_again_in_any_order(binarize, n_in_a_pass, limit_passes):
    limit_passes(1, 4 * n_in_a_pass)
    settings = {"batch_size": 10, "binarize": binarize, "augment": 0.5, "consistency": 0.5}
    data, generator = dataset(30, labels=FEW[:30]), generator_for(0, EPOCH, 0)
    once = labelled_batches(data, **settings)
    settings = settings_of(**settings, few_labels=True)
    batches = EpochBatches(data, settings, 3, generator, ALONE)
    for (batch, _), (_, parts, labelled) in zip(batches, once, strict=True):
        for sequence, first_read in ((batch.parts, parts), (batch.labelled, labelled)):
            n = len(sequence)
            assert n == len(first_read)
            for i in [*range(n), *reversed(range(n)), -1]:
                for name, tensor in first_read[i].items():
                    assert torch.equal(sequence[i][name], tensor)
            with pytest.raises(IndexError):
                sequence[n]


@pytest.mark.parametrize("labels", [None, MANY])
def test_shares_of_validation_add_up(labels):
    data, noise = dataset(40, labels=labels), PixelNoise(3, 0)
    ((batch, _),) = ScoringBatches(data, noise, "cpu", ALONE)
    (part,) = batch
    for rank in range(3):
        ((other, _),) = ScoringBatches(data, noise, "cpu", OneOf(rank, 3))
        assert (len(other), other.n_labelled) == (40, batch.n_labelled)
        for name, tensor in part.items():
            assert torch.equal(next(iter(other))[name], tensor[rank::3])
    one = ScoringBatches(dataset(1), noise, "cpu", OneOf(2, 3))
    ((batch, _),) = one
    assert next(iter(batch))["noise"].shape == (0, 3)


# Labels


def place_of(x):
    """Which images of `dataset` these are, by their first pixel."""
    return (x[:, 0, 0, 0] * 255 / 4).round().long().numpy()


def labelled_batches(
    data, number=0, *, batch_size=8, binarize=False, augment=0.0, processes=ALONE, consistency=0.0
):
    """The batches of an epoch, and the parts of each."""
    generator = generator_for(0, EPOCH, number)
    settings = settings_of(
        batch_size=batch_size,
        binarize=binarize,
        augment=augment,
        few_labels=scarce(data.y),
        consistency=consistency,
    )
    batches = EpochBatches(data, settings, 3, generator, processes)
    return [(batch, list(batch), list(batch.labelled)) for batch, _ in batches]


def test_labels_belong_to_their_images_in_every_subset():
    data = dataset(40, labels=MANY)
    positions = np.array([7, 3, 3, 30])
    assert data.y is MANY
    np.testing.assert_array_equal(data.at(positions).y, MANY[positions])
    np.testing.assert_array_equal(data.at(positions).at(slice(1, 3)).y, MANY[[3, 3]])
    np.testing.assert_array_equal(data.at(positions).binarized(0).y, MANY[positions])
    np.testing.assert_array_equal(data.subsample().y, MANY)
    large = ImageDataset(np.zeros((5_000, 4)), FORMAT, labels=np.arange(5_000))
    sample = large.subsample()
    np.testing.assert_array_equal(sample.y, sample.indices)
    assert dataset(40).y is dataset(40).at(positions).y is None


@pytest.mark.parametrize("labels", [MANY, FEW], ids=["many", "few"])
@pytest.mark.parametrize("subset", [False, True])
def test_labels_follow_their_images_into_every_batch(labels, subset):
    data = dataset(40, labels=labels)
    data = data.at(np.arange(1, 35)) if subset else data
    seen = 0
    for batch, parts, further in labelled_batches(data):
        for part in [*parts, *further]:
            assert part["y"].dtype == torch.int64
            np.testing.assert_array_equal(part["y"], labels[place_of(part["x"])])
        assert batch.n_labelled == sum((part["y"] >= 0).sum() for part in parts)
        seen += len(batch)
    assert seen == len(data)


@pytest.mark.parametrize("labels", [MANY, FEW], ids=["many", "few"])
def test_labels_follow_their_images_into_the_scores(labels, limit_passes):
    limit_passes(7)
    data = dataset(40, labels=labels).at(np.arange(3, 38))
    for batch, _ in ScoringBatches(data, PixelNoise(3, 0), "cpu", ALONE):
        (part,) = batch
        np.testing.assert_array_equal(part["y"], labels[place_of(part["x"])])
        assert batch.n_labelled == (part["y"] >= 0).sum()
        assert list(batch.labelled) == []


@pytest.mark.parametrize(
    ("n_labelled", "extra"), [(0, False), (1, True), (19, True), (20, False), (40, False)]
)
def test_further_labelled_images_come_if_labels_are_scarce(n_labelled, extra):
    labels = np.where(np.arange(40) < n_labelled, 0, -1)
    assert scarce(labels) == (n_labelled < 20)
    for _, _, further in labelled_batches(dataset(40, labels=labels)):
        assert sum(len(part["x"]) for part in further) == N_LABELLED * extra


@pytest.mark.parametrize("n_classes", [1, 2, 3, 7, 64])
def test_each_class_is_equally_frequent_among_them(n_classes):
    # The first class has most of the labels, each other one has a single image.
    labels = np.full(200, -1)
    labels[:10] = 0
    labels[100 : 100 + n_classes - 1] = np.arange(1, n_classes)
    # Codes that no image has are no classes here.
    labels[labels >= 0] += 3
    totals = np.zeros(n_classes, int)
    for number in range(6):
        for _, _, further in labelled_batches(data_of(labels), number, batch_size=50):
            y = torch.cat([part["y"] for part in further]).numpy()
            assert len(y) == N_LABELLED
            counts = np.bincount(y - 3, minlength=n_classes)
            assert counts.max() - counts.min() <= 1
            totals += counts
    # Who gets one more changes from step to step.
    assert N_LABELLED % n_classes == 0 or totals.max() - totals.min() < 24


def data_of(labels):
    """Images that tell their place by two pixels."""
    places = np.arange(len(labels))
    rows = np.stack([places // 256, places % 256, 0 * places, 0 * places], 1).astype(np.uint8)
    return ImageDataset(rows, FORMAT, labels=labels)


def test_further_images_are_labelled_ones_and_each_comes_up():
    labels = np.where(np.arange(300) % 5 == 2, np.arange(300) % 3, -1)
    data, seen = data_of(labels), set()
    for number in range(10):
        for _, _, further in labelled_batches(data, number, batch_size=100):
            x = torch.cat([part["x"] for part in further])
            pixels = (255 * x[:, 0, 0]).round().long().numpy()
            seen |= set((256 * pixels[:, 0] + pixels[:, 1]).tolist())
    assert seen == set(np.flatnonzero(labels >= 0).tolist())


def test_further_images_come_in_parts_that_memory_can_hold(limit_passes):
    limit_passes(3, 10 * 4)
    for _, _, further in labelled_batches(dataset(40, labels=FEW)):
        assert [len(part["x"]) for part in further] == [10] * 6 + [4]
        assert all(part.keys() == {"x", "y"} for part in further)


def test_further_images_are_binarised_too():
    for _, _, further in labelled_batches(dataset(40, labels=FEW), binarize=True):
        assert all(set(part["x"].unique().tolist()) == {0, 1} for part in further)


@pytest.mark.parametrize("binarize", [False, True])
def test_labels_that_bring_no_further_images_change_no_bit(binarize):
    plain = labelled_batches(dataset(40), binarize=binarize)
    for labels in (MANY, np.full(40, -1), np.zeros(40, int)):
        batches = labelled_batches(dataset(40, labels=labels), binarize=binarize)
        for (_, (part,), _), (batch, (expected,), further) in zip(batches, plain, strict=True):
            assert torch.equal(part["x"], expected["x"])
            assert torch.equal(part["noise"], expected["noise"])
            assert expected.keys() == {"x", "noise"}
            assert (batch.n_labelled, list(further)) == (0, [])


def test_batches_without_labels_are_as_they_were():
    # By hand: the order first, then the noise of each batch.
    generator = generator_for(0, EPOCH, 0)
    order = torch.randperm(20, generator=generator)
    for (_, (part,), _), some in zip(labelled_batches(dataset(20)), order.split(8), strict=True):
        assert torch.equal(part["x"], dataset(20)[some.numpy()])
        assert torch.equal(part["noise"], torch.randn(len(some), 3, generator=generator))


# Holes


def test_binary_draws_leave_holes():
    x = torch.rand(400, 1, 3, 4, generator=torch.Generator().manual_seed(1))
    holes = torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.4
    draws = uniform_draws(x.shape, torch.Generator().manual_seed(0))
    drawn = binary_draw(x.where(~holes, torch.nan), draws)
    assert torch.equal(drawn.isnan(), holes)
    seen = drawn[~holes]
    assert set(seen.tolist()) == {0.0, 1.0}
    p = x[~holes]
    error = (p * (1 - p)).sum().sqrt() / len(p)
    assert abs(seen.mean() - p.mean()) < 4 * error
    assert torch.equal(binary_draw(x, draws), (draws < x).float())


def test_a_binarised_image_with_holes_depends_on_what_was_observed():
    rng = np.random.default_rng(0)
    holes, rows = rng.uniform(size=(9, 4)) < 0.5, rng.uniform(0, 255, (9, 4))
    formats = [replace(FORMAT, missing_values=marker) for marker in (np.nan, -7)]
    one, other = (
        ImageDataset(np.where(holes, f.missing_values, rows), f, binarize_seed=0) for f in formats
    )
    drawn = one[:]
    np.testing.assert_array_equal(drawn.isnan().flatten(1), holes)
    np.testing.assert_array_equal(drawn, other[:])
    order = rng.permutation(9)
    np.testing.assert_array_equal(other[order], drawn[order])


SIDE = 41
PLACES = np.arange(SIDE, dtype=np.float32) - SIDE // 2


def spots(labels=FEW):
    """40 images with a soft spot in the middle of a black square."""
    spot = np.exp(-np.add.outer(PLACES**2, PLACES**2) / 8)
    rows = np.repeat((255 * spot).astype(np.uint8).reshape(1, -1), 40, 0)
    return ImageDataset(rows, replace(FORMAT, shape=(SIDE, SIDE)), labels=labels)


@pytest.mark.parametrize("labels", [MANY, FEW], ids=["many", "few"])
def test_each_image_comes_with_its_map(labels):
    # Images of one value each: a map of such an image is the image.
    rows = np.repeat(np.arange(40, dtype=np.uint8)[:, None], 4, 1)
    data = ImageDataset(rows, FORMAT, labels=labels)
    for _, parts, further in labelled_batches(data, consistency=1.0):
        for part in [*parts, *further]:
            torch.testing.assert_close(part["mapped"], part["x"])
    # Other images differ from their maps, by what the generator draws.
    data = dataset(40, labels=labels)
    first, again, second = (
        [
            part["mapped"]
            for _, parts, _ in labelled_batches(data, n, consistency=1.0)
            for part in parts
        ]
        for n in (0, 0, 1)
    )
    plain = [part["x"] for _, parts, _ in labelled_batches(data) for part in parts]
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], second[0])
    assert not torch.isclose(first[0], plain[0]).all((1, 2, 3)).any()


def test_of_further_labelled_images_a_quarter_is_plain_and_the_maps_of_others_twice_as_strong(
    monkeypatch,
):
    # Covers would move the centre of what is seen.
    monkeypatch.setattr(batches, "covered", lambda x, draws, largest: x)
    # Rotation, scale and shear leave a spot in the middle there. Shifts move it by up to 5 % of the
    # side, which the other maps change by a fifth at most.
    side, data, places = SIDE, spots(), PLACES

    def farthest(parts):
        x = np.concatenate([part["mapped"] for part in parts])[:, 0]
        mass = x.sum((1, 2))
        return max(np.abs(x.sum(axis) @ places / mass).max() for axis in (1, 2))

    seen = list(labelled_batches(data, consistency=1.0))
    assert 0.04 * side < farthest([part for _, parts, _ in seen for part in parts]) < 0.06 * side
    assert 0.08 * side < farthest([part for *_, parts in seen for part in parts]) < 0.14 * side
    for *_, (part,) in seen:
        unchanged = torch.isclose(part["mapped"], part["x"]).all((1, 2, 3))
        assert unchanged[: N_LABELLED // 4].all()
        assert not unchanged[N_LABELLED // 4 :].any()


def heights_of_covers(parts):
    """Of the covers of the spots of these parts; 0 where nothing is covered."""
    heights = []
    for image in torch.cat([part["mapped"] for part in parts])[:, 0].numpy():
        # A cover is not black, and all of it has the same colour.
        colours, counts = np.unique(image[image > 0], return_counts=True)
        cover = image == colours[counts.argmax()]
        heights.append(cover.any(1).sum() if counts.max() > 20 else 0)
    return heights


@pytest.mark.parametrize("consistency", [0.4, 1.0])
def test_maps_are_covered_by_up_to_the_strength_in_shares_of_a_side(consistency):
    seen = list(labelled_batches(spots(), consistency=consistency))
    of_all = [part for _, parts, _ in seen for part in parts]
    of_labelled = [part for *_, parts in seen for part in parts]
    for parts in (of_all, of_labelled):
        highest = max(heights_of_covers(parts))
        assert 0.7 * consistency * SIDE < highest <= consistency * SIDE + 1


def test_nothing_is_covered_if_many_labels_are_known():
    parts = [
        part for _, parts, _ in labelled_batches(spots(MANY), consistency=1.0) for part in parts
    ]
    assert not any(heights_of_covers(parts))


@pytest.mark.parametrize("holes", [False, True])
def test_processes_see_the_same_maps_of_labelled_images_as_one(holes):
    data = dataset(40, labels=FEW)
    if holes:
        rows = np.where(data.rows % 5 == 0, np.nan, data.rows)
        data = ImageDataset(rows, replace(FORMAT, missing_values=np.nan), labels=FEW)
    alone = [part["mapped"] for *_, (part,) in labelled_batches(data, consistency=1.0)]
    for rank in (0, 1):
        several = labelled_batches(data, consistency=1.0, processes=OneOf(rank, 2))
        shares = [part["mapped"] for *_, (part,) in several]
        for share, all_of_them in zip(shares, alone, strict=True):
            torch.testing.assert_close(share, all_of_them[rank::2], equal_nan=True)


def test_maps_are_those_of_grey_images_and_come_after_other_maps():
    data = dataset(40, labels=FEW)
    settings = {"binarize": True, "augment": 0.5, "consistency": 1.0}
    ((_, (part,), _), *_) = labelled_batches(data, batch_size=40, **settings)
    assert set(part["x"].unique().tolist()) <= {0, 1}
    assert not set(part["mapped"].unique().tolist()) <= {0, 1}


def test_without_maps_nothing_is_drawn_for_them():
    data = dataset(40, labels=FEW)
    for _, parts, further in labelled_batches(data):
        assert all(part.keys() == {"x", "noise", "y"} for part in parts)
        assert all(part.keys() == {"x", "y"} for part in further)
    generators = [generator_for(0, EPOCH, 0) for _ in range(2)]
    for generator, consistency in zip(generators, (0.0, 1.0), strict=True):
        settings = settings_of(few_labels=True, consistency=consistency)
        list(EpochBatches(data, settings, 3, generator, ALONE))
    assert not torch.equal(*(generator.get_state() for generator in generators))
