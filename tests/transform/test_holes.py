"""Estimators and images with holes: every method, every kind of marker and of array."""

import pickle
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from comparisons import assert_same_model, assert_same_training
from conftest import SMALL, fit, fit_classifier, weights_of
from faults import Crash
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags

import skvae
from skvae import ConvVAEClassifier, ConvVAETransformer

METHODS = ["transform", "reconstruct", "score_samples", "log_likelihood", "impute"]
GAUSSIAN = {"likelihood": "gaussian"}


def punch(images, marker=np.nan, dtype=np.float64, share=0.4, seed=1):
    """Images of which a share of the pixels is missing; of the first none, of the sixth all."""
    holes = np.random.default_rng(seed).uniform(size=images.shape) < share
    holes[0], holes[5] = False, True
    X = images.astype(dtype)
    X[holes] = marker
    return X


def holes_in(X):
    return np.isnan(X)


@pytest.fixture(scope="module")
def holed(digits):
    """300 digits in float64, with NaN in holes."""
    X = punch(digits[0][:300])
    X.flags.writeable = False
    return X


@pytest.fixture(scope="module", params=["bernoulli", "gaussian"])
def vae(request, holed):
    """A small estimator, fitted on images with holes. Not to be fitted again."""
    return fit(holed, missing_values=np.nan, likelihood=request.param, max_iter=5)


@pytest.fixture(scope="module")
def normal(holed):
    """The Gaussian one of these."""
    return fit(holed, missing_values=np.nan, likelihood="gaussian", max_iter=5)


@pytest.fixture(scope="module")
def colours():
    """30 images of shape (6, 5, 3), from -1 to 3, with NaN in holes of single channels."""
    return punch(np.random.default_rng(0).uniform(-1, 3, (30, 6, 5, 3)))


# What was observed


def test_every_method_gives_finite_numbers(vae, holed):
    for method in METHODS:
        assert np.isfinite(getattr(vae, method)(holed[:40])).all(), method
    mean, std = vae.posterior(holed[:40])
    assert np.isfinite(mean).all()
    assert (std > 0).all()
    assert np.isfinite(weights_of(vae)).all()
    assert np.isfinite(vae.loss_curve_).all()
    assert vae.loss_curve_[-1] < vae.loss_curve_[0]


def test_training_explains_what_was_observed_and_what_was_not(digits, holed):
    complete, holes = digits[0][:300], holes_in(holed)
    vae = fit(holed, missing_values=np.nan, likelihood="gaussian", max_iter=20)
    mean = np.broadcast_to(np.nanmean(holed, 0), holed.shape)
    filled = vae.impute(holed)
    errors = [np.square(some - complete)[holes].mean() for some in (filled, mean)]
    assert errors[0] < 0.8 * errors[1]


@pytest.mark.parametrize("method", [*METHODS, "a draw"])
def test_a_row_does_not_depend_on_the_others(vae, holed, method):
    def function(X):
        if method == "a draw":  # each row takes what the generator gives next
            return np.concatenate([vae.impute(x[None], 3, sample=True, random_state=0) for x in X])
        args = (3,) if method in ("log_likelihood", "impute") else ()
        return getattr(vae, method)(X, *args)

    n = 20 if method == "a draw" else 200
    together, order = function(holed[:n]), np.random.default_rng(0).permutation(n)
    assert_array_equal(function(holed[:n][order]), together[order])
    for some in (slice(0, 1), slice(5, 6), slice(7, 9)):
        assert_array_equal(function(holed[some]), together[some])


def test_an_image_without_any_observed_pixel(vae, holed):
    nothing = holed[5:6]
    assert np.isnan(nothing).all()
    (mean,), (std,) = (part.astype(float) for part in vae.posterior(nothing))
    kl = 0.5 * np.sum(mean**2 + std**2 - 1 - 2 * np.log(std))
    assert_allclose(vae.score_samples(nothing), -kl, rtol=1e-4, atol=1e-6)  # float32 against 64
    assert kl > 0
    # p(x) of nothing is 1. Weighted draws from a narrower q(z|x) seldom show all of it.
    assert -kl < vae.log_likelihood(nothing, 3_000)[0] < 0.2
    rng = np.random.default_rng(0)
    prior = vae.inverse_transform(rng.standard_normal((2_000, 3))).mean(0)
    error = np.square(vae.impute(nothing, 3_000)[0] - prior).mean() ** 0.5
    spread = np.nanvar(holed, 0).mean() ** 0.5
    assert error < 0.3 * spread


