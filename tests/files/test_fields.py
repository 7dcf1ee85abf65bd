"""A kind of file from a table: plain values, saved parameters, checks that kinds share."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from conftest import without_address

from skvae import ConvVAETransformer
from skvae._files import fields
from skvae._files.fields import (
    Arrays,
    Field,
    FileKind,
    are_columns,
    are_params,
    check,
    history_of,
    history_specs,
    is_architecture,
    is_count,
    is_likelihood,
    is_number_of_epochs,
    is_seed,
    lists_to_tuples,
    of_type,
    plain,
    saved_params,
    weight_specs,
)
from skvae._model.vae import ConvVAE

ARCHITECTURE = {
    "image_shape": [3, 17, 31],
    "n_components": 5,
    "hidden_channels": [4, 6],
    "hidden_units": 7,
    "linear_path": True,
    "n_classes": 4,
    "holes": True,
}
HEADER = {
    "version": "0",
    "params": {},
    "likelihood": "gaussian",
    "seed": 0,
    "architecture": ARCHITECTURE,
    "n_epochs": 2,
    "history": ["train_loss", "duration"],
}
CHECKS = {
    "version": of_type(str),
    "params": are_params,
    "likelihood": is_likelihood,
    "seed": is_seed,
    "architecture": is_architecture,
    "n_epochs": is_number_of_epochs,
    "history": are_columns,
}

# Tables

TOY = FileKind(
    "toy",
    (
        Field(
            "sides", "shape area", of_type(list), lambda shape, _: shape, lambda v: (v, v[0] * v[1])
        ),
        Field("n", "columns", of_type(int), len, None),
        Field("names", "names", of_type(list, type(None)), optional=True),
        Field("rate", "rate", of_type(float)),
    ),
    (
        Arrays(
            "columns",
            "columns",
            lambda header: {str(i): ((2,), "<f8") for i in range(header["n"])},
            lambda arrays, header: {k: a.tolist() for k, a in arrays.items()},
        ),
        Arrays("mean", "mean", lambda header: (tuple(header["sides"]), "<f4")),
        Arrays("best", "best", lambda header: None),
    ),
)
VALUES = {
    "shape": [2, 3],
    "area": 6,
    "columns": {"0": [1.0, 2.0], "1": [3.0, 4.0]},
    "rate": 0.5,
    "mean": np.ones((2, 3), np.float32),
    "best": None,
}


@pytest.mark.parametrize("more", [{}, {"names": ["a"]}], ids=str)
def test_writer_and_reader_of_a_table(tmp_path, more):
    header, arrays = TOY.encode({**VALUES, **more, "of nobody": 1})
    expected = {"kind": "toy", "sides": [2, 3], "n": 2, "names": more.get("names"), "rate": 0.5}
    assert header == expected
    assert list(header) == list(expected)
    specs = {name: (array.shape, array.dtype.str) for name, array in arrays.items()}
    assert specs == TOY.specs(header)
    assert specs.keys() == {"columns.0", "columns.1", "mean"}
    TOY.write(tmp_path / "toy", {**VALUES, **more})
    np.testing.assert_equal(TOY.read(tmp_path / "toy"), {**VALUES, **more})


def test_a_table_refuses_other_headers():
    header, _ = TOY.encode(VALUES)
    with pytest.raises(ValueError, match=r"invalid kind \('x{39}, not 'toy'\)"):
        TOY.specs({**header, "kind": "x" * 99})
    with pytest.raises(ValueError, match=r"invalid keys \(more, n\) in the file"):
        TOY.specs({**{k: v for k, v in header.items() if k != "n"}, "more": 1})
    with pytest.raises(ValueError, match="invalid rate in the file"):
        TOY.specs({**header, "rate": 1})
    with pytest.raises(ValueError, match="invalid rate in the file"):
        TOY.encode({**VALUES, "rate": 1})


# Values


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        ((1, [np.int8(2)]), [1, [2]]),
        (np.array([[1.0, 2.0]]), [[1.0, 2.0]]),
        ({"a": (np.float64(1),)}, {"a": [1.0]}),
        (np.longdouble(0.5), 0.5),
        (np.array([[1, 2]], np.longdouble), [[1.0, 2.0]]),
        (Fraction(1, 4), 0.25),
        (None, None),
    ],
    ids=repr,
)
def test_plain_values(value, expected):
    result = plain(value)
    assert result == expected
    assert repr(result) == repr(expected)  # and so are their types


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"a", 1j, [torch.device("cpu")]], ids=without_address
)
def test_no_plain_values(value):
    with pytest.raises(TypeError, match="is not a plain value that a file can hold"):
        plain({"a": value})


def test_saved_parameters():
    vae = ConvVAETransformer(
        device=torch.device("cpu"), random_state=np.random.RandomState(0), callbacks=[object()]
    )
    params = vae.set_params(checkpoint="a", beta=np.float64(2)).get_params()
    saved = saved_params(params)
    assert params.keys() - saved.keys() == {"callbacks", "checkpoint", "data_parallel"}
    assert (saved["device"], saved["random_state"], saved["beta"]) == ("cpu", None, 2.0)
    assert params["device"] == torch.device("cpu")  # the argument is left alone
    assert saved_params(vae.set_params(random_state=np.int64(7)).get_params())["random_state"] == 7


def test_lists_become_tuples():
    assert lists_to_tuples({"a": [1, 2], "b": 3, "c": None}) == {"a": (1, 2), "b": 3, "c": None}


def test_the_history_comes_back():
    history = {"train_loss": [1.0, 2.0], "valid_loss": [math.nan, 0.1], "duration": [0.5, 0.25]}
    arrays = {name: np.array(column) for name, column in sorted(history.items())}
    header = {"n_epochs": 2, "history": list(history)}
    assert {k: (a.shape, a.dtype.str) for k, a in arrays.items()} == history_specs(header)
    back = history_of(arrays, header)
    np.testing.assert_equal(back, history)
    assert type(back["duration"][0]) is float
    assert list(back) == list(history)


def test_counts():
    assert [v for v in (1, 0, -1, 2**24, 2**24 + 1, True, 1.0, "1") if is_count(v)] == [1, 2**24]


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_weight_shapes_are_those_of_the_network(likelihood):
    module = ConvVAE(**lists_to_tuples(ARCHITECTURE), likelihood=likelihood)
    expected = {name: tuple(weight.shape) for name, weight in module.state_dict().items()}
    header = {**HEADER, "likelihood": likelihood}
    assert weight_specs(header) == {name: (shape, "<f4") for name, shape in expected.items()}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"version": None}, "invalid version"),
        ({"likelihood": "gamma"}, "invalid likelihood"),
        ({"params": {"callbacks": None}}, "invalid params"),
        ({"params": {"checkpoint": "a"}}, "invalid params"),
        ({"seed": 2**31}, "invalid seed"),
        ({"seed": False}, "invalid seed"),
        ({"n_epochs": fields.MAX_FILE_EPOCHS + 1}, "invalid n_epochs"),
        ({"history": ["duration"] * 2}, "invalid history"),
        ({"history": ["train_loss", "test_loss"]}, "invalid history"),
        ({"history": ["duration"]}, "invalid history"),
        ({"architecture": {**ARCHITECTURE, "more": 1}}, "invalid keys .more. in"),
        ({"architecture": {**ARCHITECTURE, "image_shape": [8, 8]}}, "invalid image_shape"),
        ({"architecture": {**ARCHITECTURE, "hidden_channels": [1] * 65}}, "hidden_channels"),
        ({"architecture": {**ARCHITECTURE, "n_components": 2**24 + 1}}, "invalid n_components"),
        ({"architecture": {**ARCHITECTURE, "n_classes": 2**24 + 1}}, "invalid n_classes"),
        ({"architecture": {**ARCHITECTURE, "n_classes": -1}}, "invalid n_classes"),
        ({"architecture": {**ARCHITECTURE, "n_classes": False}}, "invalid n_classes"),
        ({"architecture": {**ARCHITECTURE, "n_classes": 0.0}}, "invalid n_classes"),
        ({"architecture": {**ARCHITECTURE, "n_classes": None}}, "invalid n_classes"),
        ({"architecture": {**ARCHITECTURE, "holes": 1}}, "invalid holes"),
        ({"architecture": {**ARCHITECTURE, "holes": None}}, "invalid holes"),
    ],
    ids=str,
)
def test_what_no_file_has(change, match):
    check(CHECKS, HEADER)
    with pytest.raises(ValueError, match=match):
        check(CHECKS, {**HEADER, **change})


def test_columns_of_labels_need_classes():
    columns = ["train_loss", "train_label_loss", "train_accuracy", "valid_accuracy", "duration"]
    header = {**HEADER, "history": columns}
    check(CHECKS, header)
    header["architecture"] = {**ARCHITECTURE, "n_classes": 0}
    with pytest.raises(ValueError, match="invalid history"):
        check(CHECKS, header)
    check(CHECKS, {**header, "history": ["train_loss", "duration"]})
