"""Warnings point at the line of the user, through whatever was called between."""

import pickle

import pytest
from conftest import SMALL
from sklearn.base import clone
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

import skvae
from skvae import ConvVAETransformer, _state
from skvae._warnings import warn


@pytest.fixture(name="X")
def rows(digits):
    """Rows of images from 0 to 16; outside the pixel range of `vae`."""
    return digits[0][:60].reshape(60, 64)


@pytest.fixture(scope="module")
def fitted(digits):
    """Fitted on images from 0 to 1, a range outside which most pixels of `X` are."""
    return new().fit(digits[0][:60].reshape(60, 64) / 16)


def new(**params):
    return ConvVAETransformer(**{**SMALL, "pixel_range": (0, 1), "max_iter": 1, **params})


def in_search(X):
    search = GridSearchCV(make_pipeline(new()), {"convvaetransformer__beta": [1.0]}, cv=2, n_jobs=1)
    search.fit(X)


CALLS = {
    "fit": lambda vae, X: new().fit(X),
    "partial_fit": lambda vae, X: new().partial_fit(X),
    "second partial_fit": lambda vae, X: clone(vae).partial_fit(X / 16).partial_fit(X),
    "warm start": lambda vae, X: new(warm_start=True).fit(X / 16).fit(X),
    "fit_transform": lambda vae, X: new().fit_transform(X),
    "transform": lambda vae, X: vae.transform(X),
    "posterior": lambda vae, X: vae.posterior(X),
    "score": lambda vae, X: vae.score(X),
    "score_samples": lambda vae, X: vae.score_samples(X),
    "log_likelihood": lambda vae, X: vae.log_likelihood(X[:3], 2),
    "pipeline, fit": lambda vae, X: Pipeline([("vae", new())]).fit(X),
    "pipeline, transform": lambda vae, X: Pipeline([("vae", vae)]).transform(X),
    "pipeline, fit_transform": lambda vae, X: make_pipeline(new(), new()).fit_transform(X),
    "union": lambda vae, X: FeatureUnion([("vae", new())]).fit_transform(X),
    "output": lambda vae, X: new().set_output(transform="pandas").fit_transform(X),
    "search": lambda vae, X: in_search(X),
    "cross-validation": lambda vae, X: cross_val_score(new(), X, cv=2),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_line_of_the_user(fitted, X, call):
    with pytest.warns(UserWarning, match="outside the pixel range") as record:
        call(fitted, X)
    lines = {(warning.filename, warning.lineno) for warning in record}
    # `in_search` is longer than a line.
    code = in_search.__code__ if call is CALLS["search"] else call.__code__
    first, last = code.co_firstlineno, max(line for *_, line in code.co_lines() if line)
    assert len(lines) == 1
    ((filename, line),) = lines
    assert filename == __file__
    assert first <= line <= last


def test_the_line_that_unpickles(fitted, monkeypatch):
    monkeypatch.setattr(_state, "__version__", "0.0.1")
    pickled = pickle.dumps(fitted)
    monkeypatch.undo()
    with pytest.warns(InconsistentVersionWarning, match=r"skvae 0\.0\.1") as record:
        pickle.loads(pickled)
    assert [warning.filename for warning in record] == [__file__]


def test_the_line_that_loads(fitted, tmp_path, X):
    fitted.save(tmp_path / "model")
    with pytest.warns(UserWarning, match="outside the pixel range") as record:
        skvae.load(tmp_path / "model").transform(X)
    assert [warning.filename for warning in record] == [__file__]


def test_a_category_or_a_warning():
    with pytest.warns(DeprecationWarning, match="old") as record:
        warn("old", DeprecationWarning)
    assert record[0].filename == __file__
    with pytest.warns(RuntimeWarning, match="odd"):
        warn(RuntimeWarning("odd"))