def test_the_number_that_marks_holes_does_not_matter(digits):
    complete = digits[0][:60].astype(float)
    holes, results = holes_in(punch(complete)), []
    for marker in (-1, -1e30, 77.0, -np.finfo(float).max):
        X = np.where(holes, marker, complete)
        vae = fit(X, missing_values=marker, max_iter=2, **GAUSSIAN)
        methods = [getattr(vae, method)(X[:9]) for method in METHODS]
        results.append([weights_of(vae), *methods])
        assert_array_equal(vae.impute(X)[~holes], complete[~holes])
    for result in results[1:]:
        for part, expected in zip(result, results[0], strict=True):
            assert_array_equal(part, expected)


@pytest.mark.parametrize("params", [{}, GAUSSIAN, {"binarize": True}], ids=str)
def test_the_kind_of_marker_does_not_matter(digits, params):
    images = digits[0][:60]
    kinds = [
        (np.nan, np.float64),
        (np.nan, np.float32),
        (np.float32(np.nan), np.float32),
        (-1, np.float64),
        (-1.0, np.float32),
        (-1, np.int16),
        (255, np.uint8),
        (np.uint8(255), np.uint8),
        (-(2**62), np.int64),
    ]
    results = []
    for marker, dtype in kinds:
        X = punch(images, marker, dtype)
        vae = fit(X, missing_values=marker, max_iter=2, **params)
        results.append([weights_of(vae), vae.transform(X), vae.score_samples(X)])
        results[-1].append(np.rint(vae.impute(X[:9])).clip(0))  # as integers without a sign are
    for result in results[1:]:
        for part, expected in zip(result, results[0], strict=True):
            assert_array_equal(part, expected)


def test_complete_images_train_alike_where_nothing_is_missing_either_way(digits):
    # The mask is one more input: other weights, but a fit that is as good.
    images = digits[0][:200].astype(float)
    plain, open_to_holes = (
        fit(images, missing_values=marker, likelihood="gaussian", max_iter=15)
        for marker in (None, np.nan)
    )
    assert open_to_holes.score(images) == pytest.approx(plain.score(images), rel=0.03)
    assert_array_equal(open_to_holes.impute(images), images)


@pytest.mark.parametrize("ranges", [None, "robust"])
def test_the_range_is_learned_from_what_was_observed(colours, ranges):
    vae = fit(colours, missing_values=np.nan, pixel_range=ranges, max_iter=1, **GAUSSIAN)
    if ranges is None:
        expected = np.stack([np.nanmin(colours, (0, 1, 2)), np.nanmax(colours, (0, 1, 2))], 1)
        assert_array_equal(vae.pixel_range_, expected)
    marked = np.where(holes_in(colours), 50, colours)
    other = fit(marked, missing_values=50, pixel_range=ranges, max_iter=1, **GAUSSIAN)
    assert_array_equal(other.pixel_range_, vae.pixel_range_)
    assert_array_equal(other.score_samples(marked), vae.score_samples(colours))


def test_the_density_of_what_was_observed_is_in_its_units(colours):
    scale, shift = np.array([2.0, 10.0, 1.0]), np.array([0.0, 3.0, -5.0])
    vae = fit(colours, missing_values=np.nan, pixel_range=None, **GAUSSIAN)
    other = fit(colours * scale + shift, missing_values=np.nan, pixel_range=None, **GAUSSIAN)
    seen = (~holes_in(colours)).sum((1, 2))
    expected = vae.score_samples(colours) - seen @ np.log(scale)
    # The same training, but for the rounding of pixels.
    assert_allclose(other.score_samples(colours * scale + shift), expected, rtol=0.02, atol=0.5)


# Filled pictures


def assert_observed_values_are_kept(filled, X, holes):
    assert filled.shape == X.shape
    assert filled.dtype == X.dtype
    assert type(filled) is np.ndarray
    assert filled[~holes].tobytes() == X[~holes].tobytes()
    assert np.isfinite(filled).all()


