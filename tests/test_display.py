"""The Displays draw what they are given, where it belongs."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from skvae import ConvVAETransformer, LatentSpaceDisplay, ReconstructionDisplay
from skvae._display import PALETTE


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_reconstructions_are_below_their_originals(small, digits):
    display = ReconstructionDisplay.from_estimator(small, digits[0], n_images=7, n_columns=4)
    expected = small.inverse_transform(small.transform(digits[0][:7]))
    assert_array_equal(display.images, digits[0][:7])
    assert_array_equal(display.reconstructions, expected)
    mosaic = display.image_.get_array()
    assert mosaic.shape == (2 * (9 + 11), 4 * 9)
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
    assert mosaic.shape == (20, 27, 3)
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


def test_rows_and_axes_of_the_caller(digits):
    rows = digits[0].reshape(400, 64)
    vae = ConvVAETransformer(2, max_iter=1, hidden_units=8).fit(rows)
    _, ax = plt.subplots()
    display = ReconstructionDisplay.from_estimator(vae, rows, n_images=2, ax=ax)
    assert display.ax_ is ax
    assert display.images.shape == (2, 8, 8)


def test_latents_by_class(small, digits):
    images, labels = digits
    display = LatentSpaceDisplay.from_estimator(small, images, labels)
    best = np.argsort(-small.kl_per_component_)[:2]
    z = small.transform(images)[:, best]
    assert len(display.scatters_) == 10
    for label, scatter in enumerate(display.scatters_):
        assert_allclose(scatter.get_offsets(), z[labels == label])
        assert_allclose(scatter.get_facecolor()[0][:3], to_rgba(PALETTE[label])[:3])
        assert scatter.get_label() == str(label)
    assert display.ax_.get_xlabel() == f"convvaetransformer{best[0]}"
    assert sorted(text.get_text() for text in display.ax_.texts) == list("0123456789")


def test_latents_without_classes_or_with_a_continuous_target(small, digits):
    images = digits[0]
    assert len(LatentSpaceDisplay.from_estimator(small, images).scatters_) == 1
    ink = images.mean((1, 2)) / 16
    display = LatentSpaceDisplay.from_estimator(small, images, ink)
    assert_allclose(display.scatters_[0].get_array(), ink)
    assert len(display.figure_.axes) == 2  # the colour bar


def test_more_than_ten_classes_differ_in_marker():
    points, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 20
    scatters = LatentSpaceDisplay(points=points, y=y).plot().scatters_
    looks = {(tuple(s.get_facecolor()[0]), s.get_paths()[0].vertices.tobytes()) for s in scatters}
    assert len(looks) == 20


def test_the_name_of_a_class_stands_among_its_points():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [20, 0], [10, 0]])  # the first class lies on both sides
    points = np.repeat(centres, 50, axis=0) + rng.normal(size=(150, 2))
    y = np.repeat([0, 0, 1], 50)
    for text in LatentSpaceDisplay(points=points, y=y).plot().ax_.texts:
        members = points[y == int(text.get_text())]
        assert np.isclose(members, text.xy).all(axis=1).any()


def test_an_embedding_brings_the_latents_into_a_plane(small, digits):
    display = LatentSpaceDisplay.from_estimator(small, digits[0], embedding=PCA(2))
    assert_allclose(display.points, PCA(2).fit_transform(small.transform(digits[0])), atol=1e-5)
    assert display.ax_.get_xlabel() == ""


def test_one_component_needs_an_embedding(digits):
    vae = ConvVAETransformer(1, max_iter=1, hidden_units=8).fit(digits[0])
    with pytest.raises(ValueError, match=r"n_components=1\. Give an embedding"):
        LatentSpaceDisplay.from_estimator(vae, digits[0])


@pytest.mark.parametrize("display", [ReconstructionDisplay, LatentSpaceDisplay])
def test_not_fitted(display, digits):
    with pytest.raises(NotFittedError):
        display.from_estimator(ConvVAETransformer(), digits[0])


def test_pandas_output(digits):
    vae = ConvVAETransformer(2, max_iter=1, hidden_units=8).set_output(transform="pandas")
    vae.fit(digits[0])
    LatentSpaceDisplay.from_estimator(vae, digits[0])
    display = ReconstructionDisplay.from_estimator(vae, digits[0], n_images=2)
    assert display.reconstructions.shape == (2, 8, 8)


def test_colours_can_be_told_apart_by_people_with_colour_vision_deficiencies():
    # Machado, Oliveira and Fernandes (2009), severity 1: deuteranopia and protanopia.
    simulations = {
        "normal": np.eye(3),
        "deuteranopia": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        "protanopia": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
    }
    rgb = np.array([to_rgba(color)[:3] for color in PALETTE])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for name, matrix in simulations.items():
        lab = _lab(np.clip(linear @ np.array(matrix).T, 0, 1))
        distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
        assert distances[~np.eye(10, dtype=bool)].min() > 5, name  # 2.3 is just noticeable


def _lab(linear):
    """CIE L*a*b* of linear sRGB, white point D65."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = linear @ np.array(to_xyz).T / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


@pytest.mark.parametrize("n_images", [0, -1, 2.5])
def test_how_many_images(small, digits, n_images):
    with pytest.raises(ValueError, match="n_images must be a whole number above 0"):
        ReconstructionDisplay.from_estimator(small, digits[0], n_images=n_images)
