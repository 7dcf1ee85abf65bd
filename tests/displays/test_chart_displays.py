"""Points, markers and curves stand where the estimator says."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import fit, fit_classifier
from matplotlib.colors import to_rgba
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from skvae import (
    ComponentInformationDisplay,
    ConvVAETransformer,
    LatentSpaceDisplay,
    TrainingCurveDisplay,
)
from skvae._displays.charts import GREY, PALETTE

pytestmark = pytest.mark.usefixtures("close_figures")


@pytest.mark.parametrize("display", [ComponentInformationDisplay, TrainingCurveDisplay])
def test_not_fitted(display):
    with pytest.raises(NotFittedError):
        display.from_estimator(ConvVAETransformer())


@pytest.mark.parametrize("display", [ComponentInformationDisplay, TrainingCurveDisplay])
def test_axes_of_the_caller(small, display):
    figure, (ax, _) = plt.subplots(1, 2)
    display = display.from_estimator(small, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    figure.canvas.draw()


# LatentSpaceDisplay


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
    nats = small.kl_per_component_[best[0]]
    assert display.ax_.get_xlabel() == f"component {best[0]}, {nats:.2f} nats"
    assert display.ax_.get_title() == "400 images"
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


@pytest.mark.parametrize("n_classes", [1, 10, 11, 30])
@pytest.mark.parametrize("missing", [0, 7])
def test_more_than_ten_classes_have_a_legend(n_classes, missing):
    points = np.random.default_rng(0).normal(size=(90, 2))
    y = [None] * missing + [f"class {i % n_classes}" for i in range(90 - missing)]
    display = LatentSpaceDisplay(points=points, y=y).plot()
    legend = display.ax_.get_legend()
    names = [scatter.get_label() for scatter in display.scatters_]
    assert names == [*sorted({name for name in y if name}), *["unknown"] * bool(missing)]
    expected = names if n_classes > 10 else ["unknown"] * bool(missing)
    assert ([text.get_text() for text in legend.get_texts()] if legend else []) == expected
    display.figure_.canvas.draw()
    box = display.figure_.get_tightbbox()
    assert 0 <= box.x0 <= box.x1 <= display.figure_.get_figwidth()


@pytest.mark.parametrize(
    ("y", "known"),
    [
        ([0.0, 1.0, np.nan, 1.0], [0, 1, 3]),
        ([0, 1, None, 1], [0, 1, 3]),
        (["a", None, "b", np.nan], [0, 2]),
        (["a", "a", "b", np.nan], [0, 1, 2]),
        (np.ma.array([3, 4, 9, 3], mask=[0, 0, 1, 0]), [0, 1, 3]),
        (np.ma.array([0.5, 0.4, 9.1, 0.7], mask=[0, 0, 1, 0]), [0, 1, 3]),
        (pl.Series(["a", None, "b", "b"]), [0, 2, 3]),
        (pd.Series(["a", pd.NA, "b", "b"], dtype="string"), [0, 2, 3]),
        (pd.Series([2, None, 2, 3], dtype="Int64"), [0, 2, 3]),
        ([0.5, np.nan, None, 0.7], [0, 3]),
        ([None] * 4, []),
        ([np.nan] * 4, []),
    ],
)
def test_points_without_a_value_are_grey(y, known):
    points = np.random.default_rng(0).normal(size=(4, 2))
    display = LatentSpaceDisplay(points=points, y=y).plot()
    *others, grey = display.scatters_
    unknown = np.delete(points, known, axis=0)
    assert_array_equal(grey.get_offsets(), unknown)
    assert_allclose(grey.get_facecolor()[0][:3], to_rgba(GREY)[:3])
    assert grey.get_label() == "unknown"
    drawn = np.concatenate([np.empty((0, 2)), *[scatter.get_offsets() for scatter in others]])
    assert sorted(drawn.tolist()) == sorted(points[known].tolist())
    assert all(grey.get_zorder() < scatter.get_zorder() for scatter in others)
    for scatter in others:
        assert not np.isclose(scatter.get_facecolor()[:, :3], to_rgba(GREY)[:3]).all(axis=1).any()


def test_whole_numbers_that_came_as_floats_are_named_as_such():
    display = LatentSpaceDisplay(points=np.eye(2)[[0, 1, 0]], y=[0.0, 10.0, np.nan]).plot()
    assert [text.get_text() for text in display.ax_.texts] == ["0", "10"]


@pytest.mark.parametrize("y", [np.zeros(399), np.zeros((400, 2)), [1], "a"])
def test_y_of_another_length(small, digits, y):
    with pytest.raises(ValueError, match=r"y must hold one value for each of the 400 images. Got"):
        LatentSpaceDisplay.from_estimator(small, digits[0], y)


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
    assert display.ax_.get_xlabel() == "PCA 1"
    assert display.ax_.get_ylabel() == "PCA 2"


def test_one_component_needs_an_embedding(digits):
    vae = ConvVAETransformer(1, max_iter=1, hidden_units=8).fit(digits[0])
    with pytest.raises(ValueError, match=r"n_components=1\. Give an embedding"):
        LatentSpaceDisplay.from_estimator(vae, digits[0])


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
        smallest = distances[~np.eye(10, dtype=bool)].min()
        assert smallest > (35 if name == "normal" else 15), name  # 2.3 is just noticeable


def test_no_class_is_grey_as_points_without_a_class_are():
    def chroma(color):
        rgb = np.array(to_rgba(color)[:3])
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return np.hypot(*_lab(linear[None])[0, 1:])

    assert min(map(chroma, PALETTE)) > 30
    assert chroma(GREY) < 1


def _lab(linear):
    """CIE L*a*b* of linear sRGB, white point D65."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = linear @ np.array(to_xyz).T / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


