"""Fitted estimators as state: copies, pickles and files give the same bits."""

import copy
import os
import pickle
import subprocess
import sys

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from comparisons import assert_same_model, assert_same_training
from conftest import SMALL
from faults import full_disk
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

import skvae
from skvae import ConvVAETransformer
from skvae._files.fields import NOT_SAVED

QUICK = {**SMALL, "max_iter": 2}


# Files


@pytest.mark.parametrize(
    ("params", "shape"),
    [
        ({}, (30, 8, 8)),
        ({}, (30, 64)),
        ({"image_shape": (4, 5, 3), "channel_axis": -1}, (30, 60)),
        ({"channel_axis": 0, "hidden_channels": [4, 6]}, (30, 3, 5, 7)),
        ({"early_stopping": True, "pixel_range": (-3, 3), "random_state": None}, (30, 13)),
        ({"likelihood": "gaussian", "n_components": 1}, (30, 13)),
        ({"likelihood": "continuous_bernoulli"}, (30, 8, 8)),
        ({"binarize": True, "beta_warmup": 0.5}, (30, 8, 8)),
    ],
    ids=str,
)
def test_a_saved_model_is_the_same(tmp_path, params, shape):
    X = np.random.default_rng(0).uniform(-1, 1, shape)
    vae = ConvVAETransformer(**{**SMALL, "max_iter": 2, **params}).fit(X)
    vae.save(tmp_path / "model.skvae")
    other = skvae.load(tmp_path / "model.skvae")
    assert_same_model(vae, other, X)
    expected = {k: tuple(v) if isinstance(v, list) else v for k, v in vae.get_params().items()}
    assert other.get_params() == expected
    other.partial_fit(X)
    assert other.n_iter_ == vae.n_iter_ + 1
    assert_array_equal(other.set_params(warm_start=False).fit(X).image_shape_, vae.image_shape_)


def test_feature_names_and_numpy_parameters_survive(tmp_path, digits):
    frame = pd.DataFrame(digits[0].reshape(400, 64)).add_prefix("pixel")
    params = {**SMALL, "n_components": np.int64(3), "beta": np.float32(0.5)}
    params |= {
        "binarize": np.True_,
        "likelihood": np.str_("bernoulli"),
        "channel_axis": np.int8(-1),
    }
    vae = ConvVAETransformer(**params, max_iter=1).fit(frame)
    vae.save(str(tmp_path / "model"))
    other = skvae.load(str(tmp_path / "model"))
    assert_same_model(vae, other, frame)
    assert list(other.feature_names_in_) == list(frame.columns)
    assert other.get_params() == vae.get_params()


def test_what_a_file_cannot_hold_is_left_out(tmp_path, digits):
    rng = np.random.RandomState(0)
    path = tmp_path / "checkpoint"
    vae = ConvVAETransformer(
        **{**SMALL, "random_state": rng, "max_iter": 1, "device": torch.device("cpu")},
        callbacks=[Callback()],
        checkpoint=path,
    ).fit(digits[0])
    vae.save(tmp_path / "model")
    other = skvae.load(tmp_path / "model")
    assert other.callbacks is other.checkpoint is other.random_state is None
    assert other.device == "cpu"
    assert vae.device == torch.device("cpu")  # the estimator that was saved is left alone
    assert_same_model(vae, other, digits[0])
    assert str(path).encode() not in (tmp_path / "model").read_bytes()


def test_a_model_without_an_epoch_is_saved_too(tmp_path, digits):
    class Interrupt(Callback):
        def on_batch_begin(self, net, **kwargs):
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted"):
        vae = ConvVAETransformer(**SMALL, callbacks=[Interrupt()]).fit(digits[0])
    vae.save(tmp_path / "model")
    assert_same_model(vae, skvae.load(tmp_path / "model"), digits[0])


def test_another_process_gives_the_same_bits(small, tmp_path, digits):
    small.save(tmp_path / "model")
    np.save(tmp_path / "X.npy", digits[0])
    code = (
        "import numpy as np, skvae, torch; torch.set_num_threads(1);"
        "np.save('z.npy', skvae.load('model').transform(np.load('X.npy')))"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, check=True)
    assert_array_equal(np.load(tmp_path / "z.npy"), small.transform(digits[0]))