@pytest.mark.parametrize(
    ("dtype", "marker"),
    [
        (np.float64, np.nan),
        (np.float32, np.nan),
        (np.float16, np.nan),
        (np.float64, -1),
        (np.int16, -1),
        (np.int64, -1),
        (np.uint8, 255),
        (np.uint16, 65_535),
    ],
)
@pytest.mark.parametrize("sample", [False, True])
def test_observed_values_are_kept_to_the_bit(digits, dtype, marker, sample):
    X = punch(digits[0][:60], marker, dtype)
    holes = holes_in(punch(digits[0][:60]))
    vae = fit(X, missing_values=marker, max_iter=1, **GAUSSIAN)
    filled = vae.impute(X, 5, sample=sample, random_state=0)
    assert_observed_values_are_kept(filled, X, holes)
    assert len(np.unique(filled[holes])) > 5
    rows = X.reshape(60, 64)
    assert_array_equal(vae.impute(rows, 5, sample=sample, random_state=0), filled.reshape(60, 64))
    strided = np.asfortranarray(X)
    assert_array_equal(vae.impute(strided, 5, sample=sample, random_state=0), filled)
    if np.dtype(dtype).kind in "iu":  # rounded
        exact = fit(X, missing_values=marker, max_iter=1, **GAUSSIAN)
        precise = exact.impute(X.astype(float), 5, sample=sample, random_state=0)
        info = np.iinfo(dtype)
        expected = np.rint(precise).clip(info.min, info.max)
        expected[expected == marker] = marker - 1  # else it would be a hole again
        assert_array_equal(filled, expected)


@pytest.mark.parametrize("channel_axis", [-1, 0])
def test_pictures_of_several_channels_are_filled_where_they_have_holes(colours, channel_axis):
    X = np.moveaxis(colours, -1, 1).copy() if channel_axis == 0 else colours
    params = {"missing_values": np.nan, "pixel_range": None, "max_iter": 1, **GAUSSIAN}
    vae = fit(X, channel_axis=channel_axis, **params)
    filled = vae.impute(X)
    assert_observed_values_are_kept(filled, X, holes_in(X))
    last = np.moveaxis(filled, 1, -1) if channel_axis == 0 else filled
    expected = fit(colours, **params).impute(colours)
    assert_array_equal(last, expected)
    rows = X.reshape(30, -1)
    assert_array_equal(vae.impute(rows), filled.reshape(30, -1))


def test_a_mean_lies_between_draws_and_draws_differ(normal, holed):
    X, holes = holed[:30], holes_in(holed[:30])
    mean = normal.impute(X, 3_000)  # by draws of its own: so many that its error hardly counts
    draws = np.stack([normal.impute(X, sample=True, random_state=seed) for seed in range(30)])
    assert_array_equal(draws[3], normal.impute(X, sample=True, random_state=3))
    state = np.random.RandomState(3)
    assert_array_equal(draws[3], normal.impute(X, sample=True, random_state=state))
    assert not np.array_equal(draws[3], normal.impute(X, sample=True, random_state=state))
    assert all((draws[i] != draws[i + 1])[holes].any() for i in range(29))
    assert_array_equal(draws[:, ~holes], np.broadcast_to(X[~holes], (30, (~holes).sum())))
    # The standard error of a mean of 30, about; and the choice is among 100 draws only.
    error = draws.std(0)[holes] / 30**0.5
    assert (np.abs(draws.mean(0) - mean)[holes] < 6 * error + 1e-3).mean() > 0.99


def test_each_random_state_and_each_copy_of_an_image_has_draws_of_its_own(normal, holed):
    # With a single draw behind each image, nothing is left to choose.
    X, holes = np.repeat(holed[1:2], 10, axis=0), holes_in(holed[1])
    for n_draws in (1, 100):
        one = [normal.impute(X[:1], n_draws, sample=True, random_state=seed) for seed in range(10)]
        copies = normal.impute(X, n_draws, sample=True, random_state=0)
        for filled in (np.concatenate(one), copies):
            assert len(np.unique(filled[:, holes], axis=0)) == 10
        mean = normal.impute(X, n_draws)
        assert len(np.unique(mean[:, holes], axis=0)) == 1


def test_float16_is_filled_within_its_range(digits):
    X = (punch(digits[0][:60]) / 16 * 65_504).astype(np.float16)
    vae = fit(X, missing_values=np.nan, **{**GAUSSIAN, "pixel_range": None, "max_iter": 1})
    far = np.concatenate([X, np.where(np.isnan(X), np.nan, 65_504).astype(np.float16)])
    for sample in (False, True):
        filled = vae.impute(far, 5, sample=sample, random_state=0)
        assert filled.dtype == np.float16
        assert np.isfinite(filled).all()
        exact = vae.impute(far.astype(float), 5, sample=sample, random_state=0)
        assert_array_equal(filled, exact.clip(-65_504, 65_504).astype(np.float16))
        assert exact.max() > 65_520  # which would have become infinite


