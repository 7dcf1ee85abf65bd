"""Mosaics hold each pixel where it belongs."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae._displays import mosaics

pytestmark = pytest.mark.usefixtures("close_figures")
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64])
def test_a_row(dtype):
    pictures = RNG.integers(0, 256, (3, 4, 5)).astype(dtype)
    mosaic = mosaics.row(pictures, 4, right=2, below=3)
    assert mosaic.shape == (7, 4 * 7, 1)
    for i, picture in enumerate(pictures):
        assert_array_equal(mosaic[:4, 7 * i : 7 * i + 5, 0], picture)
    assert np.isnan(mosaic).sum() == mosaic.size - pictures.size


def test_colours_lie_in_their_ranges_and_gaps_are_white():
    mosaic = mosaics.row(RNG.uniform(-2, 9, (2, 4, 5, 3)), 2)
    ranges = np.array([[0, 4], [-1, 1], [5, 5]])
    _, ax = plt.subplots()
    drawn = mosaics.draw(ax, mosaic, ranges, channels=None, cmap="gray").get_array()
    span = [4, 2, 1]  # a constant channel has no span
    assert_allclose(drawn[:4, :5], np.clip((mosaic[:4, :5] - ranges[:, 0]) / span, 0, 1))
    assert (drawn[4] == 1).all()
    assert (drawn[:, 5] == 1).all()
    ax.figure.canvas.draw()


def test_the_range_of_the_chosen_channel_counts():
    mosaic = RNG.uniform(size=(4, 5, 7))
    ranges = np.stack([np.arange(7), np.arange(7) + 10], axis=1)
    _, ax = plt.subplots()
    for channels in (6, np.int64(6), [6], np.array([6])):
        drawn = mosaics.draw(ax, mosaic, ranges, channels=channels, cmap="gray")
        assert_array_equal(drawn.get_array(), mosaic[..., 6])
        assert drawn.get_clim() == (6, 16)


@pytest.mark.parametrize("channels", [5, -1, (0, 1), (), (0, 1, 2, 3), (0, 1, 5), 1.0, (0, 1, 2.0)])
def test_channels_that_do_not_exist(channels):
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match=r"channels must be one or three numbers from 0 to 4"):
        mosaics.draw(ax, np.zeros((4, 4, 5)), (0, 1), channels=channels, cmap="gray")


@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_grey_rgb_and_rgba_need_no_choice(n_channels):
    _, ax = plt.subplots()
    image = mosaics.draw(ax, np.ones((4, 4, n_channels)), (0, 1), channels=None, cmap="gray")
    assert image.get_array().shape == ((4, 4) if n_channels == 1 else (4, 4, n_channels))
