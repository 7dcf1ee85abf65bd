"""Docstrings in numpydoc form, for all that is public."""

import inspect

import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate

import skvae
from skvae import ConvVAEClassifier, ConvVAECluster, ConvVAETransformer

CLASSES = [
    name
    for name in skvae.__all__
    if inspect.isclass(getattr(skvae, name)) and not issubclass(getattr(skvae, name), Exception)
]
NAMES = (
    [f"skvae.{name}" for name in CLASSES]
    + [
        f"skvae.{name}.{method}"
        for name in CLASSES
        for method, member in vars(getattr(skvae, name)).items()
        if not method.startswith("_") and (callable(member) or isinstance(member, classmethod))
    ]
    + ["skvae.load", "skvae.read_images", "skvae.to_onnx"]
)
# Left to taste: sections that would only repeat others (extended summary, see also, examples
# of single methods), the order of words in a summary, and scikit-learn's named return values.
IGNORED = {
    "ES01",
    "EX01",
    "SA01",
    "SA04",
    "GL01",
    "SS05",
    "SS06",
    "RT02",
    "RT03",
    "YD01",
    "PR01",
    "PR02",
}


@pytest.mark.parametrize("name", NAMES)
def test_numpydoc(name):
    errors = [error for error in validate(name)["errors"] if error[0] not in IGNORED]
    assert errors == []


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_signature(name):
    obj = skvae
    for part in name.split(".")[1:]:
        obj = getattr(obj, part)
    documented = [parameter.name for parameter in NumpyDocString(obj.__doc__)["Parameters"]]
    expected = [p for p in inspect.signature(obj).parameters if p not in ("self", "cls")]
    assert documented == expected


def test_documented_defaults_are_the_defaults():
    parameters = inspect.signature(ConvVAETransformer).parameters
    for entry in NumpyDocString(ConvVAETransformer.__doc__)["Parameters"]:
        stated = entry.type.split("default=")[1]
        assert eval(stated) == parameters[entry.name].default, entry.name


def test_fitted_attributes_are_documented_and_exist(small):
    documented = {entry.name for entry in NumpyDocString(ConvVAETransformer.__doc__)["Attributes"]}
    names = {name for name in dir(small) if name.endswith("_") and not name.startswith("_")}
    fitted = {name for name in names if hasattr(small, name)}
    # Names and noise are there for some X and some likelihoods.
    assert documented - {"feature_names_in_", "noise_variance_"} == fitted


def test_every_class_has_an_example():
    for name in CLASSES:
        assert NumpyDocString(getattr(skvae, name).__doc__)["Examples"], name


@pytest.mark.parametrize("section", ["Parameters", "Attributes"])
@pytest.mark.parametrize("cls", [ConvVAEClassifier, ConvVAECluster])
def test_the_others_say_the_same_of_what_they_share(cls, section):
    ours, theirs = (
        {entry.name: entry for entry in NumpyDocString(each.__doc__)[section]}
        for each in (cls, ConvVAETransformer)
    )
    assert {name: ours.get(name) for name in theirs} == theirs
    assert [name for name in ours if name in theirs] == list(theirs)


@pytest.mark.parametrize("cls", [ConvVAEClassifier, ConvVAECluster])
def test_the_others_have_the_references_of_the_transformer_and_more(cls):
    ours, theirs = (
        NumpyDocString(each.__doc__)["References"] for each in (cls, ConvVAETransformer)
    )
    assert ours[: len(theirs)] == theirs
    assert len(ours) > len(theirs)