def test_where_its_randomness_comes_from(normal, holed):
    X = holed[:9]
    state = np.random.get_state()  # noqa: NPY002
    first = normal.impute(X)
    normal.impute(X, sample=True, random_state=0)
    after = np.random.get_state()  # noqa: NPY002
    assert_array_equal(after[1], state[1])
    assert after[2:] == state[2:]
    assert_array_equal(normal.impute(X, random_state=7), first)  # the mean needs no choice
    np.random.seed(5)  # noqa: NPY002
    one = normal.impute(X, sample=True)
    np.random.seed(5)  # noqa: NPY002
    assert_array_equal(normal.impute(X, sample=True), one)
    np.random.set_state(state)  # noqa: NPY002


def test_it_takes_what_other_methods_take(normal, holed):
    rows = holed[:9].reshape(9, 64)
    expected = normal.impute(rows)
    for X in (rows.tolist(), pd.DataFrame(rows), np.asfortranarray(rows), rows[::-1][::-1]):
        filled = normal.impute(X)
        assert type(filled) is np.ndarray
        assert filled.dtype == np.float64
        assert_array_equal(filled, expected)
    assert_array_equal(normal.impute(holed[:9].tolist()), expected.reshape(9, 8, 8))
    rows = np.asfortranarray(rows)
    before = rows.tobytes("A")
    rows.flags.writeable = False
    normal.impute(rows)
    assert rows.tobytes("A") == before
    complete = holed[:1]
    filled = normal.impute(complete)
    assert_array_equal(filled, complete)
    assert not np.shares_memory(filled, complete)


def test_in_a_pipeline(digits, holed):
    labels = digits[1][:300]
    vae = fit(holed.reshape(300, 64), missing_values=np.nan, image_shape=(8, 8), **GAUSSIAN)
    steps = [
        FunctionTransformer(vae.impute, kw_args={"n_draws": 5}),
        LogisticRegression(max_iter=2_000),
    ]
    pipe = make_pipeline(*steps).fit(holed.reshape(300, 64), labels)
    assert pipe.score(holed.reshape(300, 64), labels) > 0.5
    with_latents = make_pipeline(clone(vae), LogisticRegression(max_iter=2_000))
    assert (
        with_latents.fit(holed.reshape(300, 64), labels).score(holed.reshape(300, 64), labels) > 0.2
    )


@pytest.mark.parametrize("n_draws", [0, -1, 2.5, None, "many"])
def test_bad_number_of_draws(normal, holed, n_draws):
    with pytest.raises(
        ValueError, match=f"n_draws must be a whole number above 0. Got {n_draws!r}"
    ):
        normal.impute(holed[:2], n_draws)


# What is refused, and warnings

CALLS = {
    "fit": lambda vae, X: clone(vae).fit(X),
    "partial_fit": lambda vae, X: clone(vae).partial_fit(X),
    "transform": lambda vae, X: vae.transform(X),
    "score": lambda vae, X: vae.score(X),
    "posterior": lambda vae, X: vae.posterior(X),
    "log_likelihood": lambda vae, X: vae.log_likelihood(X),
    "reconstruct": lambda vae, X: vae.reconstruct(X),
}


@pytest.mark.parametrize("call", CALLS)
def test_nan_is_refused_without_missing_values(small, holed, call):
    with pytest.raises(ValueError, match=r"Input X contains NaN(.|\n)*missing_values=np\.nan"):
        CALLS[call](small, holed[:20])


@pytest.mark.parametrize("call", [*CALLS, "impute"])
@pytest.mark.parametrize("infinity", [np.inf, -np.inf])
def test_infinity_is_refused_where_nan_is_not(normal, holed, call, infinity):
    X = holed[:20].copy()
    X[3, 4, 5] = infinity
    calls = {**CALLS, "impute": lambda vae, X: vae.impute(X)}
    with pytest.raises(ValueError, match="Input X contains infinity"):
        calls[call](normal, X)


@pytest.mark.parametrize("call", [*CALLS, "impute"])
def test_nan_is_refused_where_a_number_marks_holes(digits, holed, call):
    calls = {**CALLS, "impute": lambda vae, X: vae.impute(X)}
    vae = fit(punch(digits[0][:40], -1), missing_values=-1, max_iter=1)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        calls[call](vae, holed[:20])


