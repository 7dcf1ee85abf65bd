"""The estimator as users meet it: every input, bad input, pipelines, searches and pickles."""

import re
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import SMALL
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.utils._param_validation import InvalidParameterError

from skvae import ConvVAETransformer

QUICK = {**SMALL, "max_iter": 2}
ON_IMAGES = [
    "transform",
    "reconstruct",
    "posterior",
    "score_samples",
    "score",
    "log_likelihood",
]
METHODS = [*ON_IMAGES, "inverse_transform", "sample"]


def classifier(**params):
    learner = {"n_components": 4, "hidden_channels": (16,), "hidden_units": 64, "max_iter": 8}
    vae = ConvVAETransformer(**{**SMALL, **learner, "pixel_range": (0, 16), "beta": 0.1, **params})
    return Pipeline([("vae", vae), ("clf", LogisticRegression(max_iter=2_000))])


# Inputs of every kind


@pytest.mark.parametrize(
    "shape",
    [(1, 1), (1, 6), (8, 8), (17, 31), (28, 28), (32, 32, 3), (105, 105)],
    ids=str,
)
@pytest.mark.parametrize("as_rows", [True, False])
def test_any_image_shape(shape, as_rows):
    X = np.random.default_rng(0).uniform(size=(5, *shape)).astype(np.float32)
    if as_rows:
        X = X.reshape(5, -1)
    vae = ConvVAETransformer(**{**QUICK, "max_iter": 1}, image_shape=shape).fit(X)
    z = vae.transform(X)
    assert z.shape == (5, 3)
    assert z.dtype == np.float32
    assert vae.image_shape_ == shape
    assert vae.n_features_in_ == np.prod(shape)
    for images in (vae.inverse_transform(z), vae.sample(5)):
        assert images.shape == X.shape
        assert images.dtype == np.float32
        low, high = np.min(vae.pixel_range_), np.max(vae.pixel_range_)
        assert low <= images.min() <= images.max() <= high
    assert vae.score_samples(X).shape == (5,)


def test_square_rows_are_images(digits):
    images = digits[0][:100]
    rows = ConvVAETransformer(**QUICK).fit(images.reshape(100, 64))
    assert rows.image_shape_ == (8, 8)
    assert_array_equal(
        rows.transform(images), ConvVAETransformer(**QUICK).fit(images).transform(images)
    )


def test_channels_first_and_last_are_the_same_images():
    last = np.random.default_rng(0).uniform(size=(20, 6, 5, 3))
    first = np.moveaxis(last, -1, 1)
    a = ConvVAETransformer(**QUICK).fit(last)
    b = ConvVAETransformer(**QUICK, channel_axis=0).fit(first)
    assert a.image_shape_ == (6, 5, 3)
    assert b.image_shape_ == (3, 6, 5)
    z = a.transform(last)
    assert_array_equal(z, b.transform(first))
    assert_array_equal(np.moveaxis(a.inverse_transform(z), -1, 1), b.inverse_transform(z))


@pytest.mark.parametrize(
    "convert",
    [
        lambda X: X.astype(np.float64),
        lambda X: X.astype(np.float32),
        lambda X: X.astype(np.float16),
        lambda X: X.astype(np.int64),
        lambda X: X.tolist(),
        lambda X: np.asfortranarray(X),
        lambda X: np.repeat(X, 2, axis=0)[::2],
        lambda X: pd.DataFrame(X),
        lambda X: pd.DataFrame(X.astype(float)),
        lambda X: X.astype(object),
    ],
    ids=[
        "float64",
        "float32",
        "float16",
        "int64",
        "list",
        "F",
        "strided",
        "frame",
        "f64",
        "object",
    ],
)
def test_containers_and_dtypes_give_the_same_model(digits, convert):
    X = digits[0][:60].reshape(60, 64)
    vae = ConvVAETransformer(**QUICK, pixel_range=(0, 16))
    expected = vae.fit(X).transform(X)
    converted = convert(X)
    assert_allclose(vae.fit(converted).transform(converted), expected, rtol=1e-4, atol=1e-5)


