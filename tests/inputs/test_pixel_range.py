"""The range of the pixels: given, learned from the data, and values that do not fit it."""

import math

import numpy as np
import pytest
from nets import ImageFormat, PixelValues, resolve_pixel_range

from skvae._data import pixel_range
from skvae._data.pixel_range import (
    dtype_fits,
    fits_float32,
    is_hole,
    warn_about_values,
    whole_numbers,
)


def channels(*values, dtype=float):
    """Images of one row of pixels for each channel."""
    return np.array([values], dtype)


def values_of(X, missing_values=None, pixel_range=(0.0, 1.0), **params):
    """The values of images of shape (n, C, n_pixels), and a format of theirs."""
    shape = (X.shape[1], 1, X.shape[2])
    image_format = ImageFormat(shape, 0, pixel_range, True, missing_values=missing_values, **params)
    return PixelValues(X.reshape(len(X), -1), missing_values), image_format


def range_of(pixel_range, X, missing_values=None):
    return resolve_pixel_range(pixel_range, *values_of(X, missing_values))


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
    np.testing.assert_array_equal(range_of(None, X), expected)


def test_given():
    X = np.zeros((2, 3, 4))
    pair = range_of((np.float32(0), 9), X)
    assert pair == (0, 9)
    assert all(type(bound) is float for bound in pair)
    each = [[0, 1], [2, 3], [4, 5]]
    np.testing.assert_array_equal(range_of(each, X), each)


@pytest.mark.parametrize("bad", [(1, 0), (0, 0), (0, np.inf), (np.nan, 1)])
def test_it_must_rise(bad):
    with pytest.raises(ValueError, match="must be two finite numbers"):
        range_of(bad, np.zeros((1, 1, 1)))


@pytest.mark.parametrize("bad", [(0,), (0, 1, 2), ("a", "b"), [[0, 1]] * 2, 3])
def test_its_shape(bad):
    with pytest.raises(ValueError, match=r"pixel_range must be \(low, high\), 'robust', or"):
        range_of(bad, np.zeros((1, 3, 1)))


@pytest.mark.parametrize("values", [[-1e308, 1e308], [0, 1e300], [-1e300, 0], [0, 1e-40]])
def test_it_must_fit_float32(values):
    assert not fits_float32(*map(float, values))
    with pytest.raises(ValueError, match="too wide or too narrow for float32"):
        range_of(None, channels(values))


def test_robust_to_hot_pixels():
    X = np.random.default_rng(0).uniform(size=(500, 1, 100))
    X[0, 0, :5] = 1e4
    low, high = range_of("robust", X)
    assert 0 <= low < 0.01
    assert 0.99 < high <= 1
    with pytest.warns(UserWarning, match=r"percentiles of the values are both 0; the full range"):
        assert range_of("robust", np.eye(2_000)[:, None]) == (0, 1)


def test_which_dtypes_fit():
    assert dtype_fits(np.dtype(np.uint8), (0, 255))
    assert not dtype_fits(np.dtype(np.uint8), (0, 254))
    assert not dtype_fits(np.dtype(np.uint8), np.array([[0, 255], [1, 255]]))
    assert dtype_fits(np.dtype(bool), (0, 1))
    assert not dtype_fits(np.dtype(float), (-1e9, 1e9))


def warn(X, pixel_range, *, training=False, missing_values=None, **params):
    values, image_format = values_of(X, missing_values, pixel_range, **params)
    warn_about_values(values, image_format, training=training)


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


# Holes

# Values of a dtype, and the marker of missing ones.
MARKERS = [
    (float, np.nan),
    (np.float32, np.nan),
    (np.float32, -1),
    (float, -1.0),
    (np.uint8, 255),
    (np.int16, -1),
    (np.int16, -32768),
]


def with_holes(dtype, marker, shape=(40, 3, 7)):
    """Values from 3 to 90 with holes, and where they were observed."""
    rng = np.random.default_rng(0)
    X, observed = rng.integers(3, 90, shape).astype(dtype), rng.uniform(size=shape) < 0.6
    X[~observed] = marker
    return X, observed


@pytest.fixture(params=[1, 50, 2**24])
def blocks(request, monkeypatch):
    """Arrays are looked at in blocks of this many values."""
    monkeypatch.setattr(pixel_range, "BLOCK_VALUES", request.param)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(("dtype", "marker"), MARKERS)
def test_the_range_is_that_of_the_observed_values(dtype, marker):
    X, observed = with_holes(dtype, marker)
    each = [(X[:, c][observed[:, c]].min(), X[:, c][observed[:, c]].max()) for c in range(3)]
    expected = (0, 255) if dtype is np.uint8 else each
    np.testing.assert_array_equal(range_of(None, X, marker), expected)
    one = X[:, :1]
    expected = (0, 255) if dtype is np.uint8 else each[0]
    ranges = range_of(None, one, marker)
    assert ranges == expected
    assert all(type(bound) is float for bound in ranges)
    given = [[0, 1], [2, 3], [4, 5]]
    np.testing.assert_array_equal(range_of(given, X, marker), given)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(("dtype", "marker"), MARKERS)
