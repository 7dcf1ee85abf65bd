"""Pictures stand where the values of their components say."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from comparisons import assert_within_its_figure
from conftest import SMALL, fit
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skvae import (
    ComponentInformationDisplay,
    ConvVAETransformer,
    LatentManifoldDisplay,
    LatentSpaceDisplay,
    LatentTraversalDisplay,
    ReconstructionDisplay,
    TrainingCurveDisplay,
)

pytestmark = pytest.mark.usefixtures("close_figures")
DISPLAYS = [LatentTraversalDisplay, LatentManifoldDisplay]


def tile(display, x, y, shape):
    """The pixels of the picture that is drawn around a point of the axes."""
    left, right, bottom, top = display.image_.get_extent()
    mosaic = display.image_.get_array()
    column = int((x - left) / (right - left) * mosaic.shape[1])
    row = int((y - top) / (bottom - top) * mosaic.shape[0])
    height, width = shape
    gap = int(isinstance(display, LatentTraversalDisplay))
    row, column = row // (height + gap) * (height + gap), column // (width + gap) * (width + gap)
    return mosaic[row : row + height, column : column + width]


def tiles(display, shape):
    """The pictures beside each label, below and on the left."""
    return np.array(
        [
            [tile(display, x, y, shape) for x in display.ax_.get_xticks()]
            for y in display.ax_.get_yticks()
        ]
    )


@pytest.mark.parametrize("display", DISPLAYS)
def test_not_fitted(display):
    with pytest.raises(NotFittedError):
        display.from_estimator(ConvVAETransformer())


@pytest.fixture(scope="module")
def holders(digits):
    """A pipeline and a search, fitted, and their images."""
    X = digits[0][:40].reshape(40, 64)
    vae = ConvVAETransformer(**SMALL, max_iter=1)
    return make_pipeline(vae).fit(X), GridSearchCV(vae, {"beta": [1.0]}, cv=2).fit(X), X


@pytest.mark.parametrize(
    "display",
    [
        *DISPLAYS,
        ReconstructionDisplay,
        LatentSpaceDisplay,
        ComponentInformationDisplay,
        TrainingCurveDisplay,
    ],
)
def test_a_pipeline_or_a_search_is_refused_with_the_way_to_its_estimator(holders, display):
    *others, X = holders
    arguments = [X] * (display in (ReconstructionDisplay, LatentSpaceDisplay))
    for holder in others:
        name = type(holder).__name__
        with pytest.raises(TypeError, match=rf"Got a {name}.*pipeline\[0\].*best_estimator_"):
            display.from_estimator(holder, *arguments)


def test_a_row_of_a_table_keeps_its_names(digits):
    table = pd.DataFrame(digits[0][:40].reshape(40, 64)).add_prefix("pixel")
    vae = ConvVAETransformer(**SMALL, max_iter=1).fit(table)
    display = LatentTraversalDisplay.from_estimator(vae, table.iloc[0])  # without a warning
    middle = display.images[0, len(display.steps) // 2]
    assert_allclose(middle.ravel(), vae.reconstruct(table[:1])[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (2, 100)])
@pytest.mark.parametrize("display", [*DISPLAYS, ReconstructionDisplay])
def test_strips_are_drawn_tall_enough_to_see(display, shape):
    # Each image has at least a tenth of an inch on either side.
    images = np.random.default_rng(0).random((20, *shape))
    vae = ConvVAETransformer(**SMALL, image_shape=shape, max_iter=1).fit(images.reshape(20, -1))
    arguments = [images.reshape(20, -1)] if display is ReconstructionDisplay else []
    drawn = display.from_estimator(vae, *arguments)
    drawn.figure_.canvas.draw()
    extent = drawn.ax_.get_window_extent()
    height, width = drawn.image_.get_array().shape[:2]
    inches = np.array([extent.height / height, extent.width / width]) * shape / drawn.figure_.dpi
    assert inches.min() > 0.1


@pytest.mark.parametrize("display", DISPLAYS)
def test_axes_of_the_caller(small, display):
    figure, ax = plt.subplots()
    display = display.from_estimator(small, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    figure.canvas.draw()


@pytest.mark.parametrize("display", DISPLAYS)
def test_many_channels_need_a_choice(many_channels, display):
    with pytest.raises(ValueError, match=r"Got 5 channels\. Choose .* channels=0"):
        display.from_estimator(many_channels[0])


@pytest.mark.parametrize("display", DISPLAYS)
@pytest.mark.parametrize("channels", [3, (4, 0, 2)])
def test_channels_of_many(many_channels, display, channels):
    vae = many_channels[0]
    display = display.from_estimator(vae, channels=channels)
    centre = (3 * 10, 0) if isinstance(display, LatentTraversalDisplay) else (0, 0)
    mean, (low, high) = vae.inverse_transform(np.zeros((1, 3)))[0], vae.pixel_range_.T
    expected = ((mean - low) / (high - low))[..., channels]
    drawn = display.image_.norm(tile(display, *centre, (8, 9)))
    assert_allclose(drawn, np.clip(expected, 0, 1), atol=1e-5)


@pytest.mark.parametrize("display", DISPLAYS)
@pytest.mark.parametrize("layout", ["rows", "channels first", "channels last"])
def test_layouts(display, layout):
    images = np.random.default_rng(0).uniform(size=(20, 8, 6, 3)).astype(np.float32)
    params = {
        "rows": {"image_shape": (8, 6, 3)},
        "channels first": {"channel_axis": 0},
        "channels last": {},
    }
    X = {
        "rows": images.reshape(20, -1),
        "channels first": np.moveaxis(images, -1, 1),
        "channels last": images,
    }
    vae = fit(X[layout], pixel_range=(0, 1), max_iter=1, **params[layout])
    vae.set_output(transform="pandas")
    display = display.from_estimator(vae, *([X[layout][3]] if display is DISPLAYS[0] else []))
    assert display.images.shape[2:] == (8, 6, 3)
    display.figure_.canvas.draw()


# LatentTraversalDisplay


def test_the_middle_column_is_the_reconstruction(small, digits):
    X = digits[0][350:351]
    display = LatentTraversalDisplay.from_estimator(small, X[0])
    expected = small.inverse_transform(small.transform(X))[0]
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    for row in tiles(display, (8, 8)):
        assert_array_equal(row[labels.index("0")], expected)
    assert display.image_.get_clim() == (0, 16)


def test_the_image_may_come_alone_or_as_x(small, many_channels, digits):
    for vae, X in ((small, digits[0][5:6]), (many_channels[0], many_channels[1][5:6])):
        rows = X.reshape(1, -1)
        alone = LatentTraversalDisplay.from_estimator(vae, X[0], channels=0).images
        for image in (X, rows, rows[0], X[0].tolist()):
            display = LatentTraversalDisplay.from_estimator(vae, image, channels=0)
            assert_array_equal(display.images, alone)


def test_an_image_with_holes(digits):
    X = digits[0][:40].astype(np.float32)
    holes = np.random.default_rng(0).random(X.shape) < 0.3
    holed = np.where(holes, np.nan, X)
    vae = fit(holed, missing_values=np.nan, max_iter=1)
    expected = LatentTraversalDisplay.from_estimator(vae, holed[3]).images
    masked = np.ma.array(np.where(holes, 7, X), mask=holes)
    for image in (masked[3], masked[3:4], masked[3].ravel(), list(masked[3])):
        assert_array_equal(LatentTraversalDisplay.from_estimator(vae, image).images, expected)


def test_signals_may_come_alone_or_as_x():
    waves = np.random.default_rng(0).normal(size=(20, 12))
    vae = fit(waves, image_shape=(1, 12), pixel_range=None)
    alone = LatentTraversalDisplay.from_estimator(vae, waves[3]).images
    assert_array_equal(LatentTraversalDisplay.from_estimator(vae, waves[3:4]).images, alone)


def test_a_series_of_polars_is_an_image(small, digits):
    row = digits[0][0].ravel()
    display = LatentTraversalDisplay.from_estimator(small, pl.Series(row))
    expected = LatentTraversalDisplay.from_estimator(small, row)
    assert_array_equal(display.images, expected.images)


def test_several_images_are_refused(small, digits):
    with pytest.raises(ValueError, match=r"must be one image, of shape \(8, 8\).*\(2, 8, 8\)"):
        LatentTraversalDisplay.from_estimator(small, digits[0][:2])


def test_nothing_is_blank_below_and_beside(small):
    mosaic = LatentTraversalDisplay.from_estimator(small).image_.get_array()
    assert mosaic.shape == (3 * 9 - 1, 7 * 9 - 1)
    assert not mosaic[-1].mask.all()
    assert not mosaic[:, -1].mask.all()


def test_without_a_picture_the_middle_is_the_mean_of_the_prior(small):
    display = LatentTraversalDisplay.from_estimator(small)
    expected = small.inverse_transform(np.zeros((1, 3)))[0]
    for row in tiles(display, (8, 8)):
        assert_array_equal(row[3], expected)


def test_a_tile_is_the_picture_of_its_labels(small, digits):
    X = digits[0][:1]
    display = LatentTraversalDisplay.from_estimator(small, X[0])
    ticks = display.ax_.get_xticklabels()
    steps = [float(label.get_text().replace("\N{MINUS SIGN}", "-")) for label in ticks]
    assert steps == [-3, -2, -1, 0, 1, 2, 3]
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    drawn = tiles(display, (8, 8))
    for row, name in enumerate(names):
        component = int(name.removeprefix("component ").split(",")[0])
        assert name.endswith(f", {small.kl_per_component_[component]:.2f} nats")
        for column, step in enumerate(steps):
            z = small.transform(X)
            z[0, component] += step
            assert_array_equal(drawn[row, column], small.inverse_transform(z)[0])


def test_the_most_informative_components_come_first(digits):
    vae = fit(digits[0], n_components=5)
    vae.partial_fit(digits[0][::-1])  # which keeps the order of the components
    display = LatentTraversalDisplay.from_estimator(vae, n_components=4)
    assert_array_equal(vae.kl_per_component_[display.components], display.kl)
    assert_array_equal(display.kl, np.sort(vae.kl_per_component_)[:0:-1])
    assert len(display.ax_.get_yticks()) == 4
    display = LatentTraversalDisplay(
        images=np.zeros((1, 3, 2, 2)), steps=[-1, 0, 1], components=[7], kl=[0.123]
    ).plot()
    assert display.ax_.get_yticklabels()[0].get_text() == "component 7, 0.12 nats"


@pytest.mark.parametrize("n_components", [0, -1, 2.5])
def test_how_many_components(small, n_components):
    with pytest.raises(ValueError, match="n_components must be a whole number above 0"):
        LatentTraversalDisplay.from_estimator(small, n_components=n_components)


# LatentManifoldDisplay


@pytest.mark.parametrize("components", [None, (2, 0)])
def test_a_place_in_the_plane_is_the_picture_of_its_latents(small, components):
    display = LatentManifoldDisplay.from_estimator(small, components=components, n_images=5)
    right, up = components or np.argsort(-small.kl_per_component_)[:2]
    for x in (-3, -1.5, 0, 1.5, 3):
        for y in (-3, -1.5, 0, 1.5, 3):
            z = np.zeros((1, 3))
            z[0, right], z[0, up] = x, y
            assert_array_equal(tile(display, x, y, (8, 8)), small.inverse_transform(z)[0])
    kl = small.kl_per_component_
    assert display.ax_.get_xlabel() == f"component {right}, {kl[right]:.2f} nats"
    assert display.ax_.get_ylabel() == f"component {up}, {kl[up]:.2f} nats"
    assert display.image_.get_clim() == (0, 16)


def test_the_second_component_grows_upwards(small):
    display = LatentManifoldDisplay.from_estimator(small, n_images=3)
    bottom, top = display.ax_.get_ylim()
    assert bottom < -3 < 3 < top


def test_pixels_are_square(many_channels):
    display = LatentManifoldDisplay.from_estimator(many_channels[0], channels=0, n_images=4)
    display.figure_.canvas.draw()
    box, shape = display.image_.get_window_extent(), display.image_.get_array().shape
    assert_allclose(box.height / shape[0], box.width / shape[1], rtol=1e-6)


def test_a_grid_of_one(small):
    display = LatentManifoldDisplay.from_estimator(small, n_images=1)
    assert_array_equal(display.image_.get_array(), small.inverse_transform(np.zeros((1, 3)))[0])


@pytest.mark.parametrize("components", [(0, 0), (0, 3), (-1, 0), (0,), (0, 1, 2), 1, (0, 1, 1)])
def test_which_components(small, components):
    with pytest.raises(ValueError, match="two different numbers from 0 to 2"):
        LatentManifoldDisplay.from_estimator(small, components=components)


def test_one_component_makes_no_plane(digits):
    with pytest.raises(ValueError, match="n_components=1"):
        LatentManifoldDisplay.from_estimator(fit(digits[0], n_components=1))


@pytest.mark.parametrize("n_images", [0, -1, 2.5])
def test_how_many_images(small, n_images):
    with pytest.raises(ValueError, match="n_images must be a whole number above 0"):
        LatentManifoldDisplay.from_estimator(small, n_images=n_images)


@pytest.mark.parametrize("shape", [(8, 8), (20, 40), (28, 20), (1, 64), (64, 1)])
@pytest.mark.parametrize("n_rows", [1, 5, 12])
def test_nothing_leaves_the_figure(n_rows, shape):
    traversal = LatentTraversalDisplay(
        images=np.zeros((n_rows, 7, *shape)),
        steps=range(-3, 4),
        components=range(n_rows),
        kl=[2.0] * n_rows,
    )
    names = "component 0, 2.00 nats", "component 1, 2.00 nats"
    manifold = LatentManifoldDisplay(
        images=np.zeros((n_rows, n_rows, *shape)), values=range(n_rows), names=names
    )
    for display in (traversal.plot(), manifold.plot()):
        assert_within_its_figure(display)
