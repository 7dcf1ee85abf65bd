"""What is promised with the lowest versions of scikit-learn and torch, tried in any version."""

import importlib.util
import sys

import pytest
import torch
from conftest import HAS_CALLBACKS, SMALL, weights_of
from numpy.testing import assert_array_equal

from skvae import ConvVAEClassifier, ConvVAECluster, ConvVAETransformer

REFUSED = r"need scikit-learn 1\.9 or later, and this is \d.*callbacks takes those of skorch"


@pytest.fixture
def lowest(monkeypatch):
    """The module as it is where scikit-learn has no callbacks, and torch no `is_exporting`."""
    spec = importlib.util.find_spec("skvae._compat")
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as lacking:
        lacking.setitem(sys.modules, "sklearn.callback", None)
        lacking.delattr(torch.compiler, "is_exporting", raising=False)
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("cls", [ConvVAETransformer, ConvVAEClassifier, ConvVAECluster])
def test_estimators_take_the_callbacks_that_scikit_learn_has(cls):
    if HAS_CALLBACKS:
        assert isinstance(cls().set_callbacks(), cls)
    else:
        with pytest.raises(ImportError, match=REFUSED):
            cls().set_callbacks()


def test_without_callbacks_a_fit_is_the_same_and_warns_as_much(lowest, digits):
    class WithoutCallbacks(lowest.CallbackSupportMixin, ConvVAETransformer):
        pass

    fitted = []
    for cls in (WithoutCallbacks, ConvVAETransformer):
        vae = cls(**{**SMALL, "likelihood": "gaussian"}, learning_rate=1e-6, max_iter=1)
        with pytest.warns(UserWarning, match="hardly improved"):
            fitted.append(vae.fit(digits[0][:60]))
    assert_array_equal(*map(weights_of, fitted))
    with pytest.raises(ImportError, match=REFUSED):
        WithoutCallbacks().set_callbacks(object())


def test_an_export_is_seen(lowest):
    seen = []

    class Module(torch.nn.Module):
        def forward(self, x):
            seen.append(lowest.is_exporting())
            return x + 1

    Module()(torch.ones(2))
    torch.export.export(Module(), (torch.ones(2),), strict=False)
    assert seen[0] is False
    assert set(seen[1:]) == {True}