@pytest.mark.parametrize("value", ["nan", [np.nan], 1j, np.array([1.0]), pd.NA], ids=repr)
def test_what_marks_no_holes(holed, value):
    with pytest.raises(ValueError, match="The 'missing_values' parameter"):
        fit(holed, missing_values=value)


@pytest.mark.parametrize("value", [True, False])
def test_whether_pixels_are_missing_is_not_asked(digits, value):
    with pytest.raises(ValueError, match=r"missing_values must be NaN or a number.* Got "):
        fit(digits[0][:20] / 16, missing_values=value)


def test_na_among_objects_is_told(holed):
    X = pd.DataFrame(holed[:20].reshape(20, 64)).astype(object)
    X = X.where(X.notna(), pd.NA)
    for junk in (X, X.to_numpy(), X.to_numpy().tolist()):
        for marker in (None, np.nan):
            with pytest.raises(ValueError, match=r"X contains NaN, as pd\.NA.*missing_values=np"):
                fit(junk, missing_values=marker, max_iter=1)
    params = {"missing_values": np.nan, "max_iter": 1, **GAUSSIAN}
    told = X.convert_dtypes()
    rows = holed[:20].reshape(20, 64)
    assert_array_equal(fit(told, **params).transform(told), fit(rows, **params).transform(rows))


@pytest.mark.parametrize("marker", [np.inf, -np.inf, np.float32(np.inf)])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_infinity_marks_no_holes(holed, marker, method):
    X = np.nan_to_num(holed, nan=marker)
    vae = ConvVAETransformer(**SMALL, missing_values=marker)
    with pytest.raises(
        ValueError, match=r"missing_values must be NaN or a finite number.*Got -?inf"
    ):
        getattr(vae, method)(X)


def test_without_missing_values_nothing_is_imputed(small, digits, small_classifier):
    for vae in (small, small_classifier):
        with pytest.raises(
            ValueError, match=r"was fitted with missing_values=None.*missing_values=np"
        ):
            vae.impute(digits[0][:3])
    with pytest.raises(ValueError, match="not fitted"):
        ConvVAETransformer(missing_values=np.nan).impute(digits[0])
    # It is what `fit` saw that counts.
    later = clone(small).fit(digits[0][:40]).set_params(missing_values=np.nan)
    with pytest.raises(ValueError, match="was fitted with missing_values=None"):
        later.impute(digits[0][:3])
    with pytest.raises(ValueError, match="contains NaN"):
        later.transform(punch(digits[0][:9]))


def test_holes_that_no_training_saw(digits, holed):
    vae = fit(digits[0][:60].astype(float), missing_values=np.nan, max_iter=1)
    assert vae.impute(digits[0][:9].astype(float)).shape == (9, 8, 8)
    for method in METHODS:
        with pytest.warns(
            UserWarning, match="Pixels of X are missing, but none was in the training"
        ):
            getattr(vae, method)(holed[:9])
    vae.partial_fit(holed[:60])
    vae.transform(holed[:9])  # now it has seen some
    vae.partial_fit(digits[0][:60].astype(float)).transform(holed[:9])


def test_a_pixel_that_is_never_observed(digits):
    X = punch(digits[0][:60])
    X[:, 2, 3:5] = np.nan
    with pytest.warns(UserWarning, match="2 of 64 numbers of an image are missing in all images"):
        vae = fit(X, missing_values=np.nan, max_iter=2, **GAUSSIAN)
    assert np.isfinite(vae.impute(X)).all()
    assert np.isfinite(vae.score_samples(X)).all()


def test_a_pixel_that_is_never_observed_in_any_call_of_partial_fit(digits):
    X, match = punch(digits[0][:60]), r"of 64 numbers of an image are missing in all images"
    X[:40, 2, 3:5] = np.nan
    X[40:, 2, 3] = np.nan
    vae = ConvVAETransformer(**SMALL, pixel_range=(0, 16), missing_values=np.nan)
    with pytest.warns(UserWarning, match=f"2 {match}"):
        vae.partial_fit(X[:20])
    with pytest.warns(UserWarning, match=f"2 {match}"):
        vae.partial_fit(X[20:40])
    with pytest.warns(UserWarning, match=f"1 {match}"):
        vae.partial_fit(X[40:])
    some = punch(digits[0][:60])
    vae.partial_fit(some)
    # Nothing is missing in all calls, whatever is missing in this one.
    vae.partial_fit(X[:40])


