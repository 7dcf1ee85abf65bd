"""ConvVAEClassifier: laws of its classes, labels of all types, failures, scikit-learn's tools."""

import inspect
import math
import pickle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from comparisons import assert_same_classes, assert_same_model, assert_same_training
from conftest import SMALL, fit_classifier, weights_of
from faults import Crash, CrashAtTheEnd
from nets import Budget, split_of
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax, softmax
from scipy.stats import multivariate_normal
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.semi_supervised import SelfTrainingClassifier
from skorch.callbacks import Callback

import skvae
from skvae import ConvVAEClassifier, ConvVAETransformer

NAN = float("nan")
NAMES = np.array(["zero", "one", "two"])


def small_params(**params):
    return {**SMALL, "pixel_range": (0, 16), "max_iter": 2, **params}


@pytest.fixture(scope="module")
def images(digits):
    return digits[0][:120]


@pytest.fixture(scope="module")
def labels(digits):
    return digits[1][:120]


@pytest.fixture(scope="module")
def held_out(digits):
    return digits[0][300:]


@pytest.fixture(scope="module")
def binary(images, labels):
    """A classifier of odd and even digits, named by strings."""
    return fit_classifier(images, np.array(["even", "odd"])[labels % 2], max_iter=8)


# What it says of images


def test_predictions_are_the_most_probable_classes(small_classifier, binary, held_out):
    for clf in (small_classifier, binary):
        proba = clf.predict_proba(held_out)
        assert proba.shape == (100, len(clf.classes_))
        assert proba.dtype == np.float64
        assert (proba >= 0).all()
        assert_allclose(proba.sum(1), 1, rtol=1e-12)
        assert_array_equal(clf.predict(held_out), clf.classes_[proba.argmax(1)])
        assert clf.predict(held_out).dtype == clf.classes_.dtype
        log_proba = clf.predict_log_proba(held_out)
        assert_allclose(np.exp(log_proba), proba, rtol=1e-12)
        assert (log_proba <= 0).all()


def test_decisions_are_log_probabilities_up_to_a_number(small_classifier, held_out):
    decision = small_classifier.decision_function(held_out)
    assert decision.shape == (100, 10)
    assert_allclose(softmax(decision, 1), small_classifier.predict_proba(held_out), rtol=1e-9)
    assert_allclose(
        log_softmax(decision, 1), small_classifier.predict_log_proba(held_out), rtol=1e-9, atol=1e-9
    )


def test_the_decision_of_two_classes_is_their_log_odds(binary, held_out):
    decision = binary.decision_function(held_out)
    assert decision.shape == (100,)
    assert 0 < (decision > 0).sum() < 100
    assert_array_equal(binary.predict(held_out), binary.classes_[(decision > 0).astype(int)])
    log_proba = binary.predict_log_proba(held_out)
    assert_allclose(decision, log_proba[:, 1] - log_proba[:, 0], rtol=1e-9, atol=1e-9)


METHODS = ["predict", "predict_proba", "predict_log_proba", "decision_function"]


@pytest.mark.parametrize("method", METHODS)
def test_a_row_depends_on_its_image_alone(small_classifier, digits, method):
    images, order = digits[0][:300], np.random.default_rng(0).permutation(300)
    function = getattr(small_classifier, method)
    whole = function(images)
    assert_array_equal(function(images[order]), whole[order])
    assert_array_equal(function(images[7:8]), whole[7:8])
    assert_array_equal(function(images[:150]), whole[:150])


@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_fitted_says_nothing(images, method):
    with pytest.raises(NotFittedError):
        getattr(ConvVAEClassifier(), method)(images)


def test_classes_are_normal_around_their_means(small_classifier, binary, held_out):
    for clf in (small_classifier, binary):
        z = clf.transform(held_out).astype(np.float64)
        joint = np.stack(
            [
                multivariate_normal(mean, np.diag(clf.variances_)).logpdf(z) + np.log(prior)
                for mean, prior in zip(clf.means_, clf.priors_, strict=True)
            ],
            axis=1,
        )
        expected = joint[:, 1] - joint[:, 0] if len(clf.classes_) == 2 else joint
        # float32 of numbers up to this size
        atol = 1e-6 * np.abs(joint).max()
        assert_allclose(clf.decision_function(held_out), expected, atol=atol)
        # Linear in z, as in discriminant analysis.
        slope = clf.means_ / clf.variances_
        bias = np.log(clf.priors_) - 0.5 * (clf.means_ * slope).sum(1)
        assert_allclose(clf.predict_proba(held_out), softmax(z @ slope.T + bias, 1), atol=atol)


def test_shapes_of_what_is_known_of_classes(small_classifier, digits):
    clf = small_classifier
    assert_array_equal(clf.classes_, np.arange(10))
    known = np.arange(300) % 3 > 0
    assert_array_equal(clf.class_counts_, np.bincount(digits[1][:300][known]))
    assert_allclose(clf.priors_, clf.class_counts_ / known.sum())
    assert clf.means_.shape == (10, 3)
    assert clf.variances_.shape == (3,)
    assert (clf.variances_ > 0).all()


