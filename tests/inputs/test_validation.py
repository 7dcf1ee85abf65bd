"""What comes in is checked: how X is read, its values, and parameters that go together."""

import pickle
import warnings

import dask.array as da
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import sklearn
import torch
import zarr
from conftest import SMALL
from numpy.testing import assert_array_equal
from pictures import png
from PIL import Image

import skvae
from skvae import ConvVAETransformer
from skvae._data import checks
from skvae._data.checks import check_images, learn_images

QUICK = {**SMALL, "max_iter": 1}
AUTO = {**QUICK, "likelihood": "auto"}
ON_IMAGES = ["transform", "posterior", "score_samples", "score", "log_likelihood"]


def noise(*shape):
    return np.random.default_rng(0).uniform(size=shape)


# How X was read


@pytest.mark.parametrize(
    ("shape", "params", "match"),
    [
        (
            (6, 3, 16, 20),
            {},
            r"read as images of 3 x 16 pixels with 20 channels.*\(n, 3, 16, 20\).*"
            r"channels first, set channel_axis=0",
        ),
        (
            (6, 16, 20, 3),
            {"channel_axis": 0},
            r"read as images of 20 x 3 pixels with 16 channels.*channels last, set "
            r"channel_axis=-1",
        ),
        ((6, 1, 8, 8), {}, "with 8 channels.*set channel_axis=0"),
        ((6, 4, 8, 8), {}, "with 8 channels.*set channel_axis=0"),
        ((6, 192), {"image_shape": (3, 8, 8)}, "with 8 channels.*set channel_axis=0"),
        (
            (4, 3 * 8 * 8),
            {},
            r"strips of 1 x 192 pixels.*192 is not a square number.*images, give .*\(height, "
            r"width, channels\)\. If they are signals, give image_shape=\(1, -1\)",
        ),
        ((4, 17), {}, r"strips of 1 x 17 pixels"),
        ((6, 2, 32, 32), {}, "of 2 x 32 pixels with 32 channels.*set channel_axis=0"),
        ((6, 5, 16, 12), {}, "of 5 x 16 pixels with 12 channels.*set channel_axis=0"),
        ((6, 32, 32, 2), {"channel_axis": 0}, "with 32 channels.*set channel_axis=-1"),
        ((6, 10, 8, 8), {}, "of 10 x 8 pixels with 8 channels.*set channel_axis=0"),
        ((6, 64, 8, 8), {}, "of 64 x 8 pixels with 8 channels.*set channel_axis=0"),
        ((6, 8, 8, 20), {"channel_axis": 0}, "of 8 x 20 pixels with 8 channels.*channel_axis=-1"),
        # One image, and a series of three sensors.
        (
            (64, 24, 3),
            {},
            r"read as grey images of 24 x 3 pixels. If it is one image with 3 channels, pass "
            r"X\[None\]. If it holds signals of 24 steps with 3 channels, pass X\[:, None\]. "
            r"If it is read rightly, give image_shape=\(24, 3\)",
        ),
        ((6, 9, 4), {}, "grey images of 9 x 4 pixels"),
        (
            (6, 3, 200),
            {},
            r"grey images of 3 x 200 pixels\. If it holds signals of 200 steps with 3 channels, "
            r"pass X\[:, :, None\] with channel_axis=0\. .* give image_shape=\(3, 200\)",
        ),
        ((6, 1, 1, 50), {}, "of 1 x 1 pixels with 50 channels.*set channel_axis=0"),
        ((6, 2, 1, 128), {}, "of 2 x 1 pixels with 128 channels.*set channel_axis=0"),
        (
            (3, 20, 24),
            {},
            r"3 grey images of 20 x 24 pixels\. If it is one image with 3 channels, pass X\[None\] "
            r"with channel_axis=0\. .* give image_shape=\(20, 24\)",
        ),
        (
            (100, 100),
            {},
            r"100 rows, which are images of 10 x 10 pixels\. If it is one image, pass X\[None\]\. "
            r".* give image_shape=\(10, 10\)",
        ),
        ((6, 8, 2), {}, "grey images of 8 x 2 pixels"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "fit_transform"])
def test_what_may_be_read_otherwise(shape, params, match, method):
    X = noise(*shape)
    vae = ConvVAETransformer(**QUICK, **params)
    with pytest.warns(UserWarning, match=match) as record:
        getattr(vae, method)(X)
    assert sum("read as" in str(warning.message) for warning in record) == 1
    vae.transform(X)  # told once, by the fit


@pytest.mark.parametrize(
    ("shape", "params"),
    [
        ((6, 64, 64, 3), {}),
        ((6, 3, 16, 20), {"channel_axis": 0}),
        ((6, 8, 8, 4), {}),
        ((6, 8, 8, 1), {}),
        ((6, 8, 8, 20), {}),
        ((6, 9, 8, 20), {}),
        ((6, 9, 9, 9), {}),
        ((6, 3, 8, 3), {}),
        ((6, 3, 17), {}),
        ((6, 24, 3), {"image_shape": (24, 3)}),
        ((6, 8, 4), {}),
        ((6, 7, 2), {}),
        ((6, 24, 5), {}),
        ((6, 3, 1, 200), {"channel_axis": 0}),  # what the warning advises
        ((6, 3, 200), {"image_shape": (3, 200)}),
        ((6, 1, 200), {}),
        ((6, 5, 200), {}),
        ((1, 3, 20, 24), {"channel_axis": 0}),
        ((3, 20, 24), {"image_shape": (20, 24)}),
        ((5, 20, 24), {}),
        ((3, 16, 16), {}),
        ((100, 100), {"image_shape": (10, 10)}),
        ((99, 100), {}),
        ((64, 64), {}),
        ((6, 24, 1), {}),
        ((1, 64, 24, 3), {}),  # what the warning advises
        ((6, 1, 24, 3), {}),
        ((6, 2, 32, 32), {"channel_axis": 0}),
        ((6, 1, 17), {}),
        ((6, 64), {}),
        ((6, 784), {}),
        ((6, 3_072), {"image_shape": (32, 32, 3)}),
        ((6, 3_072), {"image_shape": (32, -1, 3)}),
        ((6, 192), {"image_shape": (1, -1)}),
        ((6, 192), {"image_shape": (-1, 1)}),
        ((6, 15), {}),
        ((6, 2), {}),
        ((6, 1), {}),
    ],
    ids=str,
)
def test_a_plain_reading_is_silent(shape, params):
    X = noise(*shape)
    vae = ConvVAETransformer(**QUICK, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn_images(vae, X)
    assert vae.n_features_in_ == np.prod(shape[1:])


# Values that do not fit the pixel range


def test_values_outside_warn(digits):
    vae = ConvVAETransformer(**QUICK).fit(digits[0] / 16)
    match = r"from 0 to 16, outside the pixel range \(0, 1\).*clipped to \(0, 1\)"
    with pytest.warns(UserWarning, match=match):
        z = vae.transform(digits[0].astype(float))
    assert_array_equal(z, vae.transform((digits[0] > 0).astype(float)))  # clipped


@pytest.mark.parametrize(
    ("likelihood", "low", "high"),
    [("bernoulli", 0, 1), ("continuous_bernoulli", 0, 1), ("gaussian", -0.5, 1.5)],
)
def test_scores_of_values_outside_are_those_of_the_clipped_ones(digits, likelihood, low, high):
    X = digits[0][:60] / 16
    vae = ConvVAETransformer(**{**QUICK, "likelihood": likelihood}, pixel_range=(0, 1)).fit(X)
    far = 1.45 * X  # not yet far enough for a warning
    for method in ("score_samples", "log_likelihood"):
        scores = getattr(vae, method)(far)
        assert_array_equal(scores, getattr(vae, method)(far.clip(low, high)))
        assert np.isfinite(scores).all()
        assert (scores != getattr(vae, method)(X)).any()


@pytest.mark.parametrize("high", [1.3, 2.0])
def test_every_training_warns_of_values_outside(digits, high):
    X = digits[0][:60] / 16
    match = rf"from 0 to {high:g}, outside the pixel range \(0, 1\)"
    with pytest.warns(UserWarning, match=match):
        ConvVAETransformer(**QUICK, pixel_range=(0, 1)).fit(X * high)
    vae = ConvVAETransformer(**QUICK, pixel_range=(0, 1), warm_start=True).fit(X)
    with pytest.warns(UserWarning, match=match):
        vae.partial_fit(X * high)
    with pytest.warns(UserWarning, match=match):
        vae.fit(X * high)
    vae.transform(X * 1.3)  # held-out images may leave the range a little


@pytest.mark.parametrize("method", [*ON_IMAGES, "partial_fit"])
def test_values_of_another_scale_warn(digits, method):
    vae = ConvVAETransformer(**QUICK).fit(digits[0] * 15)  # uint8: 0 to 255
    match = r"from 0 to 1, a small part of the pixel range \(0, 255\).*units of the training"
    with pytest.warns(UserWarning, match=match):
        getattr(vae, method)(digits[0] / 16)
    for mask in (digits[0] > 8, (digits[0] > 8).astype(np.uint8)):
        with pytest.warns(UserWarning, match=match):
            getattr(vae, method)(mask.astype(np.uint8))


def test_training_on_classes_as_bytes_warns(digits):
    classes = 3 * (digits[0] > 8).astype(np.uint8)
    match = r"from 0 to 3, a small part of the pixel range \(0, 255\).*give another pixel_range"
    with pytest.warns(UserWarning, match=match):
        ConvVAETransformer(**QUICK).fit(classes)
    ConvVAETransformer(**QUICK, pixel_range=(0, 3)).fit(classes)


@pytest.mark.parametrize("share", [0.019, 0.021])
def test_a_small_part_is_two_per_cent(share):
    X = share * noise(300, 4, 4)
    X[0, 0, 0], X[0, 0, 1] = 0, share
    vae = ConvVAETransformer(**QUICK, pixel_range=(0, 1))
    if share > 0.02:
        vae.fit(X)
        return
    with pytest.warns(UserWarning, match="a small part of the pixel range"):
        vae.fit(X)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_constant_images_are_silent(value):
    X = np.full((5, 4, 4), value, np.uint8)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        for constant in (X, X.astype(float)):
            vae = ConvVAETransformer(**QUICK).fit(constant)
            vae.partial_fit(constant).transform(constant[:1])
    told = {str(warning.message) for warning in record}
    assert {message for message in told if "0 of 3 components are active" not in message} == set()


# Bad input


@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        ([[0.0, np.nan]], ValueError, "contains NaN"),
        ([[0.0, np.inf]], ValueError, "contains infinity"),
        ([[0.0, 1j]], ValueError, "Complex data not supported"),
        ([["a", "b"]], ValueError, "could not convert|bytes/strings"),
        (sp.csr_array([[0.0, 1.0]]), TypeError, "Sparse data was passed"),
        (sp.coo_array(np.ones((2, 3, 4))), (TypeError, ValueError), "[Ss]parse"),
        ([0.0, 1.0], ValueError, "Expected 2D array, got 1D array"),
        (np.zeros((0, 4)), ValueError, r"0 sample\(s\)"),
        (np.zeros((0, 4, 4)), ValueError, r"0 sample\(s\)"),
        (np.zeros((4, 0)), ValueError, r"0 feature\(s\)"),
        (np.zeros((2, 2, 2, 2, 2)), ValueError, "Found array with dim 5"),
        (np.float64(3), ValueError, "Expected 2D array"),
        (np.zeros((3, 2), "datetime64[s]"), ValueError, "X must hold real numbers"),
    ],
)
def test_bad_images(X, error, match):
    with pytest.raises(error, match=match):
        ConvVAETransformer(**QUICK).fit(X)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"image_shape": (5, 5)}, r"image_shape=\(5, 5\) means 25 numbers .* has 64 features"),
        ({"image_shape": (4, 16)}, r"\(4, 16\) differs from the shape .* \(8, 8\)"),
        ({"image_shape": (8,)}, "image_shape must be"),
        ({"pixel_range": (1, 0)}, "pixel_range must be two finite numbers"),
        ({"hidden_channels": ()}, "hidden_channels must hold one whole number"),
        ({"hidden_channels": (8, 0)}, r"hidden_channels must hold .* Got \(8, 0\)"),
        ({"hidden_channels": (8, 2.5)}, "hidden_channels must hold"),
        ({"device": "nonsense"}, "device='nonsense' is not available. Available here: .*cpu"),
    ],
)
def test_bad_parameters_for_the_images(digits, params, match):
    images = digits[0][:20]
    if params.get("image_shape") == (5, 5):
        images = images.reshape(20, 64)
    with pytest.raises(ValueError, match=match):
        ConvVAETransformer(**{**QUICK, **params}).fit(images)