def test_bool_images(digits):
    X = digits[0] > 8
    vae = ConvVAETransformer(**QUICK).fit(X)
    assert vae.pixel_range_ == (0, 1)
    assert_array_equal(vae.transform(X), vae.transform(X.astype(np.uint8)))


def test_memory_maps_are_read_and_left_alone(digits, tmp_path):
    X = digits[0].reshape(400, 64)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    vae = ConvVAETransformer(**QUICK)
    assert_array_equal(vae.fit(mapped).transform(mapped), vae.fit(X).transform(X))
    assert_array_equal(np.load(tmp_path / "X.npy"), X)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_nothing_that_was_passed_in_is_changed(digits, dtype):
    X = digits[0].astype(dtype)
    before = X.copy()
    shape, channels, pixel_range = [8, 8], [8], [0, 12]
    vae = ConvVAETransformer(
        **{**QUICK, "hidden_channels": channels}, image_shape=shape, pixel_range=pixel_range
    )
    with pytest.warns(UserWarning, match=r"clipped to \(0, 12\)"):
        z = vae.fit(X).transform(X)
    with pytest.warns(UserWarning, match=r"clipped to \(0, 12\)"):
        vae.partial_fit(X)
    kept = z.copy()
    vae.inverse_transform(z)
    vae.score(X)
    assert_array_equal(X, before)
    assert_array_equal(z, kept)
    assert (shape, channels, pixel_range) == ([8, 8], [8], [0, 12])


def test_reconstructions_resemble_their_originals(digits):
    images = digits[0]
    params = {**SMALL, "n_components": 8, "hidden_units": 64, "hidden_channels": (16,)}
    vae = ConvVAETransformer(**params, pixel_range=(0, 16), max_iter=30).fit(images[:300])
    held_out = images[300:].astype(float)
    error = ((vae.inverse_transform(vae.transform(held_out)) - held_out) ** 2).mean()
    assert error < 0.75 * ((images[:300].mean(0) - held_out) ** 2).mean()


def test_pixel_values_come_back_in_their_units(digits):
    images = digits[0]
    vae = ConvVAETransformer(**SMALL, max_iter=5).fit(images.astype(float))
    shifted = ConvVAETransformer(**SMALL, max_iter=5).fit(images * 10.0 - 500)
    assert shifted.pixel_range_ == (-500, -340)
    z = vae.transform(images)
    assert_allclose(shifted.transform(images * 10.0 - 500), z, rtol=1e-3, atol=1e-4)
    expected = vae.inverse_transform(z) * 10 - 500
    assert_allclose(shifted.inverse_transform(z), expected, atol=0.1)


def test_a_range_as_wide_as_float32_gives_finite_images():
    gaussian = {**QUICK, "likelihood": "gaussian"}
    wide = 0.9 * float(np.finfo(np.float32).max)
    X = np.random.default_rng(0).uniform(0, wide, (40, 6, 6))
    for pixel_range in (None, (0, wide)):
        vae = ConvVAETransformer(**gaussian, pixel_range=pixel_range).fit(X)
        far = 1e6 * np.eye(3)  # whose means lie far outside the range
        for images in (vae.inverse_transform(far), vae.inverse_transform(-far), vae.sample(5)):
            assert np.isfinite(images).all()
        assert np.isfinite(vae.score(X))
    with pytest.raises(ValueError, match="too wide or too narrow for float32"):
        ConvVAETransformer(**gaussian).fit(X * 4 - 2 * wide)


def test_samples(small):
    images = small.sample(20, random_state=0)
    assert images.shape == (20, 8, 8)
    assert_array_equal(images, small.sample(20, random_state=0))
    assert (images != small.sample(20, random_state=1)).any()
    assert (small.sample(3) != small.sample(3)).any()
    state = np.random.get_state()  # noqa: NPY002 - None means the global generator
    first = small.sample(3)
    np.random.set_state(state)  # noqa: NPY002
    assert_array_equal(small.sample(3), first)
    assert images.std(0).mean() > 0.1  # different images
    for bad in (0, -1, 1.5, "two"):
        with pytest.raises(ValueError, match="n_samples must be a whole number above 0"):
            small.sample(bad)


