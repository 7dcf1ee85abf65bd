"""The range of the pixels: given, learned from the data, and values that do not fit it."""

import numpy as np
import pytest

from skvae._pixel_range import dtype_fits, fits_float32, resolve_pixel_range, warn_about_values


def channels(*values, dtype=float):
    """Images of one row of pixels for each channel."""
    return np.array([values], dtype)


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (channels([3, 5], dtype=np.uint8), (0, 255)),
        (channels([0, 1], dtype=bool), (0, 1)),
        (channels([-3, 5], dtype=np.int16), (-3, 5)),
        (channels([-3, 5], [0, 1]), [[-3, 5], [0, 1]]),
        (channels([3, 5], [0, 1], dtype=np.uint8), (0, 255)),
    ],
)
def test_from_the_data(X, expected):
    np.testing.assert_array_equal(resolve_pixel_range(None, X), expected)


def test_given():
    X = np.zeros((2, 3, 4))
    pair = resolve_pixel_range((np.float32(0), 9), X)
    assert pair == (0, 9)
    assert all(type(bound) is float for bound in pair)
    each = [[0, 1], [2, 3], [4, 5]]
    np.testing.assert_array_equal(resolve_pixel_range(each, X), each)


@pytest.mark.parametrize("bad", [(1, 0), (0, 0), (0, np.inf), (np.nan, 1)])
def test_it_must_rise(bad):
    with pytest.raises(ValueError, match="must be two finite numbers"):
        resolve_pixel_range(bad, np.zeros((1, 1, 1)))


@pytest.mark.parametrize("bad", [(0,), (0, 1, 2), ("a", "b"), [[0, 1]] * 2, 3])
def test_its_shape(bad):
    with pytest.raises(ValueError, match=r"pixel_range must be \(low, high\), 'robust', or"):
        resolve_pixel_range(bad, np.zeros((1, 3, 1)))


@pytest.mark.parametrize("values", [[-1e308, 1e308], [0, 1e300], [-1e300, 0], [0, 1e-40]])
def test_it_must_fit_float32(values):
    assert not fits_float32(*map(float, values))
    with pytest.raises(ValueError, match="too wide or too narrow for float32"):
        resolve_pixel_range(None, channels(values))


def test_robust_to_hot_pixels():
    X = np.random.default_rng(0).uniform(size=(500, 1, 100))
    X[0, 0, :5] = 1e4
    low, high = resolve_pixel_range("robust", X)
    assert 0 <= low < 0.01
    assert 0.99 < high <= 1
    with pytest.warns(UserWarning, match=r"percentiles of the values are both 0; the full range"):
        assert resolve_pixel_range("robust", np.eye(2_000)[:, None]) == (0, 1)


def test_which_dtypes_fit():
    assert dtype_fits(np.dtype(np.uint8), (0, 255))
    assert not dtype_fits(np.dtype(np.uint8), (0, 254))
    assert not dtype_fits(np.dtype(np.uint8), np.array([[0, 255], [1, 255]]))
    assert dtype_fits(np.dtype(bool), (0, 1))
    assert not dtype_fits(np.dtype(float), (-1e9, 1e9))


def warn(X, pixel_range, *, bounded=True, robust=False, training=False):
    warn_about_values(X, pixel_range, bounded=bounded, robust=robust, training=training)


def test_the_warning_names_both_ranges():
    for dtype in (float, np.uint8):
        X = channels([0, 255], dtype=dtype)
        with pytest.warns(UserWarning, match=r"from 0 to 255, outside .* \(0, 1\).*to \(0, 1\)\."):
            warn(X, (0.0, 1.0))
    warn(channels([0, 255], dtype=np.uint8), (0.0, 255.0), training=True)


@pytest.mark.parametrize("bounded", [True, False])
def test_held_out_images_may_leave_the_range_a_little(bounded):
    X = channels([-2, 14])
    warn(X, (0.0, 10.0), bounded=bounded)
    if bounded:
        with pytest.warns(UserWarning, match=r"from -2 to 14, .* clipped to \(0, 10\)"):
            warn(X, (0.0, 10.0), training=True)
    else:
        warn(X, (0.0, 10.0), bounded=False, training=True)
    warn(channels([-1e-6, 10 + 1e-6]), (0.0, 10.0), training=True)


def test_the_channel_is_named():
    with pytest.warns(UserWarning, match=r"In channel 1, X has values from 0 to 9, outside"):
        warn(channels([0, 1], [0, 9]), np.array([[0, 1.0], [0, 1]]))
    # One flat channel is no sign of other units.
    warn(channels([0, 1], [0, 0.001]), np.array([[0, 1.0], [0, 1]]))