@pytest.mark.parametrize("fitted", [(8, 8), (8, 8, 1), (1, 8, 8), (64,)], ids=str)
def test_an_axis_of_one_channel_may_be_anywhere_or_nowhere(digits, fitted):
    images = digits[0][:20].astype(float)
    images[::2, 2, 3] = np.nan
    channel_axis = 0 if fitted == (1, 8, 8) else -1
    vae = ConvVAETransformer(**QUICK, missing_values=np.nan, channel_axis=channel_axis)
    vae.fit(images.reshape(20, *fitted))
    rows = images.reshape(20, 64)
    for shape in ((8, 8), (8, 8, 1), (1, 8, 8)):
        X = images.reshape(20, *shape)
        for method in (*ON_IMAGES, "explained_variance_ratio"):
            assert_array_equal(getattr(vae, method)(X), getattr(vae, method)(rows))
        for method in ("reconstruct", "impute"):
            back = getattr(vae, method)(X)
            assert back.shape == X.shape
            assert_array_equal(back.reshape(20, 64), getattr(vae, method)(rows))
        # Results have the layout of `fit`, whatever went in.
        assert vae.inverse_transform(vae.transform(X)).shape == (20, *fitted)
        vae.partial_fit(X)
        assert vae.sample(2).shape == (2, *fitted)