def test_it_learns_labels(small_classifier, images, labels, digits):
    # Chance is a tenth. All images, with labels or without, come from the same digits.
    assert small_classifier.score(digits[0][300:], digits[1][300:]) > 0.5
    # Without a weight, the labels count by the KL term only.
    strong, none = (fit_classifier(images, labels, label_weight=w, max_iter=8) for w in (50, 0))
    assert strong.history_["train_label_loss"].iloc[-1] < none.history_["train_label_loss"].iloc[-1]


# Scores


def test_the_score_is_the_accuracy_over_labelled_images(small_classifier, digits):
    images, labels = digits[0][300:], digits[1][300:].copy()
    right = small_classifier.predict(images) == labels
    assert small_classifier.score(images, labels) == pytest.approx(right.mean())
    assert type(small_classifier.score(images, labels)) is float
    known = np.arange(100) % 3 == 0
    few = np.where(known, labels, -1)
    assert small_classifier.score(images, few) == pytest.approx(right[known].mean())
    weight = np.random.default_rng(0).uniform(size=100)
    score = small_classifier.score(images, few, sample_weight=weight)
    assert score == pytest.approx(np.average(right[known], weights=weight[known]))
    with pytest.raises(ValueError, match="No image has a label: all of y is unlabeled=-1"):
        small_classifier.score(images, np.full(100, -1))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        small_classifier.score(images, labels[:-1])


def test_without_a_marker_every_label_counts(binary, held_out):
    y = binary.predict(held_out)
    assert binary.score(held_out, y) == 1.0
    y[:50] = "neither"
    assert binary.score(held_out, y) == 0.5


def test_score_samples_sum_the_classes_out(small_classifier, held_out):
    # By torch.distributions, for the draw of z that belongs to each image.
    clf, module = small_classifier, small_classifier.module_
    x = torch.from_numpy(held_out / np.float32(16))[:, None]
    normal = torch.distributions.Normal
    with torch.no_grad():
        mu, logvar = module.encode(x)
        z = mu + torch.exp(logvar / 2) * clf.net_.noise(x)
        logits = module.decode(z)
        posterior = normal(mu.double()[:, None], torch.exp(logvar.double() / 2)[:, None])
    prior = normal(torch.from_numpy(clf.means_), torch.from_numpy(clf.variances_).sqrt())
    divergence = torch.distributions.kl_divergence(posterior, prior).sum(2)
    bound = torch.logsumexp(torch.from_numpy(clf.priors_).log() - divergence, 1)
    dark, light = (
        torch.distributions.Bernoulli(logits=logits).log_prob(torch.full_like(x, value))
        for value in (0.0, 1.0)
    )
    log_p = (x * light + (1 - x) * dark).double().sum((1, 2, 3))
    assert_allclose(clf.score_samples(held_out), (log_p + bound).numpy(), rtol=1e-5)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_elbo_is_below_the_likelihood_which_rises_with_the_draws(
    digits, likelihood, small_classifier
):
    clf = small_classifier
    if likelihood == "gaussian":
        clf = fit_classifier(digits[0], digits[1] % 2, likelihood=likelihood)
    elbo = clf.score_samples(digits[0])
    few, many = (clf.log_likelihood(digits[0], n) for n in (4, 64))
    for low, high in ((elbo, few), (elbo, many), (few, many)):
        rise = high - low
        assert rise.mean() > -3 * rise.std() / 20  # in expectation; 400 images
    if likelihood == "bernoulli":  # a posterior that is not nearly exact
        assert elbo.mean() < few.mean() < many.mean()


# Images of a class


def test_images_of_a_class_are_decoded_draws_around_its_mean(small_classifier, binary):
    for clf, label, code in ((small_classifier, 7, 7), (binary, "odd", 1)):
        noise = np.random.RandomState(3).standard_normal((5, 3))
        z = clf.means_[code] + np.sqrt(clf.variances_) * noise
        expected = clf.inverse_transform(z.astype(np.float32))
        assert_array_equal(clf.sample(5, y=label, random_state=3), expected)
        assert expected.shape == (5, 8, 8)


def test_images_of_all_classes_go_by_their_priors(small_classifier):
    clf, rng = small_classifier, np.random.RandomState(5)
    codes = rng.choice(10, 6, p=clf.priors_ / clf.priors_.sum())
    z = clf.means_[codes] + np.sqrt(clf.variances_) * rng.standard_normal((6, 3))
    expected = clf.inverse_transform(z.astype(np.float32))
    assert_array_equal(clf.sample(6, random_state=5), expected)


def test_a_class_that_is_none(small_classifier, binary):
    for clf, y in ((small_classifier, 10), (small_classifier, -1), (small_classifier, "7")):
        with pytest.raises(ValueError, match="is not one of the classes"):
            clf.sample(2, y=y)
    for y in ("", 0, NAN, "ODD"):
        with pytest.raises(ValueError, match="is not one of the classes"):
            binary.sample(2, y=y)
    with pytest.raises(ValueError, match="n_samples must be a whole number above 0"):
        binary.sample(0, y="odd")


# Labels of all kinds