def test_save_needs_a_fitted_model(tmp_path):
    with pytest.raises(NotFittedError):
        ConvVAETransformer().save(tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_old_file(small, tmp_path, digits, monkeypatch):
    small.save(tmp_path / "model")
    newer = ConvVAETransformer(**SMALL, max_iter=1).fit(digits[0])
    full_disk(monkeypatch)
    with pytest.raises(OSError, match="No space left"):
        newer.save(tmp_path / "model")
    assert os.listdir(tmp_path) == ["model"]
    assert_same_model(small, skvae.load(tmp_path / "model"), digits[0])


NUMPY_SCALARS = {
    "n_components": np.int64(3),
    "image_shape": (np.int32(8), np.int8(-1)),
    "channel_axis": np.int8(-1),
    "pixel_range": (np.float32(0), np.uint8(16)),
    "missing_values": np.float32(16),
    "hidden_channels": [np.int16(8)],
    "hidden_units": np.uint8(16),
    "likelihood": np.str_("bernoulli"),
    "binarize": np.bool_(True),
    "augment": np.float32(0.5),
    "beta": np.float32(0.5),
    "beta_warmup": np.float16(0.25),
    "max_iter": np.int64(4),
    "batch_size": np.int32(32),
    "learning_rate": np.float32(0.005),
    "early_stopping": np.bool_(True),
    "validation_fraction": np.float64(0.25),
    "n_iter_no_change": np.int64(2),
    "tol": np.float64(0.5),
    "warm_start": np.bool_(False),
    "device": np.str_("cpu"),
    "random_state": np.int64(0),
    "verbose": np.int8(0),
}


def test_every_parameter_may_be_a_numpy_scalar(tmp_path, digits):
    X = digits[0][:120]
    parameters = ConvVAETransformer().get_params().keys() - NOT_SAVED
    assert NUMPY_SCALARS.keys() == parameters
    vae = ConvVAETransformer(**NUMPY_SCALARS, checkpoint=tmp_path / "checkpoint").fit(X)
    plain_params = {
        name: type(value)(v.item() for v in value)
        if isinstance(value, (list, tuple))
        else getattr(value, "item", lambda v=value: str(v))()
        for name, value in NUMPY_SCALARS.items()
    }
    assert_same_training(ConvVAETransformer(**plain_params).fit(X), vae)
    vae.save(tmp_path / "model")
    other = skvae.load(tmp_path / "model")
    assert_same_model(vae, other, X)
    types = (int, float, str, bool, tuple, type(None))
    assert all(type(value) in types for value in other.get_params().values())
    assert_same_training(pickle.loads(pickle.dumps(vae)).partial_fit(X), other.partial_fit(X))


def test_a_device_object_survives(tmp_path, digits):
    device, images = torch.device("cpu"), digits[0][:40]
    vae = ConvVAETransformer(**QUICK, device=device).fit(images)
    assert vae.device is device
    assert vae.device_ == "cpu"
    assert clone(vae).device == device
    for other in copies(vae, tmp_path):
        assert other.device == device
        assert_same_model(vae, other, images)
    vae.save(tmp_path / "model")
    for given, parameter in [(None, "cpu"), ("cpu", "cpu"), (device, device)]:
        other = skvae.load(tmp_path / "model", device=given)
        assert other.device == parameter
        assert_same_model(vae, other, images)
        assert clone(other).fit(images).device_ == "cpu"


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_a_history_of_any_length_is_saved(small, digits, tmp_path, likelihood):
    vae = clone(small).set_params(likelihood=likelihood, max_iter=1).fit(digits[0][:40])
    n_epochs = 131_073
    rng = np.random.default_rng(0)
    vae._history = {name: rng.normal(size=n_epochs).tolist() for name in vae._history}
    for other in (saved(vae, tmp_path), pickle.loads(pickle.dumps(vae))):
        assert other.n_iter_ == n_epochs
        assert_same_model(vae, other, digits[0][:10])
        assert other.partial_fit(digits[0][:40]).n_iter_ == n_epochs + 1
        assert saved(other, tmp_path).n_iter_ == n_epochs + 1


def test_a_history_without_the_variance_explained_is_loaded(small, digits, tmp_path):
    vae = pickle.loads(pickle.dumps(small))
    del vae._history["train_explained_variance_ratio"]  # as versions without it have them
    column = saved(vae, tmp_path).partial_fit(digits[0]).history_["train_explained_variance_ratio"]
    assert np.isnan(column[:-1]).all()
    assert column.notna().sum() == 1


def test_training_goes_on_alike_after_every_way(digits, tmp_path):
    X = digits[0]
    vae = ConvVAETransformer(**QUICK, pixel_range=(0, 16)).fit(X)
    expected = pickle.loads(pickle.dumps(vae)).partial_fit(X)  # at the rate after a `fit`
    assert_same_training(expected, saved(vae, tmp_path).partial_fit(X))
    warm = saved(vae, tmp_path).set_params(warm_start=True).fit(X)
    assert_same_training(pickle.loads(pickle.dumps(vae)).set_params(warm_start=True).fit(X), warm)


def saved(vae, folder):
    vae.save(folder / "saved")
    return skvae.load(folder / "saved")


def test_ranges_of_channels_survive(tmp_path):
    X = np.random.default_rng(0).uniform(size=(20, 6, 5, 3)) * [1, 10, 100]
    for pixel_range in (None, "robust", np.array([[0, 1], [0, 10], [0.0, 100]])):
        vae = ConvVAETransformer(**QUICK, pixel_range=pixel_range).fit(X)
        for other in (saved(vae, tmp_path), pickle.loads(pickle.dumps(vae))):
            assert_array_equal(other.pixel_range_, vae.pixel_range_)
            z = vae.transform(X)
            assert_array_equal(other.transform(X), z)
            assert_array_equal(other.inverse_transform(z), vae.inverse_transform(z))
            assert_array_equal(other.fit(X).transform(X), vae.fit(X).transform(X))


# Modes of torch


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_the_mode_of_the_caller_does_not_matter(digits, tmp_path, mode):
    X = digits[0][:60]
    vae = ConvVAETransformer(**QUICK).fit(X)
    with mode():
        inside = ConvVAETransformer(**QUICK).fit(X)
        others = [saved(inside, tmp_path), pickle.loads(pickle.dumps(inside))]
        assert_array_equal(others[0].score_samples(X), vae.score_samples(X))
        assert not torch.is_grad_enabled()
        assert torch.is_inference_mode_enabled() == (mode is torch.inference_mode)
    assert_same_training(vae, inside)
    again = saved(vae, tmp_path).set_params(warm_start=True).fit(X)
    assert_same_training(again, others[0].set_params(warm_start=True).fit(X))
    expected = saved(vae, tmp_path).partial_fit(X)
    assert_same_training(expected, others[1].partial_fit(X))
    with mode():
        assert_same_training(expected, saved(vae, tmp_path).partial_fit(X))


# Copies and pickles


def copies(vae, tmp_path):
    yield copy.copy(vae)
    yield copy.deepcopy(vae)
    yield from (pickle.loads(pickle.dumps(vae, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1))
    yield cloudpickle.loads(cloudpickle.dumps(vae))
    joblib.dump(vae, tmp_path / "vae.joblib")
    yield joblib.load(tmp_path / "vae.joblib")
    yield joblib.load(tmp_path / "vae.joblib", mmap_mode="r")


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_copies_and_pickles_give_the_same_bits(small, digits, tmp_path, likelihood):
    images = digits[0][:60]
    if likelihood != "bernoulli":
        small = clone(small).set_params(likelihood=likelihood, max_iter=2).fit(digits[0])
    z = small.transform(images)
    for other in copies(small, tmp_path):
        assert type(other.kl_per_component_) is np.ndarray
        assert_array_equal(other.transform(images), z)
        assert_array_equal(other.inverse_transform(z), small.inverse_transform(z))
        assert_array_equal(other.score_samples(images), small.score_samples(images))
        assert other.loss_curve_ == small.loss_curve_
        pd.testing.assert_frame_equal(other.history_, small.history_)
        other.partial_fit(images)
        assert other.n_iter_ == small.n_iter_ + 1
    assert_array_equal(small.transform(images), z)


def test_fitted_pipeline_survives_joblib(digits, tmp_path):
    X, labels = digits[0].reshape(400, 64), digits[1]
    pipeline = make_pipeline(ConvVAETransformer(**QUICK), LogisticRegression()).fit(X, labels)
    joblib.dump(pipeline, tmp_path / "pipeline.joblib")
    assert_array_equal(joblib.load(tmp_path / "pipeline.joblib").predict(X), pipeline.predict(X))


def test_state_is_plain_python_and_numpy(small):
    def check(value):
        if isinstance(value, dict):
            assert all(type(key) is str for key in value)
            value = list(value.values())
        if isinstance(value, (list, tuple)):
            for item in value:
                check(item)
        else:
            assert type(value) in (int, float, str, bool, type(None), np.ndarray), type(value)

    check(small.__getstate__())


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"missing_values": -1.0, "pixel_range": "robust", "likelihood": "gaussian"},
        {"channel_axis": 0},
    ],
    ids=str,
)
def test_what_was_learned_of_the_images_stands_in_the_state_by_its_old_names(tmp_path, params):
    X = np.random.default_rng(0).uniform(size=(20, 3, 4, 3))
    X[3, 0, 0, 0] = params.get("missing_values", 0)
    vae = ConvVAETransformer(**{**QUICK, **params}).fit(X)
    state = vae.__getstate__()
    assert "_format" not in state
    assert state["image_shape_"] == (3, 4, 3)
    assert state["channel_axis_"] == params.get("channel_axis", -1)
    assert_array_equal(state["pixel_range_"], vae.pixel_range_)
    names = ("_as_rows", "_saw_uint8", "_robust", "_missing_values", "_saw_holes")
    expected = [
        False,
        False,
        "pixel_range" in params,
        params.get("missing_values"),
        len(params) > 1,
    ]
    assert [state[name] for name in names] == expected
    for other in (*copies(vae, tmp_path), saved(vae, tmp_path)):
        for name, value in vars(vae._format).items():
            np.testing.assert_equal(getattr(other._format, name), value)
            assert type(getattr(other._format, name)) in (type(value), np.memmap)