@pytest.mark.parametrize("method", ON_IMAGES)
def test_other_images_than_the_fitted_ones(small, digits, method):
    function = getattr(small, method)
    with pytest.raises(ValueError, match=r"shape \(4, 16\).*fitted on images of shape \(8, 8\)"):
        function(digits[0].reshape(-1, 4, 16))
    with pytest.raises(ValueError, match=r"shape \(8, 8, 2\).*fitted on images of shape \(8, 8\)"):
        function(np.repeat(digits[0][..., None], 2, axis=-1))
    with pytest.raises(
        ValueError, match="X has 10 features, but ConvVAETransformer is expecting 64"
    ):
        function(np.zeros((3, 10)))


@pytest.mark.parametrize(
    "X",
    [
        [noise(8, 8), noise(8, 9)],
        (noise(8, 8), noise(7, 8), noise(8, 8)),
        [noise(8, 8, 3), noise(8, 8)],
    ],
    ids=["list", "tuple", "channels"],
)
def test_images_of_different_shapes(X):
    shapes = rf"\({X[0].shape[0]}, .*\) and \({X[1].shape[0]}, "
    match = rf"different shapes, such as {shapes}.*Crop, pad or resize them to one shape first"
    with pytest.raises(ValueError, match=match):
        ConvVAETransformer(**QUICK).fit(X)