def test_nothing_was_ever_observed():
    X = np.full((9, 8, 8), np.nan)
    with pytest.raises(ValueError, match=r"All values are missing \(missing_values=nan\)"):
        ConvVAETransformer(**SMALL, missing_values=np.nan).fit(X)
    colours = np.zeros((9, 8, 8, 3))
    colours[..., 1] = np.nan
    with pytest.raises(ValueError, match="All values of channel 1 are missing"):
        ConvVAETransformer(**SMALL, missing_values=np.nan).fit(colours)


# Training in several ways, and files


@pytest.mark.parametrize(
    "params",
    [
        {"binarize": True},
        {"early_stopping": True, "max_iter": 6},
        {"early_stopping": True, "max_iter": 6, **GAUSSIAN},
        {"early_stopping": "auto", **GAUSSIAN},
        {"likelihood": "continuous_bernoulli"},
        {"likelihood": "auto"},
        {"beta_warmup": 0.5, "beta": 2.0},
        {"batch_size": 7, **GAUSSIAN},
    ],
    ids=str,
)
def test_every_way_of_training_takes_holes(holed, params):
    X = holed[:100]
    one, other = (fit(X, missing_values=np.nan, **params) for _ in range(2))
    assert_same_training(one, other)
    assert np.isfinite(one.history_.to_numpy()).all()
    assert np.isfinite(weights_of(one)).all()
    assert np.isfinite(one.score(X))
    assert np.isfinite(one.impute(X[:9])).all()


def test_training_that_goes_on(holed):
    X = holed[:60]
    params = {"missing_values": np.nan, **GAUSSIAN}
    vae = fit(X, warm_start=True, max_iter=2, **params)
    vae.fit(X)
    assert vae.n_iter_ == 4
    assert np.isfinite(vae.impute(X)).all()
    vae.partial_fit(holed[60:90])
    assert vae.n_iter_ == 5
    assert np.isfinite(vae.loss_curve_).all()
    for marker in (None, 0):
        vae.set_params(missing_values=marker)
        for method in (vae.fit, vae.partial_fit):
            with pytest.raises(
                ValueError, match=rf"fitted with missing_values=nan, .* is {marker}\."
            ):
                method(np.nan_to_num(X))
    vae.set_params(missing_values=np.float32(np.nan)).fit(X)


@pytest.mark.parametrize("marker", [np.nan, -1, 255.0])
def test_a_resumed_fit_ends_as_if_it_had_never_stopped(digits, tmp_path, marker):
    X = punch(digits[0][:60], marker)
    params = {"missing_values": marker, "max_iter": 5, "early_stopping": True, **GAUSSIAN}
    with pytest.raises(RuntimeError, match="crash"):
        fit(X, **params, checkpoint=tmp_path / "c", callbacks=[Crash(3)])
    resumed = fit(X, **params, checkpoint=tmp_path / "c", callbacks=[Crash(1)])
    assert_same_training(fit(X, **params), resumed)


def test_a_checkpoint_of_another_marker_is_another_fit(digits, tmp_path):
    X = punch(digits[0][:100], -1)
    with pytest.raises(RuntimeError, match="crash"):
        fit(X, missing_values=-1, checkpoint=tmp_path / "c", callbacks=[Crash(2)])
    with pytest.raises(ValueError, match="missing_values was -1, is nan"):
        fit(punch(digits[0][:100]), missing_values=np.nan, checkpoint=tmp_path / "c")


@pytest.mark.parametrize(
    ("marker", "dtype"),
    [(np.nan, float), (-1, float), (255, np.uint8), (np.float32(-1), np.float32)],
)
def test_files_and_pickles_keep_the_marker(digits, tmp_path, marker, dtype):
    X = punch(digits[0][:60], marker, dtype)
    vae = fit(X, missing_values=marker, max_iter=1, **GAUSSIAN)
    vae.save(tmp_path / "model")
    for other in (skvae.load(tmp_path / "model"), pickle.loads(pickle.dumps(vae))):
        assert_same_model(vae, other, X)
        np.testing.assert_equal(other.missing_values, marker)
        assert_array_equal(other.impute(X), vae.impute(X))
        assert_array_equal(
            other.impute(X, sample=True, random_state=0),
            vae.impute(X, sample=True, random_state=0),
        )
        assert_same_training(clone(other).fit(X), vae)
    again = skvae.load(tmp_path / "model").partial_fit(X)
    assert_same_training(again, pickle.loads(pickle.dumps(vae)).partial_fit(X))