@pytest.fixture(scope="module", params=[False, True], ids=["many", "scarce"])
def plain(request, images, labels):
    """A classifier of whole numbers, and the images of which it had the labels."""
    known = np.arange(120) % 5 > (3 if request.param else 0)
    return fit_classifier(images, np.where(known, labels % 3, -1), unlabeled=-1), known


@pytest.mark.parametrize(
    ("names", "unlabeled"),
    [
        (np.array(["b", "a", "c"]), "?"),
        (np.array(["b", "a", "c"], object), NAN),
        (np.array(["b", "a", "c"], object), ""),
        (np.array([5, -3, 8], np.int8), 0),
        (np.array([5, 3, 8], np.uint16), 0),
        (np.array([5, 3, 8], ">i4"), -1),
        (np.array([0.0, -2.0, 3.0]), NAN),
        (np.array([0.0, -2.0, 3.0], np.float32), 7),
    ],
    ids=str,
)
def test_labels_of_any_type_are_the_same_training(
    images, labels, names, unlabeled, plain, tmp_path
):
    # Classes by their rank, so that only the names differ.
    names, (plain, known) = np.sort(names), plain
    y = names[labels % 3]
    if isinstance(unlabeled, str) and y.dtype.kind != "O":
        y = y.astype("U7")
    y[~known] = unlabeled
    clf = fit_classifier(images, y, unlabeled=unlabeled)
    assert_same_training(plain, clf)
    assert_array_equal(clf.classes_, names)
    assert_array_equal(clf.predict(images), names[plain.predict(images)])
    assert clf.score(images, y) == plain.score(images[known], labels[known] % 3)
    clf.save(tmp_path / "model")
    for other in (pickle.loads(pickle.dumps(clf)), skvae.load(tmp_path / "model")):
        assert_same_model(clf, other, images[:20])
        assert_same_classes(clf, other, images[:20])
        assert repr(other.unlabeled) == repr(clf.unlabeled)
    clone(clf)


def test_bools(images, labels, tmp_path):
    clf = fit_classifier(images, labels > 4)
    assert clf.classes_.dtype == clf.predict(images).dtype == bool
    assert_same_training(fit_classifier(images, (labels > 4).astype(int)), clf)
    clf.save(tmp_path / "model")
    assert_same_classes(clf, skvae.load(tmp_path / "model"), images[:20])


def test_one_class(images):
    clf = fit_classifier(images, np.full(120, 7))
    assert_array_equal(clf.predict(images), np.full(120, 7))
    assert_array_equal(clf.predict_proba(images), np.ones((120, 1)))
    assert clf.decision_function(images).shape == (120, 1)
    assert clf.sample(2, y=7).shape == (2, 8, 8)
    assert (clf.history_["train_label_loss"] == 0).all()
    some = np.where(np.arange(120) < 5, 7, -1)
    assert_array_equal(fit_classifier(images, some, unlabeled=-1).classes_, [7])


def test_a_class_with_one_image_and_one_image_with_a_label(images, labels):
    y = np.where(np.arange(120) == 50, "rare", NAMES[labels % 3])
    for early_stopping in ("auto", True, False):
        clf = fit_classifier(images, y, early_stopping=early_stopping)
        assert_array_equal(clf.class_counts_[clf.classes_ == "rare"], [1])
        assert np.isfinite(clf.predict_log_proba(images)).all()
    y = np.where(np.arange(120) == 50, 3, -1)
    clf = fit_classifier(images, y, unlabeled=-1, early_stopping=True)
    assert_array_equal(clf.class_counts_, [1])


@pytest.mark.parametrize("early_stopping", ["auto", False])
def test_as_many_classes_as_images(images, early_stopping):
    y = np.array([*range(15), *[-1] * 15])
    clf = fit_classifier(images[:15], y[:15], early_stopping=early_stopping)
    assert_array_equal(clf.classes_, np.arange(15))
    # And some images without a label, which may be set aside.
    clf = fit_classifier(images[:30], y, unlabeled=-1, early_stopping=early_stopping)
    assert_array_equal(clf.class_counts_, np.ones(15))
    assert ("valid_loss" in clf.history_) == (early_stopping == "auto")


@pytest.mark.parametrize("unlabeled", [None, -1])
def test_minus_one_without_a_marker_is_told(images, labels, unlabeled):
    y = np.where(np.arange(120) < 60, labels, -1)
    if unlabeled is None:
        with pytest.warns(UserWarning, match="set unlabeled=-1") as record:
            clf = fit_classifier(images, y)
        assert sum("unlabeled" in str(warning.message) for warning in record) == 1
        assert len(clf.classes_) == 11
    else:
        assert len(fit_classifier(images, y, unlabeled=-1).classes_) == 10


def test_warnings_point_at_the_line_of_the_user(images, labels):
    clf = ConvVAEClassifier(**small_params(max_iter=1))
    with pytest.warns(UserWarning, match="-1 beside") as record:
        clf.fit(images, labels - 1)
    assert {warning.filename for warning in record} == {__file__}