def in_chunks(X):
    """X as arrays that are stored in chunks, of dask and of zarr."""
    return [da.from_array(X, chunks=2), zarr.array(X, chunks=(2,) * X.ndim)]


@pytest.mark.parametrize("method", ["fit", "partial_fit", "fit_transform"])
def test_training_refuses_what_is_stored_in_chunks(method):
    for X in in_chunks(noise(6, 4, 4)) + in_chunks(noise(6, 16)):
        vae = ConvVAETransformer(**QUICK)
        match = rf"{type(X).__module__}.Array.*as a whole.*np.load\(file, mmap_mode='r'\)"
        with pytest.raises(TypeError, match=match):
            getattr(vae, method)(X)
        assert vars(vae) == vars(ConvVAETransformer(**QUICK))


@pytest.mark.parametrize("method", [*ON_IMAGES, "reconstruct", "inverse_transform"])
def test_what_is_stored_in_chunks_is_applied_by_parts(small, digits, method):
    X = noise(4, 3) if method == "inverse_transform" else digits[0][:4]
    for array in in_chunks(X):
        with pytest.raises(TypeError, match=r"as a whole.*some rows at a time.*map_blocks"):
            getattr(small, method)(array)


def test_a_column_named_chunks_is_a_column():
    X = pd.DataFrame(noise(6, 2), columns=["chunks", "shape_"])
    assert ConvVAETransformer(**QUICK).fit(X).n_features_in_ == 2


def test_an_array_of_images_of_different_shapes():
    X = np.empty(2, object)
    X[:] = [noise(8, 8), noise(9, 8)]
    with pytest.raises(ValueError, match="different shapes"):
        ConvVAETransformer(**QUICK).fit(X)


@pytest.mark.parametrize("method", ["fit", "transform"])
def test_pairs_of_an_image_and_a_label(small, digits, method):
    pairs = list(zip(digits[0][:5], digits[1][:5].tolist(), strict=True))
    function = getattr(small, method) if method == "transform" else ConvVAETransformer(**QUICK).fit
    for X in (pairs, [list(pair) for pair in pairs], [(Image.fromarray(x), y) for x, y in pairs]):
        match = r"cannot be made an array \(.*of one shape.*np\.stack\(.* for image, \*_ in X\]\)"
        with pytest.raises(ValueError, match=match) as raised:
            function(X)
        line = str(raised.value).split(": X = ")[1].rstrip(".")
        assert_array_equal(eval(line, {"X": X, "np": np}), digits[0][:5])


def test_a_table_with_a_column_of_images(digits):
    table = pd.DataFrame({"image": list(digits[0][:20]), "label": digits[1][:20]})
    for X in (table, table[["image"]]):
        with pytest.raises(
            ValueError, match=r"X holds sequences.* pass that column, such as X\['i"
        ):
            ConvVAETransformer(**QUICK).fit(X)
    vae = ConvVAETransformer(**QUICK).fit(table["image"])
    assert_array_equal(vae.transform(table["image"]), vae.transform(digits[0][:20]))


def test_pictures_of_pillow_of_different_sizes():
    X = [Image.new("L", (9, 8)), Image.new("L", (8, 8))]
    with pytest.raises(ValueError, match=r"different shapes, such as \(8, 9\) and \(8, 8\)"):
        ConvVAETransformer(**QUICK).fit(X)


def objects(images):
    X = np.empty(len(images), object)
    X[:] = list(images)
    return X


@pytest.mark.parametrize(
    "hold",
    [
        objects,
        lambda images: pd.Series(list(images), index=np.arange(len(images))[::-1]),
        lambda images: pl.Series(list(images), dtype=pl.Object),
        lambda images: [Image.fromarray(image) for image in images],
        lambda images: objects([Image.fromarray(image) for image in images]),
    ],
    ids=["objects", "pandas", "polars", "Pillow", "objects of Pillow"],
)
def test_what_holds_images_of_one_shape_is_an_array_of_them(digits, hold):
    images = digits[0][:30].astype(np.uint8) * 15
    images[3, 4, 5] = 255
    vae = ConvVAETransformer(**QUICK, missing_values=255).fit(images)
    X = hold(images)
    other = ConvVAETransformer(**QUICK, missing_values=255).fit(X)
    assert other.image_shape_ == (8, 8)
    assert other.pixel_range_ == (0, 255)
    for method in (*ON_IMAGES, "reconstruct", "impute"):
        expected = getattr(vae, method)(images)
        assert_array_equal(getattr(other, method)(X), expected)
        assert np.shape(getattr(other, method)(X)) == np.shape(expected)


