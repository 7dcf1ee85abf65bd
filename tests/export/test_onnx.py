"""Pipelines that hold our estimators, converted by skl2onnx."""

import importlib
import sys

import numpy as np
import pytest
import skl2onnx
from conftest import SMALL, fit_classifier
from numpy.testing import assert_allclose, assert_array_equal
from runtimes import runner
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skvae.onnx
from skvae import ConvVAEClassifier, ConvVAETransformer


@pytest.fixture(scope="module")
def pipeline(digits):
    """Scaled latents and a classifier, fitted on rows."""
    vae = ConvVAETransformer(**SMALL, max_iter=2)
    rows = digits[0].reshape(400, 64)
    return make_pipeline(vae, StandardScaler(), LogisticRegression()).fit(rows, digits[1])


@pytest.fixture(scope="module")
def text_classifier(digits):
    """A classifier of strings, fitted on images."""
    return fit_classifier(digits[0], np.array(list("abcdefghij"))[digits[1]], max_iter=2)


def convert(model, X, zipmap=False, **params):
    return skl2onnx.to_onnx(model, X[:1], options={id(model): {"zipmap": zipmap}}, **params)


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [(np.uint8, (64,)), (np.int64, (64,)), (np.float64, (64,)), (np.float32, (8, 8))],
)
def test_a_pipeline(pipeline, digits, dtype, shape):
    X = digits[0].reshape(400, *shape).astype(dtype)
    label, p = runner(convert(pipeline, X))(X)
    assert_array_equal(label, pipeline.predict(X))
    assert_allclose(p, pipeline.predict_proba(X), atol=1e-5)
    assert p.dtype == (np.float64 if dtype == np.float64 else np.float32)


def test_a_step_before_ours(digits):
    X = digits[0].reshape(400, 64).astype(np.float32)
    pipeline = make_pipeline(StandardScaler(), ConvVAETransformer(**SMALL, max_iter=2)).fit(X)
    (latents,) = runner(skl2onnx.to_onnx(pipeline, X[:1]))(X)
    expected = pipeline.transform(X)
    assert_allclose(latents, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("target_opset", [18, {"": 21, "ai.onnx.ml": 3}])
def test_versions_of_the_operators(pipeline, digits, target_opset):
    X = digits[0].reshape(400, 64).astype(np.float32)
    model = convert(pipeline, X, target_opset=target_opset)
    expected = target_opset if isinstance(target_opset, int) else target_opset[""]
    assert {part.domain: part.version for part in model.opset_import}[""] == expected
    assert_array_equal(runner(model)(X)[0], pipeline.predict(X))


def test_a_classifier_at_the_end(text_classifier, digits):
    X, clf = digits[0], text_classifier
    label, p = runner(convert(clf, X))(X)
    assert_array_equal(label, clf.predict(X))
    assert_allclose(p, clf.predict_proba(X), atol=1e-5)


def test_a_map_of_probabilities(text_classifier, digits):
    X, clf = digits[0], text_classifier
    label, maps = runner(convert(clf, X, zipmap=True))(X)
    assert_array_equal(label, clf.predict(X))
    p = [[row[name] for name in clf.classes_] for row in maps]
    assert_allclose(p, clf.predict_proba(X), atol=1e-5)


def test_a_column_for_each_class(small_classifier, digits):
    X, clf = digits[0], small_classifier
    label, *columns = runner(convert(clf, X, zipmap="columns"))(X)
    assert_array_equal(label, clf.predict(X))
    assert_allclose(np.transpose(columns), clf.predict_proba(X), atol=1e-5)


def test_a_classifier_that_transforms(digits):
    X, y = digits[0].reshape(400, 64), digits[1]
    clf = ConvVAEClassifier(**SMALL, max_iter=2)
    pipeline = make_pipeline(clf, LogisticRegression()).fit(X, y)
    options = {id(clf): {"transform": True}, id(pipeline): {"zipmap": False}}
    for dtype in (np.uint8, np.float64):
        some = X.astype(dtype)
        label, p = runner(skl2onnx.to_onnx(pipeline, some[:1], options=options))(some)
        assert_array_equal(label, pipeline.predict(some))
        assert_allclose(p, pipeline.predict_proba(some), atol=1e-5)


# Errors


def test_operators_that_are_too_old(pipeline, digits):
    with pytest.raises(ValueError, match=r"need target_opset=18 or above\. Got 17"):
        convert(pipeline, digits[0].reshape(400, 64), target_opset=17)


@pytest.mark.parametrize("package", ["onnxscript", "skl2onnx"])
def test_missing_packages(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match="pip install onnx onnxscript skl2onnx"):
        importlib.reload(skvae.onnx)
