"""Small random affine maps of images, and covered parts."""

import numpy as np
import pytest
import torch
from conftest import fit, fit_classifier
from nets import affine_maps, covered, mapped
from scipy import integrate, ndimage
from skorch.callbacks import Callback


def draws(n=50, seed=0):
    return torch.rand(n, 5, generator=torch.Generator().manual_seed(seed))


def blob(height, width, y, x, size=2.0):
    """A soft spot at (y, x), in pixels: (1, 1, H, W)."""
    rows, columns = np.mgrid[:height, :width]
    image = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * size**2))
    return torch.from_numpy(image).float()[None, None]


def centre_of(image):
    return np.array(ndimage.center_of_mass(image.numpy()))


def test_strength_0_changes_nothing():
    x = torch.rand(50, 2, 7, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mapped(x, affine_maps(draws(), 0.0, (2, 7, 9)), holes=False), x)


@pytest.mark.parametrize("shape", [(1, 40, 40), (1, 30, 60)])
def test_shifts_are_shares_of_the_sides(shape):
    _, height, width = shape
    middle = torch.full((1, 5), 0.5)
    for axis, column, most in ((0, 3, 0.05 * height), (1, 4, 0.05 * width)):
        one = middle.clone()
        one[0, column] = 1.0
        x = blob(height, width, height / 2, width / 2)
        moved = centre_of(mapped(x, affine_maps(one, 1.0, shape), holes=False)[0, 0]) - centre_of(
            x[0, 0]
        )
        expected = np.zeros(2)
        expected[axis] = -most
        np.testing.assert_allclose(moved, expected, atol=0.02)


@pytest.mark.parametrize("shape", [(1, 41, 41), (1, 31, 61)])
def test_a_rotation_turns_by_ten_degrees_in_pixels_whatever_the_sides(shape):
    _, height, width = shape
    one = torch.tensor([[1.0, 0.5, 0.5, 0.5, 0.5]])
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    arm = np.array([0.0, 10.0])
    turned = mapped(blob(height, width, *(centre + arm)), affine_maps(one, 1.0, shape), holes=False)
    got = centre_of(turned[0, 0]) - centre
    angle = np.degrees(np.arctan2(got[0], got[1]))
    assert abs(angle) == pytest.approx(10, abs=0.3)
    assert np.hypot(*got) == pytest.approx(10, abs=0.1)


def test_maps_grow_with_their_strength_and_are_even_handed():
    identity = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    weak, strong = (affine_maps(draws(2_000), s, (1, 20, 20)) - identity for s in (0.3, 1.0))
    assert 2 < strong.abs().mean() / weak.abs().mean() < 4
    assert strong.mean(0).abs().max() < 0.01


def test_missing_pixels_stay_missing_and_spread_to_their_neighbours_only():
    x = torch.rand(50, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    x[:, :, 4:7, 5:8] = torch.nan
    images = mapped(x, affine_maps(draws(), 1.0, (1, 12, 12)), holes=True)
    holes = images.isnan()
    assert (holes.flatten(1).sum(1) >= 4).all()
    assert not holes[:, :, [0, 1, 10, 11]].any()
    assert images[~holes].min() >= 0
    assert images[~holes].max() <= 1


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 30), (3, 30, 1)])
def test_signals_and_single_pixels_have_maps_too(shape):
    x = torch.rand(50, *shape, generator=torch.Generator().manual_seed(0))
    images = mapped(x, affine_maps(draws(), 1.0, shape), holes=False)
    assert images.shape == x.shape
    assert images.isfinite().all()


def test_no_images_have_no_maps():
    # As in a process whose share of a batch is empty.
    none = torch.empty(0, 2, 7, 9)
    for holes in (False, True):
        assert mapped(none, affine_maps(draws(0), 1.0, (2, 7, 9)), holes=holes).shape == none.shape