def test_hidden_labels_do_not_matter(images, labels):
    # The same marked images, whatever they show; and the same for any marker.
    known = np.arange(120) % 2 > 0
    first = fit_classifier(images, np.where(known, labels, -1), unlabeled=-1)
    second = fit_classifier(images, np.where(known, labels, 99), unlabeled=99)
    third = fit_classifier(images, np.where(known, labels, NAN), unlabeled=NAN)
    assert_same_training(first, second)
    assert_same_training(first, third)


# Priors


def test_priors_shift_the_decisions(images, labels):
    y = labels % 3
    given = [0.7, 0.2, 0.1]
    plain = fit_classifier(images, y, learning_rate=1e-30)
    clf = fit_classifier(images, y, learning_rate=1e-30, priors=given)
    assert_array_equal(clf.priors_, given)
    difference = clf.decision_function(images) - plain.decision_function(images)
    expected = np.log(given) - np.log(np.bincount(y) / 120)
    assert_allclose(difference, np.tile(expected, (120, 1)), atol=1e-4)


@pytest.mark.parametrize("priors", [[0.5, 0.5], [0.5, 0.5, 0.0], [1, 1, 1], [[1.0]]], ids=str)
def test_priors_that_do_not_suit_the_classes(images, labels, priors):
    with pytest.raises(ValueError, match="priors must"):
        fit_classifier(images, labels % 3, priors=priors)


# Training in steps


def test_partial_fit_counts_all_labels_so_far(images, labels):
    clf = ConvVAEClassifier(**small_params(unlabeled=-1))
    y = np.where(np.arange(120) % 2, labels % 3, -1)
    assert clf.partial_fit(images[:60], y[:60], classes=[0, 1, 2, 3]) is clf
    for n, classes in ((60, None), (120, None), (180, [3, 2, 1, 0])):
        seen = np.concatenate([y[:60], y[60:], y[60:]])[:n]
        counts = np.bincount(seen[seen >= 0], minlength=4)
        assert_array_equal(clf.class_counts_, counts)
        expected = np.maximum(counts, 1)
        assert_allclose(clf.priors_, expected / expected.sum())
        log_priors = clf.module_.prior.log_priors
        assert_allclose(log_priors.exp(), clf.priors_, rtol=1e-6)
        clf.partial_fit(images[60:], y[60:], classes)
    assert clf.n_iter_ == 4
    # Class 3 was named, and never seen: it is possible all the same.
    assert_array_equal(clf.classes_, [0, 1, 2, 3])
    assert clf.class_counts_[3] == 0
    assert clf.predict_proba(images).shape == (120, 4)
    assert clf.sample(2, y=3).shape == (2, 8, 8)


def test_partial_fit_without_any_label(images):
    images = np.resize(images, (256, 8, 8))  # so many that no call starts anew
    nothing = np.full(256, "")
    clf = ConvVAEClassifier(**small_params(unlabeled=""))
    clf.partial_fit(images, nothing, classes=NAMES)
    assert_array_equal(clf.classes_, np.sort(NAMES))
    assert_array_equal(clf.class_counts_, [0, 0, 0])
    assert "train_label_loss" not in clf.history_
    clf.partial_fit(images, np.resize(NAMES, 256)).partial_fit(images, nothing)
    assert_array_equal(np.isnan(clf.history_["train_label_loss"]), [True, False, True])
    assert_array_equal(np.isnan(clf.history_["train_accuracy"]), [True, False, True])


def test_partial_fit_after_fit(images, labels):
    clf = fit_classifier(images, labels % 3)
    clf.partial_fit(images[:10], labels[:10] % 3)
    assert_array_equal(clf.class_counts_, np.bincount(np.append(labels, labels[:10]) % 3))
    assert clf.n_iter_ == 4


def test_warm_start_goes_on_with_the_same_classes(images, labels):
    clf = fit_classifier(images, labels % 3, warm_start=True)
    means = clf.means_
    clf.set_params(learning_rate=1e-30).fit(images[:50], labels[:50] % 2)
    assert_allclose(np.sort(clf.means_), np.sort(means), rtol=1e-5)
    assert clf.n_iter_ == 6
    # A class that these images lack stays; the counts are those of the last fit.
    assert_array_equal(clf.classes_, [0, 1, 2])
    assert_array_equal(clf.class_counts_, np.bincount(labels[:50] % 2, minlength=3))
    with pytest.raises(ValueError, match="previously unseen labels"):
        clf.fit(images, labels)
    clf.set_params(warm_start=False).fit(images, labels)
    assert len(clf.classes_) == 10


# Failures