def test_the_robust_range_is_that_of_the_observed_values(dtype, marker):
    X, observed = with_holes(dtype, marker, (900, 2, 7))
    X[5, :, 3], observed[5, :, 3] = 120, True  # a hot pixel
    ranges = range_of("robust", X, marker)
    parts = [X] if dtype is np.uint8 else [X[:, c] for c in range(2)]
    seen = [observed] if dtype is np.uint8 else [observed[:, c] for c in range(2)]
    for bounds, part, there in zip(np.reshape(ranges, (-1, 2)), parts, seen, strict=True):
        expected = np.percentile(part[there], (0.1, 99.9), method="nearest")
        np.testing.assert_array_equal(bounds, expected)
        assert bounds[1] < 120


def test_the_robust_range_of_few_observed_values(monkeypatch):
    # Of every fourth image, from which the percentiles are computed, nothing was observed.
    monkeypatch.setattr(pixel_range, "N_PERCENTILE_VALUES", 10)
    X = np.full((8, 1, 5), np.nan)
    X[1], X[6] = 3, 9
    assert range_of("robust", X, np.nan) == (3, 9)


@pytest.mark.parametrize("mode", [None, "robust"])
@pytest.mark.parametrize(("dtype", "marker"), [(float, np.nan), (np.int16, -1)])
def test_a_channel_without_an_observed_value_has_no_range(mode, dtype, marker):
    X, _ = with_holes(dtype, marker)
    X[:, 1] = marker
    with pytest.raises(ValueError, match=r"values of channel 1 are missing \(missing_values="):
        range_of(mode, X, marker)
    with pytest.raises(ValueError, match=rf"All values are missing \(missing_values={marker}\)"):
        range_of(mode, X[:, 1:2], marker)
    given = [[0, 1]] * 3
    np.testing.assert_array_equal(range_of(given, X, marker), given)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(("dtype", "marker"), MARKERS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_one_pass_tells_extremes_and_holes(dtype, marker, order):
    X, observed = with_holes(dtype, marker)
    X[:, 1, 4], observed[:, 1, 4] = marker, False
    rows = np.array(X.reshape(40, 21), order=order)
    values, image_format = PixelValues(rows, marker), values_of(X)[1]
    np.testing.assert_array_equal(is_hole(X, marker), ~observed)
    assert values.has_holes is True
    assert values.never_observed.sum() == 1
    assert values.finite
    seen = [X[:, c][observed[:, c]] for c in range(3)]
    np.testing.assert_array_equal(values.extremes(image_format), [(x.min(), x.max()) for x in seen])
    np.testing.assert_array_equal(values.extremes(), [(X[observed].min(), X[observed].max())])
    plain = values_of(np.where(observed, X, np.array(50, dtype)))[0]
    assert plain.has_holes is False
    assert plain.never_observed is None
    nothing = values_of(np.full_like(X, marker), marker)[0]
    assert nothing.never_observed.sum() == 21
    assert nothing.finite
    np.testing.assert_array_equal(nothing.extremes(image_format), np.full((3, 2), np.nan))


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("marker", [None, -1, np.nan])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_one_pass_finds_what_is_not_finite(marker, bad, dtype):
    X, _ = with_holes(dtype, 0 if marker is None else marker)
    marked = marker is not None and np.isnan(marker) and np.isnan(bad)
    for place in [(0, 0, 0), (17, 1, 3), (39, 2, 6)]:
        other = X.copy()
        other[place] = bad
        assert values_of(other, marker)[0].finite == marked
        other[:, *place[1:]] = bad  # the number is nothing else in any image
        assert values_of(other, marker)[0].finite == marked
    assert values_of(X, marker)[0].finite


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("marker", [-1e6, 1e6, np.nan])
@pytest.mark.parametrize("robust", [False, True])
def test_markers_are_no_values_outside(marker, robust):
    X = channels([0, 3, marker], [1, marker, 2])
    ranges = np.array([[0.0, 3], [1, 2]])
    for training in (False, True):
        warn(X, ranges, training=training, robust=robust, missing_values=marker)
        warn(np.full_like(X, marker), ranges, training=training, missing_values=marker)
    with pytest.warns(UserWarning, match=r"In channel 1, X has values from 1 to 9, outside"):
        warn(channels([0, 3, marker], [1, marker, 9]), ranges, missing_values=marker)


@pytest.mark.parametrize(
    ("dtype", "marker", "values", "expected"),
    [
        (np.uint8, 255, [254.4, 254.6, 300.0, -3.0, 7.5], [254, 254, 254, 0, 8]),
        (np.uint8, 0, [0.2, -5.0, 3.0], [1, 1, 3]),
        (np.int16, -1, [-1.2, -0.6, 0.4, 1e6], [-2, -2, 0, 32_767]),
        (np.uint8, math.nan, [254.6, 0.5, 1.5], [255, 0, 2]),
    ],
)
def test_whole_numbers_are_never_the_marker(dtype, marker, values, expected):
    integers = whole_numbers(np.array(values, np.float32), np.dtype(dtype), marker)
    assert integers.dtype == dtype
    np.testing.assert_array_equal(integers, expected)
