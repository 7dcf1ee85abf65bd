"""`to_onnx`: onnxruntime gives what the estimator gives."""

import sys
from functools import cache

import numpy as np
import onnx
import pytest
from conftest import SMALL, fit_classifier
from nets import LIKELIHOODS
from numpy.testing import assert_array_equal
from runtimes import assert_close, runner
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.utils import Bunch

import skvae
from skvae import ConvVAETransformer, to_onnx
from skvae._export import labels_of

rng = np.random.default_rng(0)


def images_of(shape, dtype=np.float32, high=16):
    """300 smooth images with some noise, from 0 to `high`."""
    n_numbers = int(np.prod(shape))
    waves = np.sin(np.outer(np.arange(3) + 1, np.linspace(0, 6, n_numbers)))
    X = rng.normal(size=(300, 3)) @ waves + 0.2 * rng.normal(size=(300, n_numbers))
    X = high * (X - X.min()) / np.ptp(X)
    return X.reshape(300, *shape).astype(dtype)


def punch(X, marker):
    """The images with half of their pixels missing."""
    return np.where(rng.uniform(size=X.shape) < 0.5, np.array(marker, X.dtype), X)


colours = images_of((3, 9, 10)) * np.array([1, -7, 0.01], np.float32)[:, None, None] + 1
# Images, and the parameters of the estimator.
CASES = {
    "rows": (images_of((64,)), {"likelihood": "gaussian"}),
    "uint8": (images_of((11, 7), np.uint8), {"likelihood": "continuous_bernoulli"}),
    "channels last": (images_of((9, 10, 3), np.uint8, 255), {"pixel_range": None}),
    "channels first": (
        colours,
        {
            "likelihood": "gaussian",
            "channel_axis": 0,
            "pixel_range": None,
            "hidden_channels": (4, 6),
        },
    ),
    # More than 128 numbers: the linear path sees averages.
    "signals": (images_of((301,)), {"likelihood": "gaussian", "image_shape": (1, -1)}),
    "one pixel": (images_of((1, 1)), {}),
    "NaN": (punch(images_of((6, 5)), np.nan), {"likelihood": "gaussian", "missing_values": np.nan}),
    "marker": (punch(images_of((6, 5), np.uint8), 99), {"missing_values": 99}),
}


WITHOUT_LINEAR_PATH = {"uint8", "marker"}


@cache
def fitted(name):
    X, params = CASES[name]
    vae = ConvVAETransformer(**{**SMALL, "pixel_range": (0, 16), "max_iter": 1, **params})
    return vae.partial_fit(X) if name in WITHOUT_LINEAR_PATH else vae.fit(X)


@pytest.mark.parametrize("name", CASES)
def test_latents_and_images_are_those_of_the_estimator(name):
    X, vae = CASES[name][0], fitted(name)
    transform = runner(to_onnx(vae))
    inverse_transform = runner(to_onnx(vae, part="inverse_transform"))
    latents = vae.transform(X)
    images = vae.inverse_transform(latents)
    for n in (0, 1, 7, 300):
        (result,) = transform(X[:n])
        assert_close(result, latents[:n], among=latents)
        (result,) = inverse_transform(latents[:n])
        assert_close(result, images[:n], among=images)
    if X.dtype == np.float32:  # what is far outside the range is clipped in the same way
        far = 100 * (X - 8)
        with pytest.warns(UserWarning, match="outside the pixel range"):
            expected = vae.transform(far)
        assert_close(transform(far)[0], expected)


def test_the_cases_have_what_they_are_for():
    vaes = {name: fitted(name) for name in CASES}
    linear = {name for name, vae in vaes.items() if vae.module_.linear is None}
    assert linear == WITHOUT_LINEAR_PATH
    assert vaes["signals"].module_.linear.coarse_shape == (1, 1, 101)
    assert any(vaes["uint8"].module_.padding)
    assert vaes["channels first"].pixel_range_.shape == (3, 2)
    assert {vae.likelihood_ for vae in vaes.values()} == set(LIKELIHOODS)


def test_labels_and_probabilities_are_those_of_the_classifier(digits):
    images, labels = digits
    y = np.array(["zero", "one", "β", "3", "4", "5", "6", "7", "8", ""])[labels]
    clf = fit_classifier(images, y)
    predict = runner(to_onnx(clf, part="predict"))
    label, p = predict(images)
    assert_array_equal(label, clf.predict(images))
    assert_close(p, clf.predict_proba(images).astype(np.float32))
    for n in (0, 1, 7):
        assert_array_equal(predict(images[:n])[0], label[:n])


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (np.array([False, True]), [0, 1]),
        (np.array([1.0, 3.0]), [1, 3]),
        (np.array([2, 250], np.uint8), [2, 250]),
        (np.array([-5, 7], object), [-5, 7]),
        (np.array(["a", "bc"]), ["a", "bc"]),
        (np.array(["a", "bc"], object), ["a", "bc"]),
    ],
)
def test_classes_become_int64_or_strings(classes, labels):
    result = labels_of(Bunch(classes_=classes))
    assert result.tolist() == labels
    assert result.dtype == (object if isinstance(labels[0], str) else np.int64)


def test_classes_that_int64_cannot_hold_are_refused():
    with pytest.raises(ValueError, match=rf"The label {2**63 + 5} is none.*y\.astype\(str\)"):
        labels_of(Bunch(classes_=np.array([3, 2**63 + 5], np.uint64)))


def test_a_loaded_estimator_gives_the_same_model(small, tmp_path):
    small.save(tmp_path / "model")
    model = to_onnx(skvae.load(tmp_path / "model"))
    assert model.SerializeToString() == to_onnx(small).SerializeToString()
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


# Errors


def test_an_unfitted_estimator():
    with pytest.raises(NotFittedError, match="ConvVAETransformer instance is not fitted"):
        to_onnx(ConvVAETransformer())


@pytest.mark.parametrize("part", ["encode", None, ["transform"]])
def test_no_such_part(small, part):
    with pytest.raises(ValueError, match=r"part must be one of 'transform', .*'predict'\. Got "):
        to_onnx(small, part=part)


def test_a_transformer_does_not_predict(small):
    with pytest.raises(ValueError, match="ConvVAETransformer does not predict"):
        to_onnx(small, part="predict")


def test_other_estimators():
    with pytest.raises(TypeError, match=r"Got PCA\(\). For a pipeline, import skvae.onnx"):
        to_onnx(PCA())


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_missing_packages(small, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match="pip install onnx onnxscript skl2onnx"):
        to_onnx(small)