def test_latents_of_an_estimator_not_fitted(digits):
    with pytest.raises(NotFittedError):
        LatentSpaceDisplay.from_estimator(ConvVAETransformer(), digits[0])


def test_latents_in_pandas(digits):
    vae = ConvVAETransformer(2, max_iter=1, hidden_units=8).set_output(transform="pandas")
    display = LatentSpaceDisplay.from_estimator(vae.fit(digits[0]), digits[0])
    assert display.points.shape == (400, 2)


def test_latents_of_many_channels(many_channels):
    vae, images = many_channels
    best = np.argsort(-vae.kl_per_component_)[:2]
    display = LatentSpaceDisplay.from_estimator(vae, images)
    assert_array_equal(display.scatters_[0].get_offsets(), vae.transform(images)[:, best])


# ComponentInformationDisplay


@pytest.fixture(scope="module")
def partly_idle(digits):
    """An estimator with active components and others."""
    vae = fit(digits[0], n_components=10, beta=4.0, max_iter=30)
    assert 0 < vae.n_active_components_ < 10
    return vae


def test_components_from_the_most_informative_down(partly_idle):
    display = ComponentInformationDisplay.from_estimator(partly_idle)
    places, kl = display.line_.get_data()
    assert_array_equal(places, np.arange(10))
    assert_array_equal(kl, np.sort(partly_idle.kl_per_component_)[::-1])
    labels = [int(label.get_text()) for label in display.ax_.get_xticklabels()]
    assert_array_equal(partly_idle.kl_per_component_[labels], kl)
    low, high = display.ax_.get_ylim()
    assert low <= kl.min() <= kl.max() < high


def test_the_marked_components_are_those_that_tell_images_apart(partly_idle, digits):
    display = ComponentInformationDisplay.from_estimator(partly_idle)
    active = np.flatnonzero(np.var(partly_idle.transform(digits[0]), axis=0) > 0.01)
    numbers = np.array([int(label.get_text()) for label in display.ax_.get_xticklabels()])
    assert set(numbers[display.active_.get_xdata()]) == set(active)
    assert set(numbers[display.idle_.get_xdata()]) == set(range(10)) - set(active)
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == [f"{len(active)} active", f"{10 - len(active)} idle"]
    for markers in (display.active_, display.idle_):
        places, kl = markers.get_data()
        assert_array_equal(kl, display.line_.get_ydata()[places])


def test_components_in_any_order():
    display = ComponentInformationDisplay(kl=[1, 3, 0, 2], active=[True, True, False, False])
    display.plot()
    assert display.line_.get_ydata().tolist() == [3, 2, 1, 0]
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == list("1302")
    assert display.active_.get_data()[1].tolist() == [3, 1]
    assert display.idle_.get_data()[1].tolist() == [2, 0]


def test_only_what_is_there_is_in_the_legend():
    display = ComponentInformationDisplay(kl=[0.0, 0.0], active=[False, False]).plot()
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["2 idle"]


