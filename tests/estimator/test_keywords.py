"""An unknown keyword is told by the name of the class, and the parameter that was meant."""

import inspect
import pickle

import pytest
from sklearn.base import clone

from skvae import ConvVAEClassifier, ConvVAETransformer
from skvae._keywords import SYNONYMS

CLASSES = [ConvVAETransformer, ConvVAEClassifier]


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    ("keyword", "meant"),
    [
        ("epochs", "max_iter"),
        ("lr", "learning_rate"),
        ("LR", "learning_rate"),
        ("latent_dim", "n_components"),
        ("seed", "random_state"),
        ("n_component", "n_components"),
        ("imageshape", "image_shape"),
        ("batchsize", "batch_size"),
        ("max_iters", "max_iter"),
        ("missing_value", "missing_values"),
    ],
)
def test_the_parameter_that_was_meant(cls, keyword, meant):
    message = rf"^{cls.__name__} has no parameter '{keyword}'\. Did you mean {meant}\?$"
    with pytest.raises(TypeError, match=message):
        cls(**{keyword: 3})


def test_a_class_suggests_its_own_parameters_only():
    for keyword in ("class_weight", "class_weights"):
        with pytest.raises(
            TypeError, match=rf"^ConvVAEClassifier .* '{keyword}'\. Did you mean priors"
        ):
            ConvVAEClassifier(**{keyword: "balanced"})
    with pytest.raises(
        TypeError, match=r"^ConvVAETransformer .* 'class_weight'\. Its parameters are"
    ):
        ConvVAETransformer(class_weight="balanced")


@pytest.mark.parametrize("cls", CLASSES)
def test_without_a_likely_parameter_all_are_listed(cls):
    with pytest.raises(
        TypeError, match=r"'xyz'\. Its parameters are n_components, image_shape, .*v"
    ):
        cls(xyz=1)


def test_every_synonym_leads_to_a_parameter():
    parameters = ConvVAEClassifier().get_params()
    assert set(SYNONYMS) <= set(parameters)
    for name, synonyms in SYNONYMS.items():
        for synonym in synonyms:
            assert synonym not in parameters
            with pytest.raises(TypeError, match=rf"Did you mean {name}\?"):
                ConvVAEClassifier(**{synonym: 1})


class Later(ConvVAETransformer):
    """A subclass of a user."""

    def __init__(self, n_components=10, *, more=1, **params):
        super().__init__(n_components, **params)
        self.more = more


def test_a_subclass_is_named():
    with pytest.raises(TypeError, match=r"^Later has no parameter 'epochs'"):
        Later(epochs=3)
    assert Later(more=2, max_iter=3).max_iter == 3


@pytest.mark.parametrize("cls", CLASSES)
def test_all_else_is_as_without_it(cls):
    parameters = inspect.signature(cls).parameters
    assert "kwargs" not in parameters
    assert cls(7).n_components == 7
    model = cls(3, beta=2.0)
    assert clone(model).get_params() == model.get_params()
    assert pickle.loads(pickle.dumps(model)).get_params() == model.get_params()
    assert set(model.get_params()) == set(parameters)
    with pytest.raises(TypeError, match="positional"):
        cls(3, (8, 8))