FAILURES = {
    "length": (lambda clf, X, y: clf.fit(X, y[:-1]), "inconsistent numbers of samples"),
    "continuous": (lambda clf, X, y: clf.fit(X, y + 0.5), "Unknown label type: continuous"),
    "NaN": (lambda clf, X, y: clf.fit(X, np.where(y == 1, NAN, y)), "Input y contains NaN"),
    "no y": (lambda clf, X, y: clf.fit(X, None), "requires y to be passed, but the target y is"),
    "nothing": (lambda clf, X, y: clf.fit(X, np.full(120, -1)), "No image has a label"),
    "outputs": (lambda clf, X, y: clf.fit(X, np.stack([y, y], 1)), "should be a 1d array"),
    "images": (lambda clf, X, y: clf.fit(X + NAN, y), "Input X contains NaN"),
    "weight": (lambda clf, X, y: clf.set_params(label_weight=-1.0).fit(X, y), "label_weight"),
    "maps": (lambda clf, X, y: clf.set_params(consistency=1.5).fit(X, y), "consistency"),
    "priors": (lambda clf, X, y: clf.set_params(priors=[0.5, 0.5]).fit(X, y), "priors must hold"),
    "partial length": (lambda clf, X, y: clf.partial_fit(X, y[1:]), "inconsistent numbers"),
    "partial class": (lambda clf, X, y: clf.partial_fit(X, y + 5), "previously unseen labels"),
    "partial classes": (
        lambda clf, X, y: clf.partial_fit(X, y, classes=[0, 1]),
        "is not the same as on last call",
    ),
    "rate": (
        lambda clf, X, y: clf.set_params(learning_rate=1e12).fit(X, y),
        "Lower learning_rate",
    ),
}


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize(("fail", "match"), FAILURES.values(), ids=FAILURES)
def test_a_failure_leaves_the_estimator_as_it_was(images, labels, fail, match):
    clf = fit_classifier(images, labels % 3, unlabeled=-1)
    before, log_proba = pickle.dumps(clf.__getstate__()), clf.predict_log_proba(images)
    params = clf.get_params()
    with pytest.raises(ValueError, match=match):
        fail(clf, images, labels % 3)
    clf.set_params(**params)
    assert pickle.dumps(clf.__getstate__()) == before
    assert_array_equal(clf.predict_log_proba(images), log_proba)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("crash", [Crash(1), CrashAtTheEnd()], ids=["within", "at the end"])
def test_a_crash_leaves_the_estimator_as_it_was(images, labels, method, crash):
    clf = fit_classifier(images, labels % 3, unlabeled=-1)
    before, log_proba = pickle.dumps(clf.__getstate__()), clf.predict_log_proba(images)
    clf.set_params(callbacks=[crash])
    with pytest.raises(RuntimeError, match="crash"):
        getattr(clf, method)(images, np.where(labels > 4, labels % 3, -1))
    clf.set_params(callbacks=None)
    assert pickle.dumps(clf.__getstate__()) == before
    assert_array_equal(clf.predict_log_proba(images), log_proba)


def test_a_first_failure_leaves_nothing(images, labels):
    clf = ConvVAEClassifier(**small_params(callbacks=[Crash(1)]))
    with pytest.raises(RuntimeError, match="crash"):
        clf.fit(images, labels)
    assert not hasattr(clf, "classes_")
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        clf.partial_fit(images, labels)
    assert vars(clf).keys() == clf.get_params().keys()


# Copies and files


def test_copies_and_files(small_classifier, held_out, tmp_path):
    clf = small_classifier
    clf.save(tmp_path / "model")
    other = skvae.load(tmp_path / "model")
    assert type(other) is ConvVAEClassifier
    for copy in (other, pickle.loads(pickle.dumps(clf))):
        assert_same_model(clf, copy, held_out)
        assert_same_classes(clf, copy, held_out)
    assert clone(clf).get_params() == clf.get_params()
    assert not hasattr(clone(clf), "classes_")


def test_a_file_holds_what_the_user_gave(images, labels, tmp_path):
    priors = np.array([0.7, 0.2, 0.1])
    clf = fit_classifier(images, labels % 3, priors=priors, label_weight=np.float32(2))
    clf.save(tmp_path / "model")
    other = skvae.load(tmp_path / "model")
    assert_array_equal(other.priors, priors)
    assert other.label_weight == 2.0
    assert_same_classes(clf, other, images)
    # Both go on alike.
    for copy in (clf, other):
        copy.set_params(warm_start=True, max_iter=1).fit(images, labels % 3)
    assert_same_training(clf, other)


RESUMED = {
    "many": {"unlabeled": -1},
    "scarce": {"unlabeled": 0},
    "NaN": {"unlabeled": NAN},
    "stopping": {"unlabeled": 0, "early_stopping": True},
    "priors": {"unlabeled": -1, "priors": np.array([0.2, 0.3, 0.5])},
}


def labels_with_missing(labels, unlabeled):
    if unlabeled == -1:
        return labels % 3
    y = 1.0 + labels % 3
    y[np.arange(120) % 4 > 0] = unlabeled
    return y


@pytest.mark.parametrize("params", RESUMED.values(), ids=RESUMED)
def test_a_resumed_fit_ends_as_if_it_had_never_stopped(images, labels, params, tmp_path):
    path, y = tmp_path / "checkpoint", labels_with_missing(labels, params["unlabeled"])
    params = {**params, "max_iter": 4}
    for epoch in (2, 3):
        with pytest.raises(RuntimeError, match="crash"):
            fit_classifier(images, y, **params, checkpoint=path, callbacks=[Crash(epoch)])
        assert path.exists()
    resumed = fit_classifier(images, y, **params, checkpoint=path)
    whole = fit_classifier(images, y, **params)
    assert_same_training(whole, resumed)
    assert_same_classes(whole, resumed, images)