def test_numbers_of_many_components_do_not_overlap():
    display = ComponentInformationDisplay(kl=np.arange(200.0), active=np.ones(200, bool)).plot()
    display.figure_.canvas.draw()
    boxes = [label.get_window_extent() for label in display.ax_.get_xticklabels()]
    for left, right in pairwise(boxes):
        assert left.x1 < right.x0


# TrainingCurveDisplay


@pytest.mark.parametrize("early_stopping", [True, False])
def test_curves_are_the_columns_of_the_history(digits, early_stopping):
    vae = fit(digits[0], early_stopping=early_stopping)
    vae.partial_fit(digits[0])  # an epoch without validation
    display = TrainingCurveDisplay.from_estimator(vae)
    history = vae.history_
    phases = ["train", "valid"] if early_stopping else ["train"]
    terms = ["elbo", "log_likelihood", "kl"]
    assert set(display.lines_) == {f"{phase}_{term}" for phase in phases for term in terms}
    for column, line in display.lines_.items():
        assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
        if column.endswith("_elbo"):
            phase = column.removesuffix("_elbo")
            elbo = history[f"{phase}_log_likelihood"] - history[f"{phase}_kl"]
            assert_array_equal(line.get_ydata(), -elbo)
        else:
            sign = -1 if column.endswith("log_likelihood") else 1
            assert_array_equal(line.get_ydata(), sign * history[column])
    for panel, term in zip(display.axes_, terms, strict=True):
        assert set(panel.lines) == {display.lines_[f"{phase}_{term}"] for phase in phases}
    legend = [text.get_text() for text in display.axes_[0].get_legend().get_texts()]
    assert legend == ["training", "validation"][: len(phases)]
    colors = {phase: display.lines_[f"{phase}_elbo"].get_color() for phase in phases}
    assert len(set(colors.values())) == len(phases)
    for column, line in display.lines_.items():
        assert line.get_color() == colors[column.split("_")[0]]


@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_the_elbo_is_that_of_scores_whatever_beta(digits, beta):
    history = fit(digits[0], beta=beta).history_
    curve = TrainingCurveDisplay(history=history).plot().lines_["train_elbo"].get_ydata()
    assert_allclose(curve, history["train_loss"] - (beta - 1) * history["train_kl"], rtol=1e-6)


@pytest.mark.parametrize("label_weight", [1.0, 50.0])
def test_curves_of_a_classifier(digits, label_weight):
    clf = fit_classifier(*digits, label_weight=label_weight, early_stopping=True)
    display, history = TrainingCurveDisplay.from_estimator(clf), clf.history_
    titles = [panel.get_title() for panel in display.axes_]
    assert titles[0] == "\N{MINUS SIGN}ELBO"
    assert titles[3:] == ["\N{MINUS SIGN}log p(y|z)", "accuracy"]
    for phase in ("train", "valid"):
        # The loss of the labels is no part of the ELBO.
        elbo = history[f"{phase}_loss"] - label_weight * history[f"{phase}_label_loss"]
        assert_allclose(display.lines_[f"{phase}_elbo"].get_ydata(), elbo, rtol=1e-5)
        for term in ("label_loss", "accuracy"):
            column = f"{phase}_{term}"
            assert_array_equal(display.lines_[column].get_ydata(), history[column])
    display.figure_.canvas.draw()
    boxes = [panel.get_tightbbox() for panel in display.axes_]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert boxes[-1].x1 <= display.figure_.bbox.x1


def test_one_epoch_can_be_seen(digits):
    vae = fit(digits[0], max_iter=1)
    for line in TrainingCurveDisplay.from_estimator(vae).lines_.values():
        assert line.get_marker() == "."


def test_panels_lie_side_by_side_inside_the_axes(small):
    display = TrainingCurveDisplay.from_estimator(small)
    display.figure_.canvas.draw()
    outer = display.ax_.get_window_extent()
    boxes = [panel.get_tightbbox() for panel in display.axes_]
    for left, right in pairwise(boxes):
        assert left.x1 < right.x0
    assert boxes[-1].x1 <= display.figure_.bbox.x1
    assert [panel.get_window_extent().height for panel in display.axes_] == [outer.height] * 3


def test_an_embedding_must_be_a_plane(small, digits):
    with pytest.raises(ValueError, match=r"two numbers for each image.*shape \(40, 3\)"):
        LatentSpaceDisplay.from_estimator(small, digits[0][:40], embedding=PCA(3))