def cover_draws(n, seed=0):
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(1, 20, 20), (3, 12, 31), (1, 1, 50), (2, 1, 1)])
def test_a_cover_is_a_rectangle_in_the_mean_colour_and_nothing_else_changes(shape):
    channels, *sides = shape
    x = torch.rand(200, *shape, generator=torch.Generator().manual_seed(1))
    x[:, -1] += 1.0
    images = covered(x, cover_draws(200), 0.5)
    for image, before in zip(images, x, strict=True):
        hidden = (image != before).any(0)
        if not hidden.any():
            continue
        if min(sides) > 1:
            rows, columns = (np.flatnonzero(hidden.any(axis)) for axis in (1, 0))
            assert hidden[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            assert len(rows) <= sides[0] / 2 + 1
            assert len(columns) <= sides[1] / 2 + 1
        colour = before.reshape(channels, -1).mean(1)
        torch.testing.assert_close(image[:, hidden], colour[:, None].expand(-1, hidden.sum()))


@pytest.mark.parametrize("largest", [0.0, 0.5, 1.0])
def test_how_much_is_covered(largest):
    # A centre anywhere leaves, of a share s of a side, s - s^2 / 4 of the side inside.
    x = torch.linspace(0, 1, 40 * 60).reshape(1, 1, 40, 60).expand(20_000, -1, -1, -1)
    got = (covered(x, cover_draws(len(x)), largest) != x).double().mean()
    expected, _ = integrate.quad(lambda u: (largest * u - (largest * u) ** 2 / 4) ** 2, 0, 1)
    assert got == pytest.approx(expected, rel=0.03)


def test_the_colour_of_a_cover_is_that_of_the_observed_pixels():
    x = torch.rand(100, 2, 10, 10, generator=torch.Generator().manual_seed(0))
    x[:, :, :5] = torch.nan
    x[7] = torch.nan
    images = covered(x, cover_draws(100), 1.0)
    assert images[7].isnan().all()
    hidden = ~torch.isclose(images, x, equal_nan=True).all(1)
    means = x[:, :, 5:].mean((2, 3))
    some = torch.arange(100)[hidden.flatten(1).any(1)]
    assert len(some) > 50
    for i in some:
        torch.testing.assert_close(
            images[i][:, hidden[i]], means[i][:, None].expand(-1, hidden[i].sum())
        )


def test_no_images_have_no_covers():
    none = torch.empty(0, 2, 7, 9)
    assert covered(none, cover_draws(0), 1.0).shape == none.shape


def test_a_fit_sees_changed_images_and_validates_on_the_plain_ones(digits):
    images = digits[0]
    seen = {}

    class See(Callback):
        def on_batch_begin(self, net, batch=None, training=False, **kwargs):
            seen.setdefault(training, []).append(batch[0].parts[0]["x"])

    fit(images, augment=1.0, max_iter=1, early_stopping=True, callbacks=[See()])
    originals = {image.tobytes() for image in (images / np.float32(16))}
    train, valid = (
        [image[0].numpy().tobytes() in originals for x in seen[phase] for image in x]
        for phase in (True, False)
    )
    assert not any(train)
    assert all(valid)


def test_fits_with_maps_repeat_and_differ_from_those_without(digits):
    images = digits[0][:100]
    one, again, plain = (fit(images, augment=a).transform(images) for a in (0.5, 0.5, 0.0))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, plain)


def test_holes_labels_and_draws_go_with_maps(digits):
    images, labels = digits[0][:100].astype(float), digits[1][:100]
    images[::2, 2:4, 2:4] = np.nan
    vae = fit(images, augment=1.0, missing_values=np.nan)
    assert np.isfinite(vae.transform(images)).all()
    clf = fit_classifier(digits[0][:100], np.where(np.arange(100) % 4, -1, labels), unlabeled=-1)
    mapped_too = fit_classifier(
        digits[0][:100], np.where(np.arange(100) % 4, -1, labels), unlabeled=-1, augment=1.0
    )
    assert not np.array_equal(clf.transform(digits[0][:5]), mapped_too.transform(digits[0][:5]))
    binary = fit(digits[0][:100], augment=1.0, binarize=True)
    assert np.isfinite(binary.score(digits[0][:100]))
