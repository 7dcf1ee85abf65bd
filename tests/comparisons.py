"""Assertions for the tests of several modules: two estimators are the same, a figure is whole."""

import numpy as np
import pandas as pd
from numpy.testing import assert_array_equal


def assert_same_model(vae, other, X):
    """Every public result on X is the same, to the last bit."""
    z = vae.transform(X)
    assert_array_equal(other.transform(X), z)
    assert_array_equal(other.inverse_transform(z), vae.inverse_transform(z))
    assert_array_equal(other.score_samples(X), vae.score_samples(X))
    assert_array_equal(other.kl_per_component_, vae.kl_per_component_)
    assert other.loss_curve_ == vae.loss_curve_
    pd.testing.assert_frame_equal(other.history_, vae.history_)
    assert_array_equal(other.log_likelihood(X[:3], 2), vae.log_likelihood(X[:3], 2))
    for name in ("image_shape_", "pixel_range_", "n_features_in_", "n_components_", "n_iter_"):
        np.testing.assert_equal(getattr(other, name), getattr(vae, name))
    assert other.likelihood_ == vae.likelihood_
    assert other.n_active_components_ == vae.n_active_components_
    if vae.likelihood_ == "gaussian":
        assert_array_equal(other.noise_variance_, vae.noise_variance_)


def assert_same_training(vae, other):
    """Weights, losses and statistics are the same, to the last bit."""
    weights, others = vae.module_.state_dict(), other.module_.state_dict()
    assert list(weights) == list(others)
    for name, weight in weights.items():
        assert_array_equal(others[name].numpy(), weight.numpy(), err_msg=name)
    assert other.loss_curve_ == vae.loss_curve_
    pd.testing.assert_frame_equal(
        other.history_.drop(columns="duration"), vae.history_.drop(columns="duration")
    )
    assert_array_equal(other.kl_per_component_, vae.kl_per_component_)


def assert_same_classes(clf, other, X):
    """Every public result of two classifiers on X that their classes determine is the same."""
    for name in ("classes_", "class_counts_", "priors_", "means_", "variances_"):
        ours, theirs = getattr(clf, name), getattr(other, name)
        # A file keeps neither the order of bytes nor the length of the longest string.
        kinds = [(a.dtype.kind, a.dtype.kind == "U" or a.dtype.itemsize) for a in (ours, theirs)]
        assert kinds[0] == kinds[1], name
        assert_array_equal(theirs, ours, err_msg=name)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        assert_array_equal(getattr(other, method)(X), getattr(clf, method)(X), err_msg=method)
    for y in (None, clf.classes_[-1]):
        expected = clf.sample(3, y=y, random_state=0)
        assert_array_equal(other.sample(3, y=y, random_state=0), expected)


class FixedSeed(np.random.RandomState):
    """A RandomState that gives one seed."""

    def __init__(self, seed):
        super().__init__(0)
        self.given = seed

    def randint(self, *args):
        return self.given


def assert_within_its_figure(display):
    """That nothing of the axes of a display leaves its figure."""
    display.figure_.canvas.draw()
    box, figure = display.ax_.get_tightbbox(), display.figure_.bbox
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.x1
    assert box.y1 <= figure.y1