def test_a_file_knows_whether_training_saw_holes(digits, holed, tmp_path):
    for X, saw in ((digits[0][:60].astype(float), False), (holed[:60], True)):
        fit(X, missing_values=np.nan, max_iter=1).save(tmp_path / "model")
        vae = skvae.load(tmp_path / "model")
        if saw:
            vae.transform(holed[:9])
        else:
            with pytest.warns(UserWarning, match="none was in the training"):
                vae.transform(holed[:9])


def test_a_failed_fit_leaves_the_marker(holed):
    vae = fit(holed[:60], missing_values=np.nan, max_iter=1)
    expected = vae.impute(holed[:9])
    vae.set_params(missing_values=None)
    with pytest.raises(ValueError, match="contains NaN"):
        vae.fit(holed[:60])
    assert_array_equal(vae.impute(holed[:9]), expected)


@pytest.mark.parametrize("cls", [ConvVAETransformer, ConvVAEClassifier])
def test_the_tag_follows_the_parameter(cls):
    for marker, allowed in ((np.nan, True), (np.float32(np.nan), True), (None, False), (-1, False)):
        assert get_tags(cls(missing_values=marker)).input_tags.allow_nan is allowed
    assert not get_tags(cls(missing_values="nan")).input_tags.allow_nan


# Labels


@pytest.mark.parametrize("unlabeled", [None, -1])
def test_a_classifier_of_images_with_holes(digits, holed, unlabeled):
    labels = digits[1][:300].copy()
    if unlabeled is not None:
        labels[::3] = unlabeled
    clf = fit_classifier(
        holed, labels, missing_values=np.nan, unlabeled=unlabeled, max_iter=30, n_components=8
    )
    assert np.isfinite(clf.predict_proba(holed)).all()
    assert clf.score(holed, digits[1][:300]) > 0.5
    # The sixth image has no pixel.
    order = np.random.default_rng(0).permutation(300)
    for method in ("predict", "predict_log_proba", "decision_function"):
        together = getattr(clf, method)(holed)
        assert_array_equal(getattr(clf, method)(holed[order]), together[order])
        assert_array_equal(getattr(clf, method)(holed[5:6]), together[5:6])
    filled = clf.impute(holed[:30], 20)
    holes = holes_in(holed[:30])
    assert_array_equal(filled[~holes], holed[:30][~holes])
    assert np.isfinite(filled).all()
    assert_array_equal(clf.impute(holed[7:8], 20), filled[7:8])
    assert_array_equal(pickle.loads(pickle.dumps(clf)).impute(holed[:30], 20), filled)


# Masked arrays, and markers that are no value of X


def masked(holed, fill=7.0):
    """The images as a masked array, with junk under its mask."""
    holes = holes_in(holed)
    return np.ma.MaskedArray(np.where(holes, fill, holed), mask=holes)


def same_as_list(X):
    return [list(image) for image in X]


def series_of(X):
    objects = np.empty(len(X), object)
    objects[:] = list(X)
    return pd.Series(objects)


CONTAINERS = {
    "4-D": lambda X: X[..., None],
    "images": lambda X: X,
    "rows": lambda X: X.reshape(len(X), -1),
    "list of images": list,
    "tuple of images": tuple,
    "list of lists of rows": same_as_list,
    "list of rows": lambda X: list(X.reshape(len(X), -1)),
    "series of images": series_of,
    "objects": lambda X: X.astype(object),
}


@pytest.mark.parametrize("marker", [np.nan, -1])
@pytest.mark.parametrize("container", CONTAINERS)
def test_masked_pixels_are_holes(holed, marker, container):
    contain = CONTAINERS[container]
    X, junk = holed[:40], contain(masked(holed[:40]))
    expected = contain(np.where(holes_in(X), marker, X))
    params = {"missing_values": marker, "max_iter": 2, **GAUSSIAN}
    vae, other = fit(junk, **params), fit(expected, **params)
    assert_same_training(vae, other)
    for method in METHODS:
        assert_array_equal(getattr(vae, method)(junk), getattr(other, method)(expected))
        assert type(getattr(vae, method)(junk)) is np.ndarray
    assert_same_training(vae.partial_fit(junk), other.partial_fit(expected))