def test_score_is_the_mean_of_score_samples(small, digits):
    score = small.score(digits[0])
    assert type(score) is float
    assert score == pytest.approx(small.score_samples(digits[0]).mean())
    assert small.score_samples(digits[0]).dtype == np.float64
    assert small.score(digits[0]) == score


def test_strange_images_score_lower(small, digits):
    noise = np.random.default_rng(0).integers(0, 17, digits[0].shape)
    assert small.score(noise) < small.score(digits[0]) - 10


# Bad input


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_components", 0),
        ("n_components", 2.5),
        ("image_shape", 28),
        ("channel_axis", 1),
        ("beta", -1),
        ("beta_warmup", -0.1),
        ("beta_warmup", 1.5),
        ("binarize", "yes"),
        ("likelihood", "poisson"),
        ("max_iter", 0),
        ("batch_size", 0),
        ("learning_rate", 0),
        ("learning_rate", "fast"),
        ("early_stopping", "yes"),
        ("validation_fraction", 1.0),
        ("n_iter_no_change", 0),
        ("tol", -1e-3),
        ("device", 0),
        ("callbacks", "early"),
        ("random_state", "seed"),
        ("verbose", -1),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "fit_transform"])
def test_parameters_of_the_wrong_type_or_range(digits, name, value, method):
    vae = ConvVAETransformer(**{**QUICK, name: value})
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter .* must be"):
        getattr(vae, method)(digits[0][:20])


def test_latents_of_the_wrong_width(small):
    with pytest.raises(ValueError, match="X has 4 features, but ConvVAETransformer is expecting 3"):
        small.inverse_transform(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="contains NaN"):
        small.inverse_transform([[np.nan, 0, 0]])


@pytest.mark.parametrize("method", METHODS)
def test_not_fitted(method):
    argument = () if method == "sample" else ([[0.0]],)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(ConvVAETransformer(), method)(*argument)


# Among other estimators


def test_pipeline_classifies(digits):
    images, labels = digits
    X = images.reshape(400, 64)
    pipeline = classifier(n_components=8).fit(X[:300], labels[:300])
    assert pipeline.score(X[300:], labels[300:]) > 0.6


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search_over_a_pipeline(digits, n_jobs):
    X, labels = digits[0].reshape(400, 64), digits[1]
    grid = {"vae__n_components": [1, 4]}
    search = GridSearchCV(classifier(), grid, cv=2, n_jobs=n_jobs, error_score="raise")
    search.fit(X, labels)
    assert search.best_params_ == {"vae__n_components": 4}
    assert search.best_estimator_["vae"].transform(X).shape == (400, 4)


def test_grid_search_without_a_classifier(digits):
    grid = {"n_components": [1, 3], "max_iter": [1, 10]}
    search = GridSearchCV(ConvVAETransformer(**SMALL, pixel_range=(0, 16)), grid, cv=2)
    search.fit(digits[0].reshape(400, 64))
    assert search.best_params_["max_iter"] == 10
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()


def test_loky_workers_give_the_same_bits(digits):
    def latents(images):
        import conftest  # noqa: F401 - one thread and a short start, as here

        return ConvVAETransformer(**QUICK).fit(images).transform(images)

    jobs = [joblib.delayed(latents)(digits[0]) for _ in range(2)]
    for result in joblib.Parallel(n_jobs=2)(jobs):
        assert_array_equal(result, latents(digits[0]))


def test_cross_val_score(digits):
    X, labels = digits[0].reshape(400, 64), digits[1]
    assert cross_val_score(classifier(), X, labels, cv=2).mean() > 0.5  # chance: 0.1
    elbos = cross_val_score(ConvVAETransformer(**QUICK), X, cv=3)
    assert (elbos < 0).all()


def test_t_sne_of_the_latents(digits):
    pipeline = make_pipeline(ConvVAETransformer(**QUICK), TSNE(perplexity=5, max_iter=250))
    assert pipeline.fit_transform(digits[0][:60].reshape(60, 64)).shape == (60, 2)