def test_masks_of_0_and_1_are_read_as_such(digits):
    masks = (digits[0] > 7).astype(np.uint8)
    vae = ConvVAETransformer(**AUTO).fit(masks)
    expected = ConvVAETransformer(**AUTO).fit(masks.astype(bool))
    assert vae.pixel_range_ == (0, 1)
    assert vae.likelihood_ == "bernoulli"
    assert_array_equal(vae.transform(masks), expected.transform(masks))
    # A label of pixels to be ignored is no value.
    ignored = np.where(np.arange(8) == 3, 255, masks).astype(np.uint8)
    with pytest.warns(UserWarning, match="8 of 64 numbers of an image are missing in all images"):
        vae = ConvVAETransformer(**AUTO, missing_values=255).fit(ignored)
    assert vae.pixel_range_ == (0, 1)
    # One pixel of another value, in one image of many, and they are no masks.
    images = masks.copy()
    images[1, 2, 3] = 255
    assert learn_images(ConvVAETransformer(**QUICK), images)[1].pixel_range == (0, 255)
    black = np.zeros_like(masks[:9])
    assert learn_images(ConvVAETransformer(**QUICK), black)[1].pixel_range == (0, 255)
    given = ConvVAETransformer(**QUICK, pixel_range=(0, 5))
    assert learn_images(given, masks)[1].pixel_range == (0, 5)


def test_a_list_of_images_is_an_array(digits):
    images = digits[0][:30]
    z = ConvVAETransformer(**QUICK).fit(images).transform(images)
    vae = ConvVAETransformer(**QUICK).fit(list(images))
    assert vae.pixel_range_ == (0, 255)
    assert_array_equal(vae.transform(list(images)), z)


def test_binarising_needs_its_family(digits):
    vae = ConvVAETransformer(**{**QUICK, "likelihood": "gaussian"}, binarize=True)
    with pytest.raises(ValueError, match=r"binarize=True needs likelihood='bernoulli'.*gaussian"):
        vae.fit(digits[0])
    assert not hasattr(vae, "n_features_in_")  # as it was before


