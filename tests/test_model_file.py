"""The header of a model: what no fitted estimator has is refused."""

import numpy as np
import pytest

import skvae
from skvae import InvalidFileError, _headers, _model_file, _persistence

# Files that lie: rightly summed, with a header that no fitted estimator has


def set_value(path, value):
    def change(header):
        *parents, last = path.split(".")
        for parent in parents:
            header = header[parent]
        if value is KeyError:
            del header[last]
        else:
            header[last] = value

    return change


LIES = {
    "kind": "checkpoint",
    "skvae_version": 3,
    "params": [],
    "params.n_components": 0,
    "params.likelihood": "poisson",
    "params.no_such": 1,
    "params.device": None,
    "image_shape": [8, 9],
    "channel_axis": 2,
    "pixel_range": [0.0, float("nan")],
    "as_rows": "yes",
    "likelihood": "gamma",
    "binarize": 1,
    "annealed": 0,
    "estimator": "PCA",
    "robust": None,
    "missing_values": "nan",
    "saw_holes": 1,
    "architecture.holes": True,
    "seed": -1,
    "architecture": {},
    "architecture.n_components": 4,
    "architecture.hidden_units": 2**40,
    "architecture.hidden_channels": [2**20] * 64,
    "architecture.image_shape": [1, 8, 2**20],
    "feature_names": ["a"],
    "n_epochs": 10**9,
    "history": ["train_loss"] * 3,
}
MORE_LIES = [
    ("pixel_range", [-1e308, 1e308]),
    ("pixel_range", [0, 1]),
    ("pixel_range", [1.0, 0.0]),
    ("architecture.hidden_channels", [8] * 65),
    ("architecture.hidden_channels", []),
    ("n_epochs", True),
    ("seed", KeyError),
    ("saw_holes", KeyError),
    ("missing_values", KeyError),
    ("missing_values", True),
    ("missing_values", [-1]),
    ("missing_values", -1),  # the network has no mask
    ("architecture.holes", KeyError),
    ("architecture.holes", 0),
    ("weights", KeyError),
    ("likelihood", "gaussian"),  # whose noise is not among the weights
    ("binarize under gaussian", True),
    ("estimator", ["ConvVAETransformer"]),
    ("moments", (2, 3)),
    ("moments", (3, 4)),
    ("pixel_range", [[0.0, 1.0], [0.0, 1.0]]),
    ("pixel_range", [[0.0, 1.0, 2.0]]),
    ("pixel_range", []),
    ("channel_axis", -1.0),
    ("params.checkpoint", "evil.txt"),
    ("params.callbacks", []),
    ("unseen epochs", 10**12),
]


@pytest.mark.parametrize(
    ("path", "value"), [*LIES.items(), *MORE_LIES], ids=lambda value: f"{value!s:.40}"
)
def test_lies_are_refused(small, tmp_path, path, value):
    small.save(tmp_path / "model")
    header, arrays = _persistence.read(tmp_path / "model", _model_file.model_specs)
    if path == "weights":
        del arrays["weights.mu_head.bias"]
    elif path == "moments":
        arrays["component_moments"] = np.zeros(value)
    elif path == "binarize under gaussian":
        header |= {"likelihood": "gaussian", "binarize": value}
        arrays["weights.noise_logvar"] = np.zeros((), np.float32)
    elif path == "unseen epochs":
        header |= {"history": [], "n_epochs": value}
        arrays = {k: a for k, a in arrays.items() if not k.startswith("history")}
    else:
        set_value(path, value)(header)
    _persistence.write(tmp_path / "lie", header, arrays)
    with pytest.raises(InvalidFileError, match="lie"):
        skvae.load(tmp_path / "lie")


def test_what_a_file_cannot_hold_is_not_written(small, tmp_path, monkeypatch):
    monkeypatch.setattr(_headers, "MAX_FILE_EPOCHS", 3)
    with pytest.raises(ValueError, match="invalid n_epochs in the file"):
        small.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_header_and_arrays_tell_each_other(small):
    header, arrays = _model_file.model_to_file("Name", small.get_params(), small.__getstate__())
    expected = {name: (array.shape, array.dtype.str) for name, array in arrays.items()}
    assert _model_file.model_specs(header) == expected
    assert header["estimator"] == "Name"
    assert header["annealed"] is True
    params, state = _model_file.model_from_file(header, arrays)
    assert params == {k: v for k, v in small.get_params().items() if k in params}
    assert small.get_params().keys() - params.keys() == {"callbacks", "checkpoint"}
    for name, value in small.__getstate__().items():
        # The machine that loads has its own device and scikit-learn.
        if "_" in (name[0], name[-1]) and name not in ("device_", "_sklearn_version"):
            np.testing.assert_equal(state[name], value)
