"""Rows <-> images: shapes, layouts and ranges."""

from dataclasses import replace

import numpy as np
import pytest
from nets import ImageFormat, PixelValues, resolve_pixel_range

from skvae._data.containers import flatten_images
from skvae._data.format import resolve_shape


@pytest.mark.parametrize(
    ("shape", "channel_axis"),
    [((1, 1), -1), ((1, 7), -1), ((17, 31), -1), ((4, 5, 3), -1), ((3, 4, 5), 0), ((2, 2, 2), 0)],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("as_rows", [True, False])
def test_there_and_back_is_the_identity(shape, channel_axis, dtype, as_rows):
    rows = np.random.default_rng(0).integers(0, 256, (5, np.prod(shape))).astype(dtype)
    image_format = ImageFormat(shape, channel_axis, (0.0, 255.0), as_rows)
    unit = image_format.to_unit(rows)
    assert unit.shape == (5, *image_format.channels_first_shape)
    assert unit.dtype == np.float32
    assert unit.min() >= 0
    assert unit.max() <= 1
    back = image_format.from_unit(unit)
    assert back.shape == ((5, rows.shape[1]) if as_rows else (5, *shape))
    np.testing.assert_allclose(back.reshape(rows.shape), rows, atol=1e-4)


def test_channels_go_where_they_belong():
    image = np.arange(24, dtype=np.float64).reshape(2, 3, 4)
    last = ImageFormat((2, 3, 4), -1, (0.0, 23.0), False)
    first = ImageFormat((2, 3, 4), 0, (0.0, 23.0), False)
    assert last.channels_first_shape == (4, 2, 3)
    assert first.channels_first_shape == (2, 3, 4)
    unit = last.to_unit(image.reshape(1, -1))
    np.testing.assert_allclose(unit[0, 3] * 23, image[..., 3], rtol=1e-6)
    np.testing.assert_allclose(first.to_unit(image.reshape(1, -1))[0, 1] * 23, image[1], rtol=1e-6)


def test_shapes_with_equal_numbers_keep_their_channel_axis():
    image = np.arange(27, dtype=np.float64).reshape(3, 3, 3)
    unit = ImageFormat((3, 3, 3), -1, (0.0, 26.0), False).to_unit(image.reshape(1, -1))
    np.testing.assert_allclose(unit[0, 1] * 26, image[..., 1], rtol=1e-6)


def test_values_outside_are_clipped_and_input_is_kept():
    rows = np.array([[-1.0, 0.0, 5.0, 11.0]])
    unit = ImageFormat((2, 2), -1, (0.0, 10.0), True).to_unit(rows)
    np.testing.assert_array_equal(unit.ravel(), np.float32([0, 0, 0.5, 1]))
    np.testing.assert_array_equal(rows, [[-1.0, 0.0, 5.0, 11.0]])


def test_without_bounds_values_are_kept_up_to_half_a_width_beyond():
    rows = np.array([[-6.0, -4.0, 13.0, 1e300]])
    unit = ImageFormat((2, 2), -1, (0.0, 10.0), True, bounded=False).to_unit(rows)
    np.testing.assert_array_equal(unit.ravel(), np.float32([-0.5, -0.4, 1.3, 1.5]))


@pytest.mark.parametrize("pixel_range", [(0.0, 255.0), (-3.0, -1.0), (2.0, 2.0)])
def test_log_jacobian_is_that_of_the_scaling(pixel_range):
    image_format = ImageFormat((2, 3), -1, pixel_range, True)
    # Six independent pixels: the determinant is the product of their slopes.
    rows = np.array([[pixel_range[0]] * 6, [pixel_range[1]] * 6])
    dark, light = image_format.to_unit(rows)
    slope = (light - dark).ravel() / (rows[1] - rows[0]) if np.ptp(rows) else np.ones(6)
    assert len(image_format.log_jacobian) == 1
    np.testing.assert_allclose(6 * image_format.log_jacobian[0], np.log(slope).sum(), atol=1e-12)


def test_large_offsets_keep_their_digits():
    rows = 1e9 + np.linspace(0, 1, 4)[None]
    image_format = ImageFormat((2, 2), -1, (1e9, 1e9 + 1), True)
    np.testing.assert_allclose(image_format.to_unit(rows).ravel(), np.linspace(0, 1, 4), atol=1e-6)


def test_constant_images():
    rows = np.full((3, 4), 7.0)
    image_format = ImageFormat((2, 2), -1, (7.0, 7.0), True)
    unit = image_format.to_unit(rows)
    np.testing.assert_array_equal(unit, 0)
    np.testing.assert_array_equal(image_format.from_unit(unit + 0.3), rows)


@pytest.mark.parametrize(
    ("image_shape", "n_features", "seen", "expected"),
    [
        (None, 784, None, (28, 28)),
        (None, 10, None, (1, 10)),
        (None, 1, None, (1, 1)),
        (None, 12, (3, 4), (3, 4)),
        (None, 24, (2, 3, 4), (2, 3, 4)),
        ((4, 3), 12, None, (4, 3)),
        ([4, 3], 12, None, (4, 3)),
        ((2, -1), 12, None, (2, 6)),
        ((2, -1, 3), 12, None, (2, 2, 3)),
        ((np.int64(4), 3), 12, (4, 3), (4, 3)),
    ],
)
def test_resolve_shape(image_shape, n_features, seen, expected):
    shape = resolve_shape(image_shape, -1, n_features, seen)
    assert shape == expected
    assert all(type(n) is int for n in shape)


@pytest.mark.parametrize(
    ("image_shape", "n_features", "seen", "match"),
    [
        ((5, 5), 24, None, r"image_shape=\(5, 5\) means 25 numbers .* X has 24 features"),
        ((5, -1), 24, None, r"\(5, -1\) means a multiple of 5 numbers .* X has 24 features"),
        ((5,), 5, None, r"image_shape must be \(H, W\).*channels last.* Got \(5,\)"),
        ((0, 5), 5, None, "whole number above 0"),
        ((-1, -1), 5, None, "at most one of them may be -1"),
        ((2.0, 3), 6, None, "whole number above 0"),
        (("a", 3), 6, None, "whole number above 0"),
        ((3, 4), 12, (4, 3), r"\(3, 4\) differs from the shape of the images in X, \(4, 3\)"),
    ],
)
def test_resolve_shape_says_what_is_wrong(image_shape, n_features, seen, match):
    with pytest.raises(ValueError, match=match):
        resolve_shape(image_shape, -1, n_features, seen)


def test_flatten_images():
    X = np.arange(24).reshape(2, 3, 4)
    rows, shape = flatten_images(X)
    assert shape == (3, 4)
    np.testing.assert_array_equal(rows, X.reshape(2, 12))
    assert np.shares_memory(rows, X)
    assert flatten_images(X.tolist())[1] == (3, 4)
    assert flatten_images(np.zeros((0, 3, 4)))[0].shape == (0, 12)
    assert flatten_images(rows)[0] is rows


@pytest.mark.parametrize("channel_axis", [-1, 0])
@pytest.mark.parametrize("as_rows", [True, False])
def test_channels_have_ranges_of_their_own(channel_axis, as_rows):
    ranges = np.array([[0, 1], [-10, 10], [100, 300.0]])
    unit = np.random.default_rng(0).uniform(size=(4, 5, 6, 3))
    X = ranges[:, 0] + unit * np.ptp(ranges, axis=1)
    if channel_axis == 0:
        X = np.moveaxis(X, -1, 1)
    image_format = ImageFormat(X.shape[1:], channel_axis, ranges, as_rows)
    x = image_format.to_unit(X.reshape(4, -1))
    np.testing.assert_allclose(x, np.moveaxis(unit, -1, 1), atol=1e-6)
    back = image_format.from_unit(x)
    np.testing.assert_allclose(back.reshape(X.shape), X, rtol=1e-5, atol=1e-4)
    expected = -np.log(np.ptp(ranges, axis=1))  # of one number of each channel
    np.testing.assert_allclose(image_format.log_jacobian, expected)
    channels = image_format.channels(X.reshape(4, -1))
    expected = np.moveaxis(X, channel_axis, 1) if channel_axis == -1 else X
    np.testing.assert_array_equal(channels, expected.reshape(4, 3, 30))


@pytest.mark.parametrize(("bounded", "least", "greatest"), [(True, 0, 1), (False, -0.5, 1.5)])
def test_values_near_the_limit_of_float32_are_clipped(bounded, least, greatest):
    image_format = ImageFormat((1, 2), -1, (-0.13, 0.13), True, bounded)
    rows = np.array([[3.4028235e38, -3.4028235e38]], np.float32)
    np.testing.assert_allclose(image_format.to_unit(rows), [[[[greatest, least]]]])


@pytest.mark.parametrize("pixel_range", [None, "robust", (0, 9)])
@pytest.mark.parametrize("marker", [None, -1])
def test_what_is_learned(pixel_range, marker):
    X = (
        np.random.default_rng(0)
        .integers(0, 9, (50, 4, 5, 3))
        .astype(np.uint8 if marker is None else np.int16)
    )
    X[:, 0, 0] = X[:, 0, 1] if marker is None else -1
    X[7] = 5
    for seen_shape, image_shape in ((X.shape[1:], None), (None, (4, -1, 3))):
        values = PixelValues(X.reshape(50, 60), marker)
        learned = ImageFormat.learn(
            values,
            seen_shape,
            image_shape=image_shape,
            channel_axis=np.int8(-1),
            pixel_range=pixel_range,
        )
        ranges = resolve_pixel_range(pixel_range, values, learned)
        np.testing.assert_array_equal(learned.pixel_range, ranges)
        assert (learned.shape, learned.channel_axis) == ((4, 5, 3), -1)
        assert learned.n_channels == 3
        assert learned.as_rows == (seen_shape is None)
        assert learned.missing_values == marker
        assert learned.robust == (pixel_range == "robust")
        assert learned.saw_uint8 == (marker is None)
        assert learned.saw_holes == (marker is not None)
        complete = PixelValues(np.full((2, 60), 3), marker)
        assert learned.after(complete).saw_holes == learned.saw_holes
        assert not replace(learned, saw_holes=False).after(complete).saw_holes
        assert replace(learned, saw_holes=False).after(values).saw_holes == learned.saw_holes


@pytest.mark.parametrize(
    "pixel_range",
    [
        (0.0, 16.0),
        (-3.7, 12.9),
        (1e6, 1e6 + 2),
        (-1e-3, 1e-3),
        np.array([[0, 1.1], [-3, 50.3], [1e5, 1e5 + 7]]),
    ],
    ids=str,
)
@pytest.mark.parametrize("bounded", [True, False])
def test_equal_values_give_equal_bits(pixel_range, bounded):
    image_format = ImageFormat((4, 5, 3), -1, pixel_range, True, bounded=bounded)
    low, high = np.reshape(pixel_range, (-1, 2)).T
    shares = np.random.default_rng(0).uniform(-0.2, 1.2, (50, 4, 5, 3))
    X = (low + shares * (high - low)).reshape(50, 60).astype(np.float32)
    X[:, ::7] = 0
    expected = image_format.to_unit(X)
    wide = X.astype(np.float64)
    exact = (wide.reshape(shares.shape) - low) / (high - low)
    exact = np.moveaxis(exact, -1, 1).clip(-image_format.margin, 1 + image_format.margin)
    np.testing.assert_allclose(expected, exact, atol=2.0**-17)
    for other in (wide, X.astype(np.longdouble), X.astype(">f4"), np.asfortranarray(X)):
        assert image_format.to_unit(other).tobytes() == expected.tobytes()
    whole = np.rint(X)
    expected = image_format.to_unit(whole)
    for dtype in (np.int32, np.int64, np.float64):
        assert image_format.to_unit(whole.astype(dtype)).tobytes() == expected.tobytes()
    negative = np.where(X == 0, np.float32(-0.0), X)
    assert negative.tobytes() != X.tobytes()
    assert image_format.to_unit(negative).tobytes() == image_format.to_unit(X).tobytes()
    if image_format.unit_dtype == np.float32:  # digits that float32 does not have do not count
        close = wide * (1 + 2e-9)
        assert (close != wide).any()
        assert image_format.to_unit(close).tobytes() == image_format.to_unit(X).tobytes()


def test_a_range_far_from_0_keeps_the_digits_of_wide_values():
    image_format = ImageFormat((2, 2), -1, (1e9, 1e9 + 1), True)
    assert image_format.unit_dtype == np.float64
    assert ImageFormat((2, 2), -1, (0.0, 65_535.0), True).unit_dtype == np.float32
    assert ImageFormat((2, 2), -1, (1_000.0, 1_100.0), True).unit_dtype == np.float32


# Holes


@pytest.mark.parametrize("channel_axis", [-1, 0])
@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize(
    ("dtype", "marker"),
    [(float, np.nan), (np.float32, np.nan), (np.float32, -1), (np.uint8, 255), (np.int16, -1)],
)
def test_holes_are_nan_and_the_rest_is_as_without(channel_axis, bounded, dtype, marker):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 100, (5, 4, 5, 4)).astype(dtype)
    holes = rng.uniform(size=X.shape) < 0.5
    marked = np.where(holes, np.array(marker, dtype), X)
    ranges = (0.0, 255.0) if dtype is np.uint8 else np.array([[0, 50.0], [0, 100], [9, 90], [1, 2]])
    parts = (X.shape[1:], channel_axis, ranges, True, bounded)
    unit = ImageFormat(*parts, missing_values=marker).to_unit(marked.reshape(5, -1))
    plain = ImageFormat(*parts).to_unit(X.reshape(5, -1))
    holes = np.moveaxis(holes, -1, 1) if channel_axis == -1 else holes
    np.testing.assert_array_equal(np.isnan(unit), holes)
    np.testing.assert_array_equal(unit[~holes], plain[~holes])
    # All holes have the same bits, because the noise of an image comes from its bits.
    assert set(unit[holes].view(np.uint32)) == {np.float32(np.nan).view(np.uint32)}
    assert unit.flags.c_contiguous
    assert unit.dtype == np.float32


def test_nans_of_any_bits_are_the_same_hole():
    bits = np.array([0x7FC00000, 0x7FC00001, 0xFFC00000, 0x7F800001], np.uint32)
    rows = bits.view(np.float32)[None]
    unit = ImageFormat((2, 2), -1, (0.0, 1.0), True, missing_values=np.nan).to_unit(rows)
    assert set(unit.view(np.uint32).ravel()) == {0x7FC00000}


def test_a_marker_far_outside_does_not_disturb_and_input_is_kept():
    rows = np.array([[3.4e38, 1.0, 0.5, 3.4e38]], np.float32)
    rows.flags.writeable = False
    image_format = ImageFormat((2, 2), -1, (0.0, 1.0), True, missing_values=np.float32(3.4e38))
    expected = np.float32([np.nan, 1, 0.5, np.nan])
    np.testing.assert_array_equal(image_format.to_unit(rows).ravel(), expected)