@pytest.mark.parametrize(
    "change",
    [{"n_components": 4}, {"hidden_units": 17}, {"likelihood": "gaussian"}],
    ids=str,
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_training_goes_on_with_the_same_model_only(digits, change, method):
    vae = ConvVAETransformer(**QUICK, warm_start=True).fit(digits[0][:40])
    before = vae.transform(digits[0])
    vae.set_params(**change)
    name, value = next(iter(change.items()))
    match = rf"fitted as .*now ask for .*'{name}': '?{value}.*or call fit with warm_start=False"
    with pytest.raises(ValueError, match=match):
        getattr(vae, method)(digits[0][:40])
    assert_array_equal(vae.transform(digits[0]), before)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_family_chosen_by_contrast_is_not_binarised_later(digits, method):
    vae = ConvVAETransformer(**{**QUICK, "likelihood": "auto"}, warm_start=True)
    vae.fit(digits[0][:40])
    assert vae.likelihood_ == "gaussian"
    vae.set_params(binarize=True)
    with pytest.raises(ValueError, match=r"now ask for .*'likelihood': 'bernoulli'"):
        getattr(vae, method)(digits[0][:40])


def test_what_was_learned_is_not_what_parameters_say_later(digits):
    vae = ConvVAETransformer(**{**QUICK, "likelihood": "gaussian"}).fit(digits[0].reshape(400, 64))
    vae.set_params(image_shape=(4, 16), channel_axis=0, likelihood="bernoulli")
    image_format = vae._format
    assert image_format.shape == vae.image_shape_ == (8, 8)
    assert image_format.channel_axis == vae.channel_axis_ == -1
    assert image_format.pixel_range is vae.pixel_range_
    assert image_format.as_rows
    assert not image_format.bounded


# How often X is read


class CountedReads(np.ndarray):
    """An array that notes which blocks of its memory NumPy's functions read, in order."""

    reads = None

    def __array_finalize__(self, other):
        self.reads = getattr(other, "reads", None)

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        self._note(inputs)
        inputs = [x.view(np.ndarray) if isinstance(x, CountedReads) else x for x in inputs]
        return getattr(ufunc, method)(*inputs, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        self._note(args)
        args = [x.view(np.ndarray) if isinstance(x, CountedReads) else x for x in args]
        return function(*args, **kwargs)

    def astype(self, *args, **kwargs):
        self._note([self])
        return self.view(np.ndarray).astype(*args, **kwargs)

    def __getitem__(self, key):
        part = super().__getitem__(key)
        if isinstance(key, np.ndarray):  # a copy
            self.reads.append((part.nbytes, None))
            return part.view(np.ndarray)
        return part

    def _note(self, arrays):
        for array in arrays:
            if isinstance(array, CountedReads):
                read = array.nbytes, array.__array_interface__["data"][0]
                # What was just read, and is no larger than a block, is in the cache.
                if self.reads[-1:] != [read] or array.nbytes > 2**22:
                    self.reads.append(read)


def n_reads(vae, X, monkeypatch, *, learn):
    """How often a check reads X, on average over its bytes."""
    reads = []

    def counted(*args, ensure_all_finite, **kwargs):
        assert ensure_all_finite is False  # scikit-learn would read X once more
        rows = sklearn_validate_data(*args, ensure_all_finite=ensure_all_finite, **kwargs)
        assert np.shares_memory(rows, X)
        rows = rows.view(CountedReads)
        rows.reads = reads
        return rows

    sklearn_validate_data = checks.validate_data
    with monkeypatch.context() as patch:
        patch.setattr(checks, "validate_data", counted)
        if learn:
            _, vae._format, _ = learn_images(vae, X)
        else:
            check_images(vae, X)
    return sum(n_bytes for n_bytes, _ in reads) / X.nbytes


@pytest.mark.parametrize(
    ("dtype", "params", "passes", "sampled"),
    [
        (np.float32, {"likelihood": "gaussian"}, 1, 0),
        (np.float32, {}, 1, 1 / 2),
        (np.float64, {"pixel_range": "robust"}, 1, 3 / 2),
        (np.float32, {"missing_values": np.nan}, 1, 1 / 2),
        (np.float32, {"missing_values": -1, "pixel_range": (0, 1)}, 1, 1 / 2),
        (np.uint8, {"likelihood": "gaussian"}, 0, 1 / 2),
        (np.uint8, {}, 0, 1),
        (np.uint8, {"missing_values": 7}, 1, 1 / 2),
        (np.uint8, {"pixel_range": (0, 300)}, 0, 1),
        (bool, {}, 0, 1),
    ],
    ids=str,
)
def test_x_is_read_once_and_a_sample_of_it(tmp_path, monkeypatch, dtype, params, passes, sampled):
    # Half of 4,096 images are a sample.
    X = (noise(4_096, 6, 6, 3) * (1 if np.dtype(dtype).kind == "f" else 255)).astype(dtype)
    if params.get("missing_values") == -1:
        X[0, 0, 0, 0] = -1
    np.save(tmp_path / "X.npy", X)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    vae = ConvVAETransformer(**{**AUTO, **params})
    # A few images more tell that integers are no masks.
    few = pytest.approx(passes + sampled, abs=20 / 4_096)
    assert n_reads(vae, X, monkeypatch, learn=True) == few
    once = passes or 1 / 2
    assert n_reads(vae, X, monkeypatch, learn=False) == pytest.approx(once)


def test_the_counter_counts():
    rows = noise(50, 20).view(CountedReads)
    rows.reads = []
    rows[:10].min(), rows[:10].max(), rows[10:].max(), np.where(rows > 0, 1, 0)
    rows[np.array([1, 2])]
    sizes = [n_bytes // rows.itemsize for n_bytes, _ in rows.reads]
    assert sizes == [200, 800, 1_000, 40]


# Which family "auto" is


def strokes(n=40):
    """Pictures like MNIST: mostly black, thick white lines, grey rims."""
    images = np.zeros((n, 28, 28))
    places = np.random.default_rng(0).integers(3, 22, (n, 2))
    for image, (row, column) in zip(images, places, strict=True):
        image[row : row + 4, 4:24] = image[4:24, column : column + 4] = 1.0
        image[row - 1, 4:24] = image[4:24, column - 1] = 0.5
    return images


def mixed(share):
    """Pixels of which a share is grey, and half of the others white."""
    x = np.repeat([0.5, 0.0, 1.0], [round(1_000 * share), *[round(500 * (1 - share))] * 2])
    return np.random.default_rng(0).permutation(x).reshape(10, 10, 10)


@pytest.mark.parametrize(
    ("X", "params", "expected"),
    [
        (noise(30, 8, 8) > 0.7, {}, "bernoulli"),
        ((noise(30, 8, 8) > 0.02).astype(np.uint8) * 255, {}, "bernoulli"),
        ((noise(30, 8, 8) > 0.5) * 3.0 - 7, {}, "bernoulli"),
        (strokes(), {}, "bernoulli"),
        ((255 * strokes()).astype(np.uint8), {}, "bernoulli"),
        (noise(30, 8, 8), {}, "gaussian"),
        (noise(30, 8, 8), {"binarize": True}, "bernoulli"),
        (noise(30, 8, 8, 3) * [1, 10, 100], {}, "gaussian"),
        ((noise(30, 8, 8, 3) > 0.5) * [1.0, 10, 100], {}, "bernoulli"),
        (np.zeros((5, 4, 4)), {}, "gaussian"),
        (np.full((5, 4, 4), 255, np.uint8), {}, "gaussian"),
        (np.full((5, 4, 4), 0.5), {"pixel_range": (0, 1)}, "gaussian"),
        (noise(1, 8, 8), {}, "gaussian"),
        (noise(4, 1, 1), {}, "gaussian"),
        (mixed(0.24), {}, "bernoulli"),
        (mixed(0.26), {}, "gaussian"),
        # The range counts: the same pixels are far from its ends.
        (noise(30, 8, 8) > 0.7, {"pixel_range": (-1, 2)}, "gaussian"),
    ],
)
def test_the_family_follows_the_contrast(X, params, expected):
    vae = ConvVAETransformer(**AUTO, **params)
    values, image_format, likelihood = learn_images(vae, X)
    assert likelihood == expected
    assert vae.likelihood == "auto"
    if not vae.binarize:
        x = image_format.to_unit(values.rows).astype(np.float64)
        two_valued = x.var() > 0.75 * x.mean() * (1 - x.mean())
        assert expected == ("bernoulli" if two_valued else "gaussian")


def test_of_many_images_some_tell_the_family():
    # Every second one is looked at: those of two values.
    X = noise(4_000, 2, 2)
    X[::2] = X[::2] > 0.5
    vae = ConvVAETransformer(**AUTO)
    assert learn_images(vae, X)[2] == "bernoulli"


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli", "gaussian"])
def test_a_family_that_is_asked_for(digits, likelihood):
    vae = ConvVAETransformer(**{**QUICK, "likelihood": likelihood}).fit(digits[0][:40])
    assert vae.likelihood_ == likelihood
    assert hasattr(vae, "noise_variance_") == (likelihood == "gaussian")


@pytest.mark.parametrize("first", ["fit", "partial_fit"])
def test_auto_stays_what_it_was_at_first(digits, tmp_path, first):
    grey = digits[0][:60] / 16
    binary = (grey > 0.5).astype(float)
    for X, other, expected in ((grey, binary, "gaussian"), (binary, grey, "bernoulli")):
        vae = getattr(ConvVAETransformer(**AUTO, warm_start=True), first)(X)
        assert vae.likelihood_ == expected
        assert vae.partial_fit(other).likelihood_ == expected
        assert vae.fit(other).likelihood_ == expected
        vae.save(tmp_path / "model")
        for copied in (skvae.load(tmp_path / "model"), pickle.loads(pickle.dumps(vae))):
            assert (copied.likelihood, copied.likelihood_) == ("auto", expected)
            assert_array_equal(copied.score_samples(X), vae.score_samples(X))
            assert copied.partial_fit(other).likelihood_ == expected
        # The same by its name; another is refused.
        vae.set_params(likelihood=expected).partial_fit(other)
        vae.set_params(likelihood="continuous_bernoulli")
        with pytest.raises(ValueError, match=rf"{expected}.*ask for.*'continuous_bernoulli'"):
            vae.partial_fit(other)
        # A new fit looks at its own images.
        vae.set_params(likelihood="auto", warm_start=False)
        assert vae.fit(other).likelihood_ != expected


# What is no array of images


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_training_names_what_was_meant(method):
    with pytest.raises(TypeError, match=r"X holds files or names of files\..* skvae\.read_images"):
        getattr(ConvVAETransformer(), method)(["a.png", "b.png"])
    with pytest.raises(TypeError, match=r"X is a builtins\.generator.* np\.stack"):
        getattr(ConvVAETransformer(), method)(image for image in np.zeros((3, 8, 8)))


@pytest.mark.parametrize("method", ["transform", "posterior", "score_samples", "reconstruct"])
def test_methods_name_one_image(small, digits, method):
    with pytest.raises(ValueError, match=r"X is one image, of shape \(8, 8\).*X\[None\]"):
        getattr(small, method)(digits[0][0])
    with pytest.raises(TypeError, match=r"X holds files or names of files"):
        getattr(small, method)("folder")


def test_images_of_pillow_in_a_list_are_read_as_their_files(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (12, 8, 9, 3), np.uint8)
    pictures = [Image.fromarray(each).quantize(16) for each in colours]  # with a palette
    for i, picture in enumerate(pictures):
        picture.save(tmp_path / f"{i}.png")
    expected = skvae.read_images(tmp_path)
    vae = ConvVAETransformer(**QUICK).fit(pictures)
    assert vae.image_shape_ == (8, 9, 3)
    assert_array_equal(vae.transform(pictures), vae.transform(expected))


@pytest.mark.parametrize("ending", ["png", "ppm", "tif", "bmp", "gif", "webp"])
def test_open_images_can_be_used_again_and_again(tmp_path, ending):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 9), np.uint8)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.{ending}", lossless=True)
    pictures = [Image.open(tmp_path / f"{i}.{ending}") for i in range(5)]
    expected = skvae.read_images(tmp_path)
    for _ in range(2):
        values, _, _ = learn_images(ConvVAETransformer(image_shape=expected.shape[1:]), pictures)
        assert_array_equal(values.rows.reshape(expected.shape), expected)
    for picture in pictures:
        picture.close()


def test_images_of_pillow_are_upright():
    turned = Image.fromarray(np.arange(72, dtype=np.uint8).reshape(8, 9))
    turned.getexif()[0x0112] = 6  # the first row is on the right side
    values, _, _ = learn_images(ConvVAETransformer(), [turned, turned])
    assert_array_equal(values.rows[0].reshape(9, 8), np.rot90(np.asarray(turned), -1))


def test_open_images_of_16_bits_in_each_colour_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(png(np.full((8, 9, 3), 40_000, np.uint16), 16, 2))
    with (
        Image.open(tmp_path / "a.png") as picture,
        pytest.raises(ValueError, match=r"of Pillow in X.*16 bits in each colour"),
    ):
        ConvVAETransformer(**QUICK).fit([picture, picture])


@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
def test_open_images_can_go_to_other_processes(tmp_path, ending):
    image = np.random.default_rng(0).integers(0, 256, (8, 9), np.uint8)
    Image.fromarray(image).save(tmp_path / f"a.{ending}")
    with Image.open(tmp_path / f"a.{ending}") as picture:
        other = pickle.loads(pickle.dumps(picture))
    values, _, _ = learn_images(ConvVAETransformer(), [other, other])
    assert_array_equal(values.rows[0].reshape(8, 9), image)


def test_images_of_pillow_that_lose_something_are_refused():
    with pytest.raises(ValueError, match=r"of Pillow in X.*stored as 'CMYK'.*image\.convert"):
        ConvVAETransformer(**QUICK).fit([Image.new("CMYK", (8, 9))] * 3)


@pytest.mark.parametrize(
    ("first", "second"),
    [(np.uint8, bool), (np.uint8, np.uint16), (np.float32, np.uint8), (bool, np.int64)],
)
def test_images_of_different_dtypes_are_refused(first, second):
    image = np.random.default_rng(0).integers(0, 2, (8, 9))
    with pytest.raises(ValueError, match="X holds images of different dtypes, such as"):
        ConvVAETransformer(**QUICK).fit([image.astype(first), image.astype(second)])


def test_images_of_dtypes_whose_values_mean_the_same_are_one_set():
    image = np.random.default_rng(0).integers(0, 256, (8, 9))
    for others in ((np.float32, float), ("<u2", ">u2"), (np.int32, float)):
        images = [image.astype(dtype) for dtype in others]
        assert ConvVAETransformer(**QUICK).fit(images).image_shape_ == (8, 9)


@pytest.mark.parametrize(
    ("low", "span", "is_coarse"),
    [(0, 1, False), (1e3, 10, False), (1e6, 1, True), (-1e8, 1e3, True), (1e9, 0, False)],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_values_that_float32_cannot_tell_apart_come_with_a_warning(low, span, is_coarse, dtype):
    X = (low + span * np.random.default_rng(0).random((20, 8, 8))).astype(dtype)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        vae = ConvVAETransformer(**QUICK).fit(X)
    messages = [str(each.message) for each in record]
    # X of float32 loses nothing.
    warned = any("float32 has steps of" in message for message in messages)
    assert warned == (is_coarse and dtype is np.float64)
    different = len(np.unique(np.linspace(*vae.pixel_range_, 10_000).astype(np.float32)))
    assert (1 < different < 300) == is_coarse


def test_a_series_of_arrays_comes_back_in_the_layout_of_its_images():
    images = np.random.default_rng(0).random((20, 8, 9))
    series = pl.Series(images)
    vae = ConvVAETransformer(**QUICK).fit(series)
    assert_array_equal(vae.reconstruct(series), vae.reconstruct(images))


def test_tensors_are_images_whatever_scikit_learn_dispatches():
    # Older versions of scikit-learn need a further package for it.
    pytest.importorskip("sklearn.externals.array_api_compat")
    rows = np.random.default_rng(0).random((20, 72)).astype(np.float32)
    with sklearn.config_context(array_api_dispatch=True):
        vae = ConvVAETransformer(**QUICK, image_shape=(8, 9)).fit(rows)
        same = ConvVAETransformer(**QUICK, image_shape=(8, 9)).fit(torch.tensor(rows))
        latents = same.transform(torch.tensor(rows))
        images = same.inverse_transform(torch.tensor(latents))
    assert_array_equal(latents, vae.transform(rows))
    assert_array_equal(images, vae.inverse_transform(latents))


def test_nan_is_named_although_the_caller_assumed_there_is_none():
    X = np.random.default_rng(0).random((20, 8, 8))
    X[3, 4, 5] = np.nan
    with (
        sklearn.config_context(assume_finite=True),
        pytest.raises(ValueError, match="contains NaN"),
    ):
        ConvVAETransformer(**QUICK).fit(X)