def test_a_checkpoint_of_other_labels_is_refused(images, labels, tmp_path):
    path, y = tmp_path / "checkpoint", labels % 3
    with pytest.raises(RuntimeError, match="crash"):
        fit_classifier(images, y, checkpoint=path, callbacks=[Crash(2)])
    other = y.copy()
    other[77] = (y[77] + 1) % 3
    for changed in (other, np.where(np.arange(120) == 3, -1, y)):
        with pytest.raises(ValueError, match=r"another fit.*data: labels was"):
            fit_classifier(images, changed, checkpoint=path, unlabeled=-1)
    with pytest.raises(ValueError, match=r"another fit.*label_weight was"):
        fit_classifier(images, y, checkpoint=path, label_weight=1.0)
    with pytest.raises(ValueError, match=r"another fit.*consistency was 1.0, is 0.5"):
        fit_classifier(images, y, checkpoint=path, consistency=0.5)
    with pytest.raises(ValueError, match="checkpoint belongs to another fit"):
        ConvVAETransformer(**small_params(max_iter=3, checkpoint=path)).fit(images)


# Seeds, and images set aside


@pytest.mark.parametrize("scarce", [False, True])
def test_the_same_seed_is_the_same_training(images, labels, scarce):
    y = np.where(np.arange(120) % 4 > 2 * scarce, labels, -1)
    params = {"unlabeled": -1, "early_stopping": True}
    first, again = (fit_classifier(images, y, **params) for _ in range(2))
    assert_same_training(first, again)
    assert_same_classes(first, again, images)
    assert not np.array_equal(
        weights_of(fit_classifier(images, y, **params, random_state=1)), weights_of(first)
    )


def split(clf, codes, digits, early_stopping, validation_fraction=0.1):
    """Labels to train on, and of the images set aside, in a fit on as many digits."""
    images = np.resize(digits[0], (len(codes), 64))
    train, valid = split_of(clf, images, codes, early_stopping, validation_fraction)
    return train.y, None if valid is None else valid.y


def test_images_set_aside_are_no_labelled_ones_if_labels_are_scarce(small_classifier, digits):
    codes = np.where(np.arange(400) % 10 == 0, digits[1], -1)
    for early_stopping in (True, "auto"):
        train, valid = split(small_classifier, codes, digits, early_stopping=early_stopping)
        assert len(valid) == 40
        assert (valid == -1).all()
        assert_array_equal(np.bincount(train + 1)[1:], np.bincount(codes + 1)[1:])


def test_each_class_stays_in_the_training(small_classifier, digits):
    # 20 classes of two images each; nearly half of all images set aside.
    codes = np.repeat(np.arange(20), 2)
    train, valid = split(
        small_classifier, codes, digits, early_stopping=True, validation_fraction=0.47
    )
    assert len(valid) == 19
    assert_array_equal(np.unique(train), np.arange(20))
    # As many images as classes: there is none to set aside.
    for early_stopping in ("auto", False):
        train, valid = split(small_classifier, np.arange(40), digits, early_stopping=early_stopping)
        assert len(train) == 40
        assert valid is None
    with pytest.raises(ValueError, match="Early stopping sets 4 of n_samples=40 images aside"):
        split(small_classifier, np.arange(40), digits, early_stopping=True)
    # One image lacks a label: labels are not scarce.
    codes = np.where(np.arange(40) == 7, -1, np.arange(40) % 2)
    train, valid = split(small_classifier, codes, digits, early_stopping="auto")
    assert len(valid) == 4
    assert set(train) >= {0, 1}


def test_images_set_aside_have_their_labels_and_losses(images, labels):
    clf = fit_classifier(images, labels % 3, early_stopping=True)
    columns = ["loss", "log_likelihood", "kl", "explained_variance_ratio", "label_loss", "accuracy"]
    assert {f"{phase}_{name}" for phase in ("train", "valid") for name in columns} | {
        "epoch",
        "duration",
    } == set(clf.history_.columns)
    scarce = np.where(np.arange(120) % 4, -1, labels % 3)
    clf = fit_classifier(images, scarce, early_stopping=True, unlabeled=-1)
    assert not {"valid_label_loss", "valid_accuracy"} & set(clf.history_.columns)
    assert {"train_label_loss", "train_accuracy", "valid_loss"} <= set(clf.history_.columns)
    assert clf.history_["train_accuracy"].between(0, 1).all()


def test_few_labels_are_decided_once_a_fit_on_the_training_part(digits):
    # 95 of 200 images have a label: less than half. 20 without one are set aside: more than half.
    images, y = digits[0][:200], np.where(np.arange(200) < 95, digits[1][:200] % 2, -1)
    for early_stopping, weight in ((True, 100.0), (False, 30.0)):
        clf = fit_classifier(
            images, y, unlabeled=-1, early_stopping=early_stopping, max_iter=1, random_state=0
        )
        settings = clf.net_.settings
        assert settings.label_weight == weight
        assert settings.few_labels == (weight == 30)