def test_columns_and_unions(digits):
    frame = pd.DataFrame(digits[0].reshape(400, 64)).add_prefix("pixel")
    frame["age"] = np.arange(400.0)
    vae = ConvVAETransformer(**QUICK)
    columns = ColumnTransformer(
        [("vae", vae, [f"pixel{i}" for i in range(64)])], remainder="passthrough"
    ).set_output(transform="pandas")
    out = columns.fit_transform(frame)
    names = [f"vae__convvaetransformer{i}" for i in range(3)]
    assert list(out.columns) == [*names, "remainder__age"]
    assert columns.named_transformers_["vae"].image_shape_ == (8, 8)
    signal = ConvVAETransformer(**QUICK, image_shape=(1, -1))
    union = FeatureUnion([("vae", signal), ("pca", PCA(2))]).fit(frame)
    assert union.transform(frame).shape == (400, 5)
    assert union.get_feature_names_out()[3] == "pca__pca0"


def test_set_output_to_pandas(digits):
    frame = pd.DataFrame(digits[0].reshape(400, 64), index=np.arange(400) + 7).add_prefix("pixel")
    vae = ConvVAETransformer(**QUICK).set_output(transform="pandas")
    out = vae.fit_transform(frame)
    assert list(out.columns) == [f"convvaetransformer{i}" for i in range(3)]
    assert list(out.index) == list(frame.index)
    assert (out.dtypes == np.float32).all()
    assert list(vae.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names should match"):
        vae.transform(frame.add_suffix("x"))


def test_polars_frames_keep_their_names(digits):
    rows = digits[0][:60].reshape(60, 64)
    names = [f"pixel{i}" for i in range(64)]
    frame = pl.DataFrame(rows, schema=names)
    vae = ConvVAETransformer(**QUICK).fit(frame)
    assert list(vae.feature_names_in_) == names
    z = vae.transform(frame)
    assert_array_equal(z, ConvVAETransformer(**QUICK).fit(rows).transform(rows))
    out = vae.set_output(transform="polars").transform(frame)
    assert isinstance(out, pl.DataFrame)
    assert out.columns == list(vae.get_feature_names_out())
    assert_array_equal(out.to_numpy(), z)
    with pytest.raises(ValueError, match="feature names should match"):
        vae.transform(frame.rename({"pixel0": "other"}))


def test_pipeline_with_memory(digits, tmp_path):
    X, labels = digits[0].reshape(400, 64), digits[1]
    pipeline = classifier(max_iter=2).set_params(memory=joblib.Memory(tmp_path, verbose=0))
    first = pipeline.fit(X, labels).predict(X)
    pipeline.set_params(clf__C=1.0).fit(X, labels)  # the transformer comes from the cache
    assert_array_equal(pipeline.predict(X), first)


def test_clone_keeps_every_parameter_and_nothing_fitted(digits):
    vae = ConvVAETransformer(**QUICK, beta=2.0, pixel_range=(0, 16), callbacks=[]).fit(digits[0])
    other = clone(vae)
    assert other.get_params() == vae.get_params()
    assert vars(other).keys() == other.get_params().keys()


def test_html_repr(small):
    for vae in (ConvVAETransformer(n_components=7), small):
        assert "ConvVAETransformer" in vae._repr_html_()
    assert repr(ConvVAETransformer(n_components=7)) == "ConvVAETransformer(n_components=7)"


def test_fitted_attributes(small, digits):
    assert small.image_shape_ == (8, 8)
    assert small.pixel_range_ == (0, 16)
    assert small.n_components_ == 3
    assert small.n_features_in_ == 64
    assert small.kl_per_component_.shape == (3,)
    assert small.device_ in ("cpu", "cuda", "mps")
    assert small.net_.module_ is small.module_
    assert isinstance(small.history_, pd.DataFrame)
    names = [name for name in vars(ConvVAETransformer) if re.fullmatch(r"[a-z].*_", name)]
    for name in names:
        with pytest.raises(AttributeError):
            getattr(ConvVAETransformer(), name)


# Beside PCA


def test_a_short_default_fit_is_better_than_pca():
    X = load_digits().images
    images, held_out = X[::2], X[1::2]
    rows, held_out_rows = images.reshape(-1, 64), held_out.reshape(-1, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one on idle components too
        vae = ConvVAETransformer(n_components=10, max_iter=10, random_state=0).fit(images)
    pca = PCA(10).fit(rows)
    total = np.square(held_out_rows - rows.mean(0)).sum()
    left = {
        model: np.square(model.inverse_transform(model.transform(X)) - X).sum() / total
        for model, X in ((vae, held_out), (pca, held_out_rows))
    }
    assert left[vae] < 0.9 * left[pca]
    # Both are densities in the units of X.
    assert vae.likelihood_ == "gaussian"
    assert vae.score(held_out) > pca.score(held_out_rows) + 1
    assert vae.log_likelihood(held_out[:50]).mean() > vae.score(held_out[:50])
    assert vae.n_active_components_ >= 8


def test_an_untrained_default_network_is_nearly_pca():
    X = load_digits().images[:600]
    params = {"max_iter": 1, "learning_rate": 1e-30, "random_state": 0}
    vae = ConvVAETransformer(n_components=10, **params).fit(X)
    rows = X.reshape(-1, 64)
    pca = PCA(10).fit(rows)
    error, expected = (
        np.square(model.inverse_transform(model.transform(images)) - images).mean()
        for model, images in ((vae, X), (pca, rows))
    )
    assert expected < error < 1.1 * expected
    assert vae.score(X) == pytest.approx(pca.score(rows), abs=2)


# A range for each channel


def five_channels(n=80):
    """Pictures whose channels differ 100-fold in range and share what they show."""
    rng = np.random.default_rng(0)
    dots = np.exp(-np.square(np.arange(8) - rng.uniform(0, 7, (n, 2, 1))) / 4)
    shown = dots[:, 0, :, None] * dots[:, 1, None, :]
    images = shown[..., None] * rng.uniform(0.5, 1, (n, 1, 1, 5))
    images += 0.05 * rng.uniform(size=images.shape)
    return images * [1.0, 100, 10, 1_000, 10] + [0.0, 50, 0, -300, 7]


GAUSSIAN = {**SMALL, "likelihood": "gaussian", "max_iter": 4}


@pytest.mark.parametrize("likelihood", ["gaussian", "continuous_bernoulli"])
def test_scores_are_densities_in_the_units_of_each_channel(likelihood):
    X, scale = five_channels(), np.array([1.0, 1, 4, 0.125, 1])  # exact in floating point
    vae, other = (
        ConvVAETransformer(**{**GAUSSIAN, "likelihood": likelihood}).fit(images)
        for images in (X, X * scale)
    )
    expected = np.stack([X.min((0, 1, 2)), X.max((0, 1, 2))], 1)
    assert_array_equal(vae.pixel_range_, expected)
    assert_array_equal(other.pixel_range_, expected * scale[:, None])
    assert_array_equal(other.transform(X * scale), vae.transform(X))
    # A channel has 64 numbers.
    jacobian = 64 * np.log(scale).sum()
    assert_allclose(other.score_samples(X * scale), vae.score_samples(X) - jacobian, rtol=1e-9)
    assert_allclose(
        other.log_likelihood(X[:4] * scale, 9), vae.log_likelihood(X[:4], 9) - jacobian, rtol=1e-9
    )
    assert_allclose(other.loss_curve_, np.array(vae.loss_curve_) + jacobian, rtol=1e-5)
    z = vae.transform(X)
    assert_allclose(other.inverse_transform(z), vae.inverse_transform(z) * scale, rtol=1e-4)
    if likelihood == "gaussian":
        assert_allclose(other.noise_variance_, vae.noise_variance_ * scale**2)


def test_a_probability_has_no_units():
    X, scale = five_channels(), np.array([1.0, 1, 4, 0.125, 1])
    params = {**GAUSSIAN, "likelihood": "bernoulli"}
    scores = [ConvVAETransformer(**params).fit(A).score_samples(A) for A in (X, X * scale)]
    assert_array_equal(*scores)


def test_the_score_is_that_of_normals_in_the_units_of_each_channel():
    X = five_channels()
    vae = ConvVAETransformer(**GAUSSIAN).fit(X)
    assert vae.noise_variance_.shape == (5,)
    spans = np.diff(vae.pixel_range_)[:, 0]
    assert_allclose(vae.noise_variance_ / spans**2, vae.noise_variance_[0] / spans[0] ** 2)
    # By many draws of z from NumPy; the score takes one for each image.
    mean, std = vae.posterior(X)
    z = mean + std * np.random.default_rng(0).standard_normal((200, *mean.shape))
    means = vae.inverse_transform(z.reshape(-1, 3)).reshape(200, *X.shape).astype(np.float64)
    variance = vae.noise_variance_
    log_p = -0.5 * (np.square(X - means) / variance + np.log(2 * np.pi * variance))
    kl = 0.5 * (mean**2 + std**2 - 1 - 2 * np.log(std)).sum(1)
    elbo = log_p.sum((2, 3, 4)).mean() - kl.mean()
    assert vae.score(X) == pytest.approx(elbo, abs=3)  # of 320 numbers


@pytest.mark.parametrize(
    "pixel_range", [None, "robust", [[0, 2], [0, 200], [0, 20], [-400, 800], [0, 30]]]
)
def test_channels_first_and_last_share_their_ranges(pixel_range):
    last = five_channels()
    first = np.moveaxis(last, -1, 1)
    a = ConvVAETransformer(**GAUSSIAN, pixel_range=pixel_range).fit(last)
    b = ConvVAETransformer(**GAUSSIAN, pixel_range=pixel_range, channel_axis=0).fit(first)
    assert a.pixel_range_.shape == (5, 2)
    assert_array_equal(a.pixel_range_, b.pixel_range_)
    assert_array_equal(a.noise_variance_, b.noise_variance_)
    z = a.transform(last)
    assert_array_equal(z, b.transform(first))
    assert_array_equal(a.score_samples(last), b.score_samples(first))
    images = a.inverse_transform(z)
    assert_array_equal(np.moveaxis(images, -1, 1), b.inverse_transform(z))
    # Rows of either layout are the same images.
    shaped = {"image_shape": (8, 8, 5), "pixel_range": pixel_range}
    rows = ConvVAETransformer(**GAUSSIAN, **shaped).fit(last.reshape(80, -1))
    assert_array_equal(rows.inverse_transform(z), images.reshape(80, -1))
    # In the units of each channel.
    error = np.square(images - last).mean((0, 1, 2))
    assert (error < last.var((0, 1, 2))).all()


def test_bytes_keep_one_range_for_all_channels():
    X = five_channels()[..., :3]
    X = np.uint8(255 * (X - X.min()) / np.ptp(X))
    vae = ConvVAETransformer(**GAUSSIAN).fit(X)
    assert vae.pixel_range_ == (0, 255)
    assert type(vae.noise_variance_) is float
    assert ConvVAETransformer(**GAUSSIAN, pixel_range="robust").fit(X).pixel_range_[1] < 255


def test_robust_ranges_do_not_mind_hot_pixels():
    X = np.uint16(five_channels(300)[..., 1:2] * 10)
    hot = X.copy()
    places = np.random.default_rng(0).integers(0, 8, (10, 2))
    hot[np.arange(10), *places.T] = 65_535
    params = {**GAUSSIAN, "pixel_range": "robust"}
    clean, vae = (ConvVAETransformer(**params).fit(images) for images in (X, hot))
    assert_allclose(vae.pixel_range_, clean.pixel_range_, rtol=0.1)
    # Beside the hot pixels, all others look alike.
    flat = ConvVAETransformer(**GAUSSIAN).fit(hot)
    assert flat.pixel_range_[1] == 65_535
    errors = [
        np.square(model.inverse_transform(model.transform(hot)) - hot)[10:].mean()
        for model in (vae, flat)
    ]
    assert errors[0] < errors[1]
    assert_allclose(vae.noise_variance_, clean.noise_variance_, rtol=0.5)
    with pytest.warns(UserWarning, match="outside the pixel range"):
        vae.transform(65_535 - X)  # but other units are told


@pytest.mark.parametrize(
    ("pixel_range", "match"),
    [
        ([[0, 1]] * 4, r"n_channels, 2\).*each of the 5 channels. Got \[\[0, 1\], \[0, 1\]"),
        ([[0, 1, 2]] * 5, r"n_channels, 2\).*each of the 5 channels"),
        (np.zeros((5, 2, 1)), r"each of the 5 channels"),
        ([0], r"pixel_range must be \(low, high\), 'robust', or"),
        ([[0, 1]] * 3 + [[2, 2]] + [[0, 1]], r"channel 3 of pixel_range must .*Got \(2, 2\)"),
        ([[0, 1], [9, 3]] + [[0, 1]] * 3, r"channel 1 of pixel_range must .*Got \(9, 3\)"),
        ([[0, 1]] * 4 + [[np.nan, 3]], r"channel 4 of pixel_range must .*Got \(nan, 3\)"),
        ([[0, np.inf]] + [[0, 1]] * 4, r"channel 0 of pixel_range must .*Got \(0, inf\)"),
        ((3, 1), r"pixel_range must be two finite numbers.*low < high. Got \(3, 1\)"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_pixel_ranges(pixel_range, match, method):
    vae = ConvVAETransformer(**GAUSSIAN, pixel_range=pixel_range)
    with pytest.raises(ValueError, match=match):
        getattr(vae, method)(five_channels(10))
    assert not hasattr(vae, "image_shape_")


@pytest.mark.parametrize("pixel_range", ["robst", 3])
def test_pixel_ranges_of_the_wrong_type(pixel_range):
    with pytest.raises(InvalidParameterError, match=r"The 'pixel_range' parameter .* must be"):
        ConvVAETransformer(**GAUSSIAN, pixel_range=pixel_range).fit(five_channels(10))


@pytest.mark.parametrize(
    "params",
    [
        {"likelihood": "gaussian"},
        {"likelihood": "bernoulli", "pixel_range": "robust"},
        {"binarize": True, "pixel_range": (0, 1)},
        {"missing_values": -0.0, "likelihood": "gaussian"},
    ],
    ids=str,
)
def test_equal_images_have_equal_scores(params):
    X = np.random.default_rng(0).uniform(size=(40, 5, 6)).astype(np.float32)
    X[::2, 2, 3] = 0
    vae = ConvVAETransformer(**{**SMALL, "likelihood": "auto", "max_iter": 2, **params}).fit(X)
    equal = {
        "float64": X.astype(np.float64),
        "-0.0": np.where(X == 0, np.float32(-0.0), X),
        "more digits": np.where(X == 0, 0, X.astype(np.float64) * (1 + 1e-9)),
    }
    methods = ["transform", "score_samples", "reconstruct", "log_likelihood"]
    for method in methods + ["impute"] * ("missing_values" in params):
        expected = getattr(vae, method)(X)
        for name, other in equal.items():
            result = getattr(vae, method)(other)
            assert_array_equal(result.astype(expected.dtype), expected, err_msg=f"{method} {name}")
    again = ConvVAETransformer(**vae.get_params()).fit(equal["-0.0"])
    assert_array_equal(again.score_samples(X), vae.score_samples(X))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("channel_axis", [0, -1])
def test_reconstructions_have_the_layout_of_their_images(channel_axis, likelihood):
    X = np.random.default_rng(0).uniform(0, 9, (30, 3, 8, 3)).astype(np.float32)
    vae = ConvVAETransformer(**{**QUICK, "likelihood": likelihood}, channel_axis=channel_axis)
    expected = vae.fit(X).inverse_transform(vae.transform(X))
    assert_array_equal(vae.reconstruct(X), expected)
    assert_array_equal(vae.reconstruct(list(X)), expected)
    assert_array_equal(vae.reconstruct(X.reshape(30, 72)), expected.reshape(30, 72))
    assert vae.reconstruct(X).dtype == np.float32
    rows = ConvVAETransformer(
        **{**QUICK, "likelihood": likelihood}, channel_axis=channel_axis, image_shape=(3, 8, 3)
    ).fit(X.reshape(30, 72))
    assert_array_equal(rows.reconstruct(X), rows.reconstruct(X.reshape(30, 72)).reshape(X.shape))


def test_reconstructions_are_arrays_whatever_the_output_of_transform(digits):
    frame = pd.DataFrame(digits[0].reshape(400, 64)).add_prefix("pixel")
    vae = ConvVAETransformer(**QUICK, pixel_range=(0, 16)).fit(frame)
    expected = vae.inverse_transform(vae.transform(frame))
    assert_array_equal(vae.set_output(transform="pandas").reconstruct(frame), expected)
