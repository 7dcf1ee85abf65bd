"""Rows <-> images: shapes, layouts and ranges."""

import numpy as np
import pytest

from skvae._images import (
    ImageFormat,
    flatten_images,
    resolve_pixel_range,
    resolve_shape,
    warn_if_outside,
)


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
    np.testing.assert_allclose(image_format.log_jacobian, np.log(slope).sum(), atol=1e-12)


def test_large_offsets_keep_their_digits():
    rows = 1e9 + np.linspace(0, 1, 4)[None]
    image_format = ImageFormat((2, 2), -1, (1e9, 1e9 + 1), True)
    np.testing.assert_allclose(image_format.to_unit(rows).ravel(), np.linspace(0, 1, 4), atol=1e-6)


def test_constant_images():
    rows = np.full((3, 4), 7.0)
    pixel_range = resolve_pixel_range(None, rows)
    image_format = ImageFormat((2, 2), -1, pixel_range, True)
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
        ((5, 5), 24, None, r"image_shape=\(5, 5\) multiplies to 25 .* X has 24 features"),
        ((5, -1), 24, None, r"image_shape=\(5, -1\) multiplies to 5 .* X has 24 features"),
        ((5,), 5, None, r"image_shape must be \(H, W\).*channels last.* Got \(5,\)"),
        ((0, 5), 5, None, "whole number above 0"),
        ((-1, -1), 5, None, "at most one of them -1"),
        ((2.0, 3), 6, None, "whole number above 0"),
        (("a", 3), 6, None, "whole number above 0"),
        ((3, 4), 12, (4, 3), r"\(3, 4\) differs from the shape of the images in X, \(4, 3\)"),
    ],
)
def test_resolve_shape_says_what_is_wrong(image_shape, n_features, seen, match):
    with pytest.raises(ValueError, match=match):
        resolve_shape(image_shape, -1, n_features, seen)


@pytest.mark.parametrize(
    ("dtype", "expected"), [(np.uint8, (0, 255)), (bool, (0, 1)), (np.int16, (-3, 5))]
)
def test_pixel_range_from_the_data(dtype, expected):
    values = [[0, 1]] if dtype is bool else [[3, 5]] if dtype is np.uint8 else [[-3, 5]]
    assert resolve_pixel_range(None, np.array(values, dtype)) == expected


@pytest.mark.parametrize("bad", [(1, 0), (0, 0), (0,), (0, 1, 2), (0, np.inf), ("a", "b")])
def test_pixel_range_must_rise(bad):
    with pytest.raises(ValueError, match="pixel_range must be two finite numbers"):
        resolve_pixel_range(bad, np.zeros((1, 1)))


@pytest.mark.parametrize("values", [[-1e308, 1e308], [0, 1e300], [-1e300, 0], [0, 1e-40]])
def test_pixel_range_must_fit_float32(values):
    with pytest.raises(ValueError, match="too wide or too narrow for float32"):
        resolve_pixel_range(None, np.array([values]))


def test_flatten_images():
    X = np.arange(24).reshape(2, 3, 4)
    rows, shape = flatten_images(X)
    assert shape == (3, 4)
    np.testing.assert_array_equal(rows, X.reshape(2, 12))
    assert np.shares_memory(rows, X)
    assert flatten_images(X.tolist())[1] == (3, 4)
    assert flatten_images(np.zeros((0, 3, 4)))[0].shape == (0, 12)
    assert flatten_images(rows) == (rows, None)


def test_warning_names_both_ranges():
    rows, unit = np.array([[0.0, 255.0]]), ImageFormat((1, 2), -1, (0.0, 1.0), True)
    for X in (rows, rows.astype(np.uint8)):
        with pytest.warns(UserWarning, match=r"from 0 to 255, outside .* \(0, 1\).*to \(0, 1\)\."):
            warn_if_outside(X, unit, training=False)
    # No way to be outside: no warning.
    byte = ImageFormat((1, 2), -1, (0.0, 255.0), True)
    warn_if_outside(rows.astype(np.uint8), byte, training=True)
    warn_if_outside(np.array([[True, False]]), unit, training=True)


@pytest.mark.parametrize("bounded", [True, False])
def test_held_out_images_may_leave_the_range_a_little(bounded):
    image_format = ImageFormat((1, 2), -1, (0.0, 10.0), True, bounded=bounded)
    rows = np.array([[-2.0, 14.0]])
    warn_if_outside(rows, image_format, training=False)
    if bounded:
        with pytest.warns(UserWarning, match=r"from -2 to 14, .* clipped to \(0, 10\)"):
            warn_if_outside(rows, image_format, training=True)
    else:
        warn_if_outside(rows, image_format, training=True)
    warn_if_outside(np.array([[-1e-6, 10 + 1e-6]]), image_format, training=True)


def test_warning_tells_what_is_kept():
    for pixel_range, kept in [((0.0, 10.0), r"\(-5, 15\)"), ((7.0, 7.0), r"\(6.5, 7.5\)")]:
        image_format = ImageFormat((1, 2), -1, pixel_range, True, bounded=False)
        low, high = image_format.from_unit(image_format.to_unit(np.array([[-1e9, 1e9]])))[0]
        with pytest.warns(UserWarning, match=f"clipped to {kept}"):
            warn_if_outside(np.array([[-1e9, 1e9]]), image_format, training=False)
        if pixel_range[0] < pixel_range[1]:
            assert (low, high) == (-5, 15)