def test_few_labels_are_decided_once_for_all_calls_of_partial_fit(digits):
    images, y = digits[0][:300], digits[1][:300] % 2
    few = np.where(np.arange(300) % 10, -1, y)
    for first, second, weight in ((few, y, 30.0), (y, few, 100.0)):
        clf = ConvVAEClassifier(**small_params(unlabeled=-1))
        for labels in (first, second, np.full(300, -1)):
            clf.partial_fit(images, labels, classes=[0, 1])
            assert clf.net_.settings.label_weight == weight
            assert clf.net_.settings.few_labels == (weight == 30)


def test_a_list_of_text_with_a_marker_of_another_type_is_its_object_array(images, labels):
    names = np.array(["ant", "cat", "dog"])[labels % 3].tolist()
    for marker in (NAN, -1):
        y = [marker if i % 3 else name for i, name in enumerate(names)]
        clf = fit_classifier(images, y, unlabeled=marker)
        assert clf.classes_.tolist() == ["ant", "cat", "dog"]
        assert_same_training(clf, fit_classifier(images, np.array(y, object), unlabeled=marker))
        known = np.arange(120) % 3 == 0
        masked = np.ma.array(names, mask=~known)
        if marker is NAN:
            assert_same_training(clf, fit_classifier(images, masked, unlabeled=marker))
            assert clf.score(images, masked) == clf.score(images, y)
        else:
            with pytest.raises(ValueError, match=r"Input y contains NaN.*set unlabeled=np\.nan"):
                clf.score(images, masked)
        expected = np.mean(clf.predict(images)[known] == np.array(names)[known])
        assert clf.score(images, y) == pytest.approx(expected, abs=1e-12)
        clf.partial_fit(images, y)
        assert_array_equal(clf.class_counts_, 2 * np.bincount((labels % 3)[known]))


@pytest.mark.parametrize("kind", [dict, pd.Series])
def test_priors_by_class(images, labels, tmp_path, kind):
    y = np.array(["b", "a", "c"])[labels % 3]
    given = kind({"c": 0.5, "a": 0.2, "b": 0.3})
    clf = fit_classifier(images, y, priors=given)
    assert_array_equal(clf.priors_, [0.2, 0.3, 0.5])
    assert dict(clone(clf).priors) == dict(given)
    clf.save(tmp_path / "model")
    loaded = skvae.load(tmp_path / "model")
    assert_same_classes(clf, loaded, images[:20])
    assert loaded.priors == (0.2, 0.3, 0.5)  # in the order of the classes


def test_priors_in_the_order_of_a_series(images, labels, tmp_path):
    y = np.array(["b", "a", "c"])[labels % 3]
    clf = fit_classifier(images, y, priors=pd.Series([0.2, 0.3, 0.5]))
    assert_array_equal(clf.priors_, [0.2, 0.3, 0.5])
    clf.save(tmp_path / "model")
    assert skvae.load(tmp_path / "model").priors == (0.2, 0.3, 0.5)


@pytest.mark.parametrize("marker", [pd.NA, pd.NaT, np.float32("nan")], ids=str)
def test_a_file_has_nan_for_all_that_pandas_calls_missing(images, labels, tmp_path, marker):
    y = [marker if i % 3 else label for i, label in enumerate((labels % 3).tolist())]
    clf = fit_classifier(images, y, unlabeled=marker, max_iter=1)
    clf.save(tmp_path / "model")
    loaded = skvae.load(tmp_path / "model")
    assert math.isnan(loaded.unlabeled)
    assert loaded.score(images, y) == clf.score(images, y)
    loaded.partial_fit(images, y, classes=[0, 1, 2, marker])
    assert_array_equal(loaded.class_counts_, 2 * clf.class_counts_)


def test_a_callback_sees_the_labels(images, labels):
    seen = []

    class See(Callback):
        def on_batch_begin(self, net, batch, **kwargs):
            seen.extend(part["y"] for part in batch[0])

    fit_classifier(images, labels, callbacks=[See()], max_iter=1)
    assert_array_equal(np.sort(torch.cat(seen)), np.sort(labels))


# Components


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "continuous_bernoulli"])
def test_components_are_sorted_by_divergence_in_units_of_the_prior(images, labels, likelihood):
    clf = fit_classifier(images, labels % 3, likelihood=likelihood)
    kl = clf.kl_per_component_
    assert (np.diff(kl) <= 0).all()
    mean = clf.priors_ @ clf.means_
    variance = clf.variances_ + clf.priors_ @ (clf.means_ - mean) ** 2
    mu, std = clf.posterior(images)
    v = std.astype(np.float64) ** 2 / variance
    expected = 0.5 * ((mu - mean) ** 2 / variance + v - 1 - np.log(v)).mean(0)
    assert_allclose(kl, expected, rtol=1e-4, atol=1e-6)


# scikit-learn's tools


def test_it_is_a_classifier_and_a_transformer(images, labels):
    clf = ConvVAEClassifier(**small_params())
    assert is_classifier(clf)
    assert_array_equal(
        clf.fit_transform(images, labels % 3), clf.fit(images, labels % 3).transform(images)
    )
    assert_array_equal(clf.get_feature_names_out(), [f"convvaeclassifier{k}" for k in range(3)])
    frame = clf.set_output(transform="pandas").transform(images)
    assert list(frame.columns) == list(clf.get_feature_names_out())


