"""Images stand above their reconstructions."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from comparisons import assert_within_its_figure
from conftest import fit
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from skvae import ConvVAETransformer, ReconstructionDisplay

pytestmark = pytest.mark.usefixtures("close_figures")


def test_reconstructions_are_below_their_originals(small, digits):
    display = ReconstructionDisplay.from_estimator(small, digits[0], n_images=7, n_columns=4)
    expected = small.inverse_transform(small.transform(digits[0][:7]))
    assert_array_equal(display.images, digits[0][:7])
    assert_array_equal(display.reconstructions, expected)
    mosaic = display.image_.get_array()
    assert mosaic.shape == (2 * (9 + 8) + 3, 4 * 9 - 1)
    assert not mosaic[[0, -1]].mask.all()  # nothing is blank above and below
    assert not mosaic[:, [0, -1]].mask.all()
    assert_allclose(mosaic[:8, 9:17], digits[0][1])
    assert_allclose(mosaic[9:17, 9:17], expected[1])
    assert_allclose(mosaic[20:28, :8], digits[0][4])
    assert mosaic[20:, 27:].mask.all()  # there is no eighth image
    assert display.image_.get_clim() == (0, 16)
    assert display.image_.origin == "upper"
    assert display.figure_ is display.ax_.figure
    assert [label.get_text() for label in display.ax_.get_yticklabels()][:2] == [
        "original",
        "reconstruction",
    ]


def test_labels_stand_beside_their_rows(small, digits):
    display = ReconstructionDisplay.from_estimator(small, digits[0], n_images=7, n_columns=4)
    for tick, top in zip(display.ax_.get_yticks(), (0, 9, 20, 29), strict=True):
        assert top <= tick <= top + 8


@pytest.mark.parametrize("channel_axis", [-1, 0])
def test_colour_images(channel_axis):
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    X = np.moveaxis(images, -1, 1) if channel_axis == 0 else images
    vae = ConvVAETransformer(2, max_iter=1, hidden_units=8, channel_axis=channel_axis).fit(X)
    display = ReconstructionDisplay.from_estimator(vae, X, n_images=3)
    mosaic = display.image_.get_array()
    assert mosaic.shape == (17, 26, 3)
    assert_allclose(mosaic[:8, 9:17], images[1] / 255, atol=1e-6)


def test_images_that_cannot_be_drawn():
    X = np.random.default_rng(0).uniform(size=(6, 8, 8, 2))
    vae = ConvVAETransformer(2, max_iter=1, hidden_units=8).fit(X)
    with pytest.raises(ValueError, match=r"1, 3 or 4 channels can be drawn .* Got 2 channels"):
        ReconstructionDisplay.from_estimator(vae, X)


def test_the_fitted_channel_axis_counts():
    X = np.random.default_rng(0).uniform(size=(6, 7, 8, 3))
    vae = ConvVAETransformer(2, max_iter=1, hidden_units=8).fit(X).set_params(channel_axis=0)
    assert ReconstructionDisplay.from_estimator(vae, X).images.shape == (6, 7, 8, 3)


@pytest.mark.parametrize("marker", [np.nan, -1])
def test_holes_are_blank(digits, marker):
    images = digits[0][:40].astype(np.float32)
    holes = np.random.default_rng(0).random(images.shape) < 0.3
    X = np.where(holes, np.float32(marker), images)
    masked = np.ma.array(np.where(holes, np.float32(7), images), mask=holes)
    vae = fit(X, missing_values=marker, max_iter=1)
    for held in (X, X.reshape(40, 64), list(X), masked, list(masked), pd.Series(list(masked))):
        display = ReconstructionDisplay.from_estimator(vae, held, n_images=5)
        assert_array_equal(display.images, np.where(holes, np.nan, images)[:5])
        assert_array_equal(display.reconstructions, vae.reconstruct(X[:5]))
        assert_array_equal(display.image_.get_array().mask[:8, :8], holes[0])


def test_rows_and_axes_of_the_caller(digits):
    rows = digits[0].reshape(400, 64)
    vae = ConvVAETransformer(2, max_iter=1, hidden_units=8).fit(rows)
    _, ax = plt.subplots()
    display = ReconstructionDisplay.from_estimator(vae, rows, n_images=2, ax=ax)
    assert display.ax_ is ax
    assert display.images.shape == (2, 8, 8)


@pytest.mark.parametrize("n_images", [0, -1, 2.5])
def test_how_many_images(small, digits, n_images):
    with pytest.raises(ValueError, match="n_images must be a whole number above 0"):
        ReconstructionDisplay.from_estimator(small, digits[0], n_images=n_images)


@pytest.mark.parametrize("n_columns", [0, -1, 2.5])
def test_how_many_columns(small, digits, n_columns):
    images = digits[0][:3].astype(float)
    with pytest.raises(ValueError, match="n_columns must be a whole number above 0"):
        ReconstructionDisplay.from_estimator(small, images, n_columns=n_columns)
    with pytest.raises(ValueError, match="n_columns must be a whole number above 0"):
        ReconstructionDisplay(images=images, reconstructions=images).plot(n_columns=n_columns)


@pytest.mark.parametrize("n_images", [4, 10])
def test_one_image(small, digits, n_images):
    with pytest.raises(ValueError, match=r"X is one image, of shape \(8, 8\).*X\[None\]"):
        ReconstructionDisplay.from_estimator(small, digits[0][0], n_images=n_images)
    display = ReconstructionDisplay.from_estimator(small, digits[0][0][None])
    assert_array_equal(display.images, digits[0][:1])


def test_the_figure_fits_the_shape_of_the_images():
    for shape in ((10, 10), (10, 20), (30, 10)):
        images = np.zeros((6, *shape))
        figure = ReconstructionDisplay(images=images, reconstructions=images).plot().figure_
        width, height = figure.get_size_inches()
        assert_allclose(height, 2 * (width - 1.2) / 6 * shape[0] / shape[1])


def test_not_fitted(digits):
    with pytest.raises(NotFittedError):
        ReconstructionDisplay.from_estimator(ConvVAETransformer(), digits[0])


def test_pandas_output(digits):
    vae = ConvVAETransformer(2, max_iter=1, hidden_units=8).set_output(transform="pandas")
    display = ReconstructionDisplay.from_estimator(vae.fit(digits[0]), digits[0], n_images=2)
    assert display.reconstructions.shape == (2, 8, 8)


@pytest.mark.parametrize("channels", [3, [3], (4, 0, 2)])
def test_channels_of_many(many_channels, channels):
    vae, images = many_channels
    display = ReconstructionDisplay.from_estimator(vae, images, n_images=3, channels=channels)
    low, high = vae.pixel_range_.T
    expected = ((images[1] - low) / (high - low))[..., np.ravel(channels)]
    drawn = display.image_.norm(display.image_.get_array()[:8, 10:19])
    assert_allclose(drawn, np.squeeze(expected))


def test_many_channels_need_a_choice(many_channels):
    vae, images = many_channels
    with pytest.raises(ValueError, match=r"Got 5 channels\. Choose .* channels=0"):
        ReconstructionDisplay.from_estimator(vae, images)


@pytest.mark.parametrize("n_images", [1, 3, 10, 60])
def test_nothing_leaves_the_figure(n_images):
    images = np.zeros((n_images, 20, 16))
    assert_within_its_figure(ReconstructionDisplay(images=images, reconstructions=images).plot())
