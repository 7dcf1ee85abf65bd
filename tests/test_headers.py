"""What headers share: plain values, saved parameters, columns of the history, shapes."""

import math

import numpy as np
import pytest
import torch

from skvae import ConvVAETransformer, _headers
from skvae._elbo import LIKELIHOODS
from skvae._headers import (
    arrays_of,
    check_header,
    history_arrays,
    history_from_arrays,
    history_specs,
    is_count,
    lists_to_tuples,
    plain,
    saved_params,
    weight_shapes_of,
)
from skvae._network import ConvVAE

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
    "kind": "model",
    "skvae_version": "0",
    "params": {},
    "seed": 0,
    "n_epochs": 2,
    "history": ["train_loss", "duration"],
    "architecture": ARCHITECTURE,
}


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
        (None, None),
    ],
    ids=repr,
)
def test_plain_values(value, expected):
    result = plain(value)
    assert result == expected
    assert repr(result) == repr(expected)  # and so are their types


@pytest.mark.parametrize("value", [object(), {1, 2}, b"a", 1j, [torch.device("cpu")]], ids=repr)
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
    arrays = history_arrays(history)
    header = {"n_epochs": 2, "history": list(history)}
    assert {k: (a.shape, a.dtype.str) for k, a in arrays.items()} == history_specs(header)
    back = history_from_arrays(header, {**arrays, "weights.a": np.zeros(3)})
    np.testing.assert_equal(back, history)
    assert type(back["duration"][0]) is float
    assert list(back) == list(history)


def test_parts():
    arrays = {"best.a.b": 1, "best.c": 2, "bestial.d": 3, "weights.best.e": 4}
    assert arrays_of(arrays, "best") == {"a.b": 1, "c": 2}


def test_counts():
    assert [v for v in (1, 0, -1, 2**24, 2**24 + 1, True, 1.0, "1") if is_count(v)] == [1, 2**24]


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_weight_shapes_are_those_of_the_network(likelihood):
    module = ConvVAE(**lists_to_tuples(ARCHITECTURE), normal=LIKELIHOODS[likelihood].normal)
    expected = {name: tuple(weight.shape) for name, weight in module.state_dict().items()}
    assert weight_shapes_of(HEADER, likelihood) == expected


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"kind": "x" * 99}, r"invalid kind \('x{39}, not 'model'\)"),
        ({"skvae_version": None}, "invalid skvae_version"),
        ({"params": {"callbacks": None}}, "invalid params"),
        ({"params": {"checkpoint": "a"}}, "invalid params"),
        ({"seed": 2**31}, "invalid seed"),
        ({"seed": False}, "invalid seed"),
        ({"n_epochs": _headers.MAX_FILE_EPOCHS + 1}, "invalid n_epochs"),
        ({"history": ["duration"] * 2}, "invalid history"),
        ({"history": ["train_loss", "test_loss"]}, "invalid history"),
        ({"history": ["duration"]}, "invalid history"),
        ({"architecture": {**ARCHITECTURE, "more": 1}}, "invalid architecture"),
        ({"architecture": {**ARCHITECTURE, "image_shape": [8, 8]}}, "invalid image_shape"),
        ({"architecture": {**ARCHITECTURE, "hidden_channels": [1] * 65}}, "hidden_channels"),
        ({"architecture": {**ARCHITECTURE, "n_components": 2**24 + 1}}, "invalid architecture"),
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
    check_header(HEADER, "model")
    with pytest.raises(ValueError, match=match):
        check_header({**HEADER, **change}, "model")


def test_columns_of_labels_need_classes():
    columns = ["train_loss", "train_label_loss", "train_accuracy", "valid_accuracy", "duration"]
    header = {**HEADER, "history": columns}
    check_header(header, "model")
    header["architecture"] = {**ARCHITECTURE, "n_classes": 0}
    with pytest.raises(ValueError, match="invalid history"):
        check_header(header, "model")
    check_header({**header, "history": ["train_loss", "duration"]}, "model")