def test_cross_validation(images, labels):
    X = images.reshape(120, 64)
    clf = ConvVAEClassifier(**small_params())
    scores = cross_val_score(clf, X, NAMES[labels % 3], cv=2, error_score="raise")
    assert ((scores > 0) & (scores <= 1)).all()


def test_grid_search_with_missing_labels(images, labels):
    y = np.where(np.arange(120) % 3, labels % 3, -1)
    clf = ConvVAEClassifier(**small_params(unlabeled=-1))
    search = GridSearchCV(clf, {"label_weight": [0.0, 50.0]}, cv=2, error_score="raise")
    search.fit(images, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert_array_equal(search.classes_, [0, 1, 2])
    assert search.predict_proba(images).shape == (120, 3)


def test_calibration(images, labels, binary):
    clf = CalibratedClassifierCV(ConvVAEClassifier(**small_params()), cv=2)
    proba = clf.fit(images.reshape(120, 64), labels % 3).predict_proba(images.reshape(120, 64))
    assert_allclose(proba.sum(1), 1)
    y = binary.classes_[labels % 2]
    display = CalibrationDisplay.from_estimator(binary, images, y, n_bins=3)
    assert_array_equal(display.y_prob, binary.predict_proba(images)[:, 1])
    plt.close("all")


def test_confusion_matrix(small_classifier, digits):
    display = ConfusionMatrixDisplay.from_estimator(small_classifier, digits[0], digits[1])
    assert display.confusion_matrix.sum() == 400
    right = display.confusion_matrix.trace() / 400
    assert right == pytest.approx(small_classifier.score(*digits))
    plt.close("all")


def test_self_training(images, labels):
    y = np.where(np.arange(120) % 2, labels % 3, -1)
    search = SelfTrainingClassifier(ConvVAEClassifier(**small_params()), max_iter=1)
    search.fit(images.reshape(120, 64), y)
    assert_array_equal(search.classes_, [0, 1, 2])
    assert search.predict(images.reshape(120, 64)).shape == (120,)


def test_pipeline(images, labels):
    vae = ConvVAEClassifier(**small_params())
    pipeline = Pipeline([("vae", vae), ("clf", LogisticRegression())])
    pipeline.fit(images, labels % 3)
    z = vae.transform(images)
    expected = LogisticRegression().fit(z, labels % 3).predict(z)
    assert_array_equal(pipeline.predict(images), expected)


# The class itself


def test_it_adds_what_depends_on_labels_only():
    assert issubclass(ConvVAEClassifier, ConvVAETransformer)
    added = {
        name
        for name in vars(ConvVAEClassifier)
        if inspect.isfunction(inspect.getattr_static(ConvVAEClassifier, name))
        and not name.startswith(("_", "set_"))
    }
    labels = {"decision_function", "predict", "predict_log_proba", "predict_proba"}
    assert added == labels | {"fit", "partial_fit", "sample", "score"}


def test_parameters_are_those_of_the_transformer_and_four_more():
    ours, theirs = (
        {name: p.default for name, p in inspect.signature(cls).parameters.items()}
        for cls in (ConvVAEClassifier, ConvVAETransformer)
    )
    more = {"label_weight": None, "consistency": 1.0, "unlabeled": None, "priors": None}
    assert ours == theirs | more
    assert ConvVAEClassifier._parameter_constraints.keys() == ours.keys()


def test_settings_hold_the_weight_of_labels(small_classifier):
    # By default it depends on whether labels are scarce; all images have one here.
    assert small_classifier._settings(Budget(1, 1)).label_weight == 100.0
    clf = pickle.loads(pickle.dumps(small_classifier)).set_params(label_weight=np.float32(2))
    assert repr(clf._settings(Budget(1, 1)).label_weight) == "2.0"
    clf.set_params(label_weight=None)
    assert clf._settings(Budget(1, 1)).label_weight == 100.0


@pytest.mark.parametrize(("n_labelled", "weight"), [(30, 100.0), (20, 100.0), (19, 30.0)])
def test_the_default_weight_of_labels(digits, n_labelled, weight):
    labels = np.where(np.arange(40) < n_labelled, digits[1][:40] % 2, -1)
    clf = fit_classifier(digits[0][:40], labels, unlabeled=-1, max_iter=1)
    assert clf.net_.settings.label_weight == weight


@pytest.mark.parametrize("n_labelled", [40, 10])
@pytest.mark.parametrize("likelihood", ["gaussian", "continuous_bernoulli"])
def test_the_default_weight_of_labels_grows_with_a_density(digits, likelihood, n_labelled):
    labels = np.where(np.arange(40) < n_labelled, digits[1][:40] % 2, -1)
    images = digits[0][:40].reshape(-1, 8, 8)
    # Not below 20: a few numbers tell classes, too.
    for shape, weight in (((24, 8), 0.4 * 192), ((8, 8), 0.4 * 64), ((1, 8), 20.0)):
        resized = images.repeat(3, axis=1)[:, -shape[0] :]
        clf = fit_classifier(resized, labels, unlabeled=-1, max_iter=1, likelihood=likelihood)
        assert clf.net_.settings.label_weight == pytest.approx(weight)