def test_what_was_learned_is_only_read(small, digits):
    before = vars(small).copy()
    for name in ("image_shape_", "channel_axis_", "pixel_range_"):
        with pytest.raises(AttributeError):
            setattr(small, name, getattr(small, name))
        assert not hasattr(ConvVAETransformer(), name)
    small.transform(digits[0])
    small.score(digits[0])
    assert vars(small) == before
    with pytest.raises(AttributeError):
        small._format.shape = (4, 16)


def test_parameters_changed_after_fit_do_not_break_a_pickle(digits):
    vae = ConvVAETransformer(**QUICK).fit(digits[0])
    z = vae.transform(digits[0])
    vae.set_params(hidden_units=99, n_components=7, image_shape=(2, 32), channel_axis=0, beta=5)
    other = pickle.loads(pickle.dumps(vae))
    assert_array_equal(other.transform(digits[0]), z)
    assert other.get_params() == vae.get_params()


def test_a_model_from_a_gpu_opens_without_one(small, digits, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    other = ConvVAETransformer()
    other.__setstate__({**small.__getstate__(), "device_": "cuda:7"})
    assert other.device_ == "cpu"
    assert_array_equal(other.transform(digits[0]), small.transform(digits[0]))


# Versions and skops


def test_another_version_warns(small, tmp_path, digits, monkeypatch):
    small.save(tmp_path / "model")
    pickled = pickle.dumps(small)
    monkeypatch.setattr("skvae._state.__version__", "99.0")
    with pytest.warns(InconsistentVersionWarning, match=r"from version skvae 0.* skvae 99\.0"):
        other = skvae.load(tmp_path / "model")
    assert_same_model(small, other, digits[0])
    with pytest.warns(InconsistentVersionWarning, match="ConvVAETransformer from version"):
        pickle.loads(pickled)


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_skops_trusts_only_the_class(small, digits, in_pipeline):
    X = digits[0].reshape(400, 64)
    model = small
    if in_pipeline:
        model = make_pipeline(ConvVAETransformer(**SMALL, max_iter=1), StandardScaler()).fit(X)
    dumped = skops.io.dumps(model)
    untrusted = skops.io.get_untrusted_types(data=dumped)
    assert untrusted == ["skvae._transformer.ConvVAETransformer"]
    other = skops.io.loads(dumped, trusted=untrusted)
    assert_array_equal(other.transform(X), model.transform(X))