def test_a_masked_array_of_integers_needs_a_marker_that_it_can_hold(digits, holed):
    images, holes = digits[0][:40], holes_in(holed[:40])
    X = np.ma.MaskedArray(images, mask=holes)
    for marker in (np.nan, -1, 256, 0.5):
        with pytest.raises(
            ValueError, match=rf"array of uint8, .* missing_values={marker} .*astype"
        ):
            fit(X, missing_values=marker)
    vae = fit(X, missing_values=255, max_iter=1)
    assert_same_training(vae, fit(X.filled(255), missing_values=255, max_iter=1))
    filled = vae.impute(X)
    assert_array_equal(filled[~holes], images[~holes])
    assert filled.dtype == np.uint8


@pytest.mark.parametrize("call", CALLS)
def test_masks_are_refused_where_nothing_may_be_missing(small, holed, call):
    X = masked(holed[:20])
    for junk in (X, list(X), same_as_list(X), X.reshape(20, 64)):
        with pytest.raises(ValueError, match=r"masked array.*set missing_values=.*X\.filled\(0\)"):
            CALLS[call](small, junk)
    latents = np.ma.MaskedArray(np.zeros((2, 3)), mask=[[0, 0, 1]] * 2)
    with pytest.raises(ValueError, match="masked array"):
        small.inverse_transform(latents)


def test_a_mask_that_hides_nothing_is_no_mask(small, digits):
    X = digits[0][:20]
    for mask in (False, np.zeros(X.shape, bool)):
        z = small.transform(np.ma.MaskedArray(X, mask=mask))
        assert type(z) is np.ndarray
        assert_array_equal(z, small.transform(X))


@pytest.mark.parametrize("marker", [-999.9, np.float64(-999.9), np.float32(-999.9)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_markers_are_compared_in_the_precision_of_x(digits, tmp_path, marker, dtype):
    X, expected = (punch(digits[0][:60], other, dtype) for other in (marker, np.nan))
    if isinstance(marker, np.float32) and dtype == np.float64:
        assert (marker == X).any()  # what float32 made of it
    params = {"max_iter": 1, **GAUSSIAN}
    vae, other = (
        fit(X, missing_values=marker, **params),
        fit(expected, missing_values=np.nan, **params),
    )
    assert_same_training(vae, other)
    vae.save(tmp_path / "model")
    for same in (vae, skvae.load(tmp_path / "model"), pickle.loads(pickle.dumps(vae))):
        for method in METHODS:
            assert_array_equal(getattr(same, method)(X), getattr(other, method)(expected))
    frame = pd.DataFrame(X.reshape(60, 64))
    assert_array_equal(vae.transform(frame), other.transform(expected))


@pytest.mark.parametrize(
    ("marker", "found", "dtype", "match"),
    [
        (
            -999.9,
            np.float32(-999.9),
            float,
            r"-999\.9, .*from -999\.9000244140625 to 16\.0, as float64",
        ),
        (
            -3.4e38,
            np.finfo(np.float32).min,
            np.float32,
            r"-3\.4e\+38, .*from -3\.4028234663852886e\+38 to",
        ),
        (-1, 0, np.uint8, r"-1, .*from 0\.0 to 16\.0, as uint8"),
        (-1e300, -1, np.float32, r"-1e\+300, .*from -1\.0"),
    ],
)
def test_a_marker_that_never_occurs_is_told(digits, marker, found, dtype, match):
    X = punch(digits[0][:60], found, dtype)
    for method in ("fit", "partial_fit"):
        vae = ConvVAETransformer(**{**SMALL, "max_iter": 1}, missing_values=marker)
        too_wide = np.abs(found) > 1e30
        error = pytest.raises(ValueError, match="too wide") if too_wide else nullcontext()
        with pytest.warns(UserWarning, match=rf"No value of X is missing_values={match}"), error:
            getattr(vae, method)(X)


def test_a_marker_in_two_precisions_is_told(digits):
    # Columns of float32 and of float64, of which only the latter have the marker to the bit.
    X = pd.DataFrame(punch(digits[0][:60], -999.9, float).reshape(60, 64))
    X = X.astype({column: np.float32 for column in X if column % 2})
    match = r"has -999\.9000244140625 beside missing_values=-999\.9.*astype\(np\.float32\)"
    with pytest.warns(UserWarning, match=match):
        fit(X, missing_values=-999.9, max_iter=1, pixel_range=None)
    X = X.astype(np.float32)
    vae = fit(X, missing_values=-999.9, max_iter=1, pixel_range=None)
    assert vae.pixel_range_ == (0, 16)
