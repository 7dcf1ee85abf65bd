"""`skvae.load`: devices, and what is no file of skvae."""

import pickle

import pytest
import torch
from numpy.testing import assert_array_equal

import skvae
from skvae import ConvVAETransformer, InvalidFileError, _persistence
from skvae._model_file import model_specs


def test_load_to_a_device(small, tmp_path):
    small.save(tmp_path / "model")
    vae = skvae.load(tmp_path / "model", device="cpu")
    assert vae.device == vae.device_ == "cpu"
    with pytest.raises(ValueError, match="device='nonsense' is not available"):
        skvae.load(tmp_path / "model", device="nonsense")


def test_a_model_of_a_missing_device_opens_on_the_cpu(small, tmp_path, digits):
    other = pickle.loads(pickle.dumps(small)).set_params(device="cuda:63")
    other.save(tmp_path / "model")
    vae = skvae.load(tmp_path / "model")
    assert (vae.device, vae.device_) == ("cuda:63", "cpu")
    assert_array_equal(vae.transform(digits[0]), small.transform(digits[0]))


def test_a_device_of_this_machine_is_asked_for_before_it_is_set(small, tmp_path):
    small.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"Available here: .*cpu"):
        skvae.load(tmp_path / "model", device=torch.device("cuda:63"))


def test_the_class_is_named_in_the_file(small, tmp_path):
    small.save(tmp_path / "model")
    header, arrays = _persistence.read(tmp_path / "model", model_specs)
    assert header["estimator"] == "ConvVAETransformer"
    assert type(skvae.load(tmp_path / "model")) is ConvVAETransformer
    for name in ("PCA", "BaseConvVAE", "", "__init__"):
        _persistence.write(tmp_path / "other", {**header, "estimator": name}, arrays)
        with pytest.raises(InvalidFileError, match="other' cannot be loaded: its header"):
            skvae.load(tmp_path / "other")


def test_an_object_of_any_path_type(small, tmp_path):
    path = tmp_path / "modèle"
    small.save(path)
    for same in (path, str(path)):
        assert skvae.load(same).n_components_ == 3


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError):
        skvae.load(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        skvae.load(tmp_path)
