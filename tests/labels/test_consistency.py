"""Consistency: small maps of an image leave its class as it is."""

import numpy as np
import pytest
import torch
from comparisons import assert_same_training
from conftest import SMALL, fit, fit_classifier, weights_of
from nets import affine_maps, mapped
from numpy.testing import assert_allclose
from scipy.special import rel_entr, softmax
from skorch.callbacks import Callback

import skvae
from skvae import ConvVAEClassifier
from skvae._model import class_divergences

FEW = {"unlabeled": -1}


class Parts(Callback):
    """The first part of each batch of training."""

    def initialize(self):
        self.parts = []
        return self

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            self.parts.append(batch[0].parts[0])


@pytest.fixture(scope="module")
def images(digits):
    return digits[0][:200]


@pytest.fixture(scope="module")
def few(digits):
    """The labels of every fifth of 200 images."""
    return np.where(np.arange(200) % 5, -1, digits[1][:200])


def test_the_divergence_is_the_relative_entropy_of_softmax():
    rng = np.random.default_rng(0)
    logits, others = rng.normal(0, 5, (2, 50, 7))
    expected = rel_entr(softmax(logits, 1), softmax(others, 1)).sum(1)
    divergences = class_divergences(torch.from_numpy(logits), torch.from_numpy(others))
    assert_allclose(divergences, expected, rtol=1e-9)
    # A number added to all logits of an image changes nothing.
    same = class_divergences(
        torch.from_numpy(logits), torch.from_numpy(logits + rng.normal(size=(50, 1)))
    )
    assert_allclose(same, 0, atol=1e-12)


def test_the_divergence_of_certain_classes_is_finite():
    certain = torch.tensor([[0.0, -1e4], [-1e4, 0.0]])
    assert_allclose(class_divergences(certain, certain), 0)
    assert_allclose(class_divergences(certain, certain.flip(0)), 1e4)
    one_class = torch.tensor([[3.0], [-2.0]])
    assert_allclose(class_divergences(one_class, -one_class), 0)


def disagreement(clf, images):
    """Mean divergence of the classes of images from those under random maps."""
    x = torch.from_numpy(images / np.float32(16))[:, None]
    draws = torch.rand(len(x), 5, generator=torch.Generator().manual_seed(7))
    turned = mapped(x, affine_maps(draws, 1.0, (1, 8, 8)), holes=False)
    with torch.no_grad():
        before, after = (clf.module_.prior.log_joint(clf.module_.encode(x)[0]) for x in (x, turned))
    return rel_entr(softmax(before.numpy(), 1), softmax(after.numpy(), 1)).sum(1).mean()


def test_maps_change_classes_less_after_training_with_maps(images, few):
    plain, consistent = (
        disagreement(fit_classifier(images, few, **FEW, max_iter=12, consistency=c), images)
        for c in (0.0, 1.0)
    )
    assert consistent < 0.75 * plain


def test_maps_follow_the_seed(images, few):
    first, again = (fit_classifier(images, few, **FEW) for _ in range(2))
    assert_same_training(first, again)
    weaker = fit_classifier(images, few, **FEW, consistency=0.5)
    assert not np.array_equal(weights_of(weaker), weights_of(first))


@pytest.mark.parametrize("n_labelled", [40, 200])
def test_each_step_has_maps_and_none_without_them(digits, n_labelled):
    X, y = digits[0][:200], np.where(np.arange(200) < n_labelled, digits[1][:200], -1)
    for strength in (0.0, 1.0):
        seen = Parts()
        fit_classifier(X, y, **FEW, consistency=strength, max_iter=1, callbacks=[seen])
        assert all(("mapped" in part) == (strength > 0) for part in seen.parts)
    seen = Parts()
    fit(X, max_iter=1, callbacks=[seen])
    assert all(part.keys() == {"x", "noise"} for part in seen.parts)


@pytest.mark.parametrize("n_labelled", [40, 200])
def test_images_with_holes_have_maps_too(digits, n_labelled):
    X, y = digits[0][:200].astype(float), np.where(np.arange(200) < n_labelled, digits[1][:200], -1)
    X[::2, 2:4, 2:4] = np.nan
    X[7] = np.nan
    seen = Parts()
    params = {**FEW, "missing_values": np.nan, "likelihood": "gaussian", "early_stopping": True}
    clf = fit_classifier(X, y, **params, callbacks=[seen])
    assert any(part["mapped"].isnan().any() for part in seen.parts)
    assert np.isfinite(clf.predict_proba(X)).all()
    assert np.isfinite(weights_of(clf)).all()


@pytest.mark.parametrize("shape", [(1, 64), (64, 1), (4, 4, 4)])
def test_signals_and_channels_have_maps_too(images, few, shape):
    clf = fit_classifier(images.reshape(200, 64), few, **FEW, image_shape=shape, max_iter=1)
    assert np.isfinite(clf.predict_proba(images.reshape(200, 64))).all()


def test_partial_fit_has_maps_too(images, few):
    weights = []
    for strength in (1.0, 1.0, 0.0):
        clf = ConvVAEClassifier(**{**SMALL, **FEW}, pixel_range=(0, 16), consistency=strength)
        clf.partial_fit(images, few, classes=np.arange(10)).partial_fit(images, few)
        weights.append(weights_of(clf))
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_a_file_keeps_the_strength_of_the_maps(images, few, tmp_path):
    clf = fit_classifier(images, few, **FEW, consistency=np.float32(0.25), max_iter=1)
    clf.save(tmp_path / "model")
    assert skvae.load(tmp_path / "model").consistency == 0.25


@pytest.mark.parametrize("strength", [-0.1, 1.1, np.nan, "1", None, True + 1])
def test_a_strength_is_a_number_from_0_to_1(images, few, strength):
    with pytest.raises(ValueError, match="'consistency' parameter"):
        fit_classifier(images, few, **FEW, consistency=strength)
