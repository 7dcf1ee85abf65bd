"""Saving and loading, checkpoints, versions, and files that lie about their contents."""

import errno
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from conftest import SMALL
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

import skvae
from skvae import ConvVAETransformer, InvalidFileError, _persistence, _state
from skvae._network import ConvVAE, weight_shapes

DATA = Path(__file__).parent / "data"


def assert_same_model(vae, other, X):
    z = vae.transform(X)
    assert_array_equal(other.transform(X), z)
    assert_array_equal(other.inverse_transform(z), vae.inverse_transform(z))
    assert_array_equal(other.score_samples(X), vae.score_samples(X))
    assert_array_equal(other.kl_per_component_, vae.kl_per_component_)
    assert other.loss_curve_ == vae.loss_curve_
    pd.testing.assert_frame_equal(other.history_, vae.history_)
    assert_array_equal(other.log_likelihood(X[:3], 2), vae.log_likelihood(X[:3], 2))
    for name in ("image_shape_", "pixel_range_", "n_features_in_", "n_components_", "n_iter_"):
        assert getattr(other, name) == getattr(vae, name)
    assert other.n_active_components_ == vae.n_active_components_
    if vae.likelihood == "gaussian":
        assert other.noise_variance_ == vae.noise_variance_


# Saving and loading


@pytest.mark.parametrize(
    ("params", "shape"),
    [
        ({}, (30, 8, 8)),
        ({}, (30, 64)),
        ({"image_shape": (4, 5, 3), "channel_axis": -1}, (30, 60)),
        ({"channel_axis": 0, "hidden_channels": [4, 6]}, (30, 3, 5, 7)),
        ({"early_stopping": True, "pixel_range": (-3, 3), "random_state": None}, (30, 17)),
        ({"likelihood": "gaussian", "n_components": 1}, (30, 17)),
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
        **{**SMALL, "random_state": rng, "max_iter": 1}, callbacks=[Callback()], checkpoint=path
    ).fit(digits[0])
    vae.save(tmp_path / "model")
    other = skvae.load(tmp_path / "model")
    assert other.callbacks is other.checkpoint is other.random_state is None
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


def full_disk(monkeypatch):
    def fsync(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_persistence.os, "fsync", fsync)


def test_a_file_of_format_version_1_is_readable_for_ever(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)  # from its release on
        vae = skvae.load(DATA / "version-1.skvae")
    with np.load(DATA / "version-1.npz") as file:
        expected = dict(file)
        z = vae.transform(expected["images"])
        # Machines differ in the last bits of float32.
        assert_allclose(z, expected["latents"], rtol=1e-4, atol=1e-5)
        assert_allclose(vae.inverse_transform(z), expected["reconstructions"], rtol=1e-3, atol=1e-3)
        assert_allclose(vae.score_samples(expected["images"]), expected["elbo"], rtol=1e-4)
    assert vae.n_iter_ == 15
    assert not vae._binarize
    assert not hasattr(vae, "n_active_components_")  # which the first files do not tell
    assert vae.history_["train_loss"].iloc[-1] == vae.loss_curve_[-1]
    vae.save(tmp_path / "again")
    assert_array_equal(skvae.load(tmp_path / "again").transform(expected["images"]), z)


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
    "n_active_components": 4,
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
    ("weights", KeyError),
    ("likelihood", "gaussian"),  # whose noise is not among the weights
    ("binarize under gaussian", True),
    ("n_active_components", -1),
    ("n_active_components", True),
    ("channel_axis", -1.0),
    ("params.checkpoint", "evil.txt"),
    ("params.callbacks", []),
    ("unseen epochs", 10**12),
]


@pytest.mark.parametrize(("path", "value"), [*LIES.items(), *MORE_LIES], ids=str)
def test_lies_are_refused(small, tmp_path, path, value):
    small.save(tmp_path / "model")
    header, arrays = _persistence.read(tmp_path / "model", _state.model_arrays)
    if path == "weights":
        del arrays["weights.mu_head.bias"]
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


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("kind", "model"),
        ("rates", {}),
        ("rates.lr", "fast"),
        ("rates.betas", 0.5),
        ("rates.lr", float("nan")),
        ("early_stopping", None),
        ("early_stopping", {"monitor": "train_loss"}),
        ("early_stopping.misses_", 1.0),
        ("has_best", False),
        ("history", ["batches"]),
        ("n_epochs", 0),
        ("data", KeyError),
        ("device", 3),
        ("params", {}),
        ("params.likelihood", "gaussian"),
        ("params.likelihood", "gamma"),
        ("architecture.hidden_channels", []),
        ("seed", "0"),
    ],
    ids=str,
)
def test_checkpoints_that_lie_are_refused(digits, tmp_path, path, value):
    params = {"early_stopping": True, "checkpoint": tmp_path / "checkpoint"}
    fit(digits[0], **params)
    header, arrays = _persistence.read(tmp_path / "checkpoint", _state.progress_arrays)
    set_value(path, value)(header)
    _persistence.write(tmp_path / "checkpoint", header, arrays)
    with pytest.raises(InvalidFileError, match="checkpoint' cannot be loaded"):
        fit(digits[0], **params)


def test_what_a_file_cannot_hold_is_not_written(small, tmp_path, monkeypatch):
    monkeypatch.setattr(_state, "MAX_EPOCHS", 3)
    with pytest.raises(ValueError, match="no file of skvae has such n_epochs"):
        small.save(tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_a_checkpoint_is_no_model_and_a_model_no_checkpoint(small, tmp_path, digits):
    fit(digits[0], checkpoint=tmp_path / "checkpoint")
    with pytest.raises(InvalidFileError, match="kind"):
        skvae.load(tmp_path / "checkpoint")
    small.save(tmp_path / "model")
    with pytest.raises(InvalidFileError, match="kind"):
        fit(digits[0], checkpoint=tmp_path / "model")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError):
        skvae.load(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        skvae.load(tmp_path)


def test_weight_shapes_are_those_of_the_network():
    architecture = {
        "image_shape": (3, 17, 31),
        "n_components": 5,
        "hidden_channels": (4, 6),
        "hidden_units": 7,
    }
    expected = {k: tuple(w.shape) for k, w in ConvVAE(**architecture).state_dict().items()}
    assert weight_shapes(**architecture) == expected


# Versions and skops


def test_another_version_warns(small, tmp_path, digits, monkeypatch):
    small.save(tmp_path / "model")
    pickled = pickle.dumps(small)
    monkeypatch.setattr("skvae._estimator.__version__", "99.0")
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
    assert untrusted == ["skvae._estimator.ConvVAETransformer"]
    other = skops.io.loads(dumped, trusted=untrusted)
    assert_array_equal(other.transform(X), model.transform(X))


# Checkpoints


def fit(images, **params):
    return ConvVAETransformer(**{**SMALL, "max_iter": 4, **params}).fit(images)


class Crash(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_begin(self, net, **kwargs):
        if net.history[-1, "epoch"] == self.epoch and len(net.history[-1, "batches"]) == 3:
            raise RuntimeError("crash")


@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize(
    "others",
    [
        {"early_stopping": False},
        {"early_stopping": True},
        {"early_stopping": True, "n_iter_no_change": 5, "binarize": True},
        {"early_stopping": False, "likelihood": "gaussian", "beta_warmup": 0.7},
    ],
    ids=str,
)
def test_a_resumed_fit_ends_as_if_it_had_never_stopped(digits, tmp_path, others, random_state):
    images = digits[0]
    params = {"max_iter": 8, "n_iter_no_change": 2, **others}
    params |= {"random_state": random_state, "checkpoint": tmp_path / "checkpoint", "tol": 0.3}
    for epoch in (1, 2, 3, 5):
        with pytest.raises(RuntimeError, match="crash"):
            fit(images, **params, callbacks=[Crash(epoch)])
        assert (tmp_path / "checkpoint").exists() == (epoch > 1)
    resumed = fit(images, **params)
    seed = resumed._seed
    again = ConvVAETransformer(**{**SMALL, **params, "checkpoint": None})
    again = again.set_params(random_state=FixedSeed(seed)).fit(images)
    assert_same_weights_and_losses(again, resumed)
    # A fit that is finished has nothing left to do.
    assert_same_weights_and_losses(fit(images, **params, callbacks=[Crash(9)]), resumed)


class FixedSeed(np.random.RandomState):
    """A RandomState that gives one seed."""

    def __init__(self, seed):
        super().__init__(0)
        self.given = seed

    def randint(self, *args):
        return self.given


def assert_same_weights_and_losses(vae, other):
    for expected, weight in zip(vae.module_.parameters(), other.module_.parameters(), strict=True):
        assert_array_equal(weight.detach(), expected.detach())
    assert other.loss_curve_ == vae.loss_curve_
    pd.testing.assert_frame_equal(
        other.history_.drop(columns="duration"), vae.history_.drop(columns="duration")
    )


def test_an_interrupted_fit_can_go_on(digits, tmp_path):
    class Interrupt(Crash):
        def on_batch_begin(self, net, **kwargs):
            try:
                super().on_batch_begin(net)
            except RuntimeError:
                raise KeyboardInterrupt from None

    path = tmp_path / "checkpoint"
    with pytest.warns(UserWarning, match="interrupted"):
        assert fit(digits[0], checkpoint=path, callbacks=[Interrupt(3)]).n_iter_ == 2
    assert_same_weights_and_losses(fit(digits[0]), fit(digits[0], checkpoint=path))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"beta": 2.0}, "params: beta was 1.0, is 2.0"),
        ({"max_iter": 5}, "params: max_iter was 4, is 5"),
        ({"random_state": 1}, "params: random_state was 0, is 1"),
        ({"hidden_units": 17}, "hidden_units was 16, is 17"),
        ({"early_stopping": True}, "early_stopping was False, is True"),
        ({"X": 399}, r"data: sha256 was .*shape was \[400, 8, 8\]|shape was \[400, 64\]"),
        ({"X": "changed"}, "data: sha256 was"),
        ({"X": np.float32}, "data: dtype was"),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_fit_is_refused(digits, tmp_path, change, match):
    images = digits[0]
    path = tmp_path / "checkpoint"
    fit(images, checkpoint=path)
    before = path.read_bytes()
    other = change.pop("X", 400)
    if other == "changed":
        images = images.copy()
        images[-1, -1, -1] += 1
    elif isinstance(other, int):
        images = images[:other]
    else:
        images = images.astype(other)
    with pytest.raises(ValueError, match=f"belongs to another fit .*({match}).*begin anew"):
        fit(images, checkpoint=path, **change)
    assert path.read_bytes() == before


def test_what_changes_no_weight_may_change(digits, tmp_path, capsys):
    path = tmp_path / "checkpoint"
    with pytest.raises(RuntimeError, match="crash"):
        fit(digits[0], checkpoint=path, callbacks=[Crash(3)])
    resumed = fit(digits[0], checkpoint=str(path), verbose=1)
    assert_same_weights_and_losses(fit(digits[0]), resumed)
    assert "4/4" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_refused(digits, tmp_path):
    path = tmp_path / "checkpoint"
    fit(digits[0], checkpoint=path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidFileError, match="checkpoint' cannot be loaded"):
        fit(digits[0], checkpoint=path)


def test_a_full_disk_at_a_checkpoint(digits, tmp_path, monkeypatch):
    path = tmp_path / "checkpoint"
    with pytest.raises(RuntimeError, match="crash"):
        fit(digits[0], checkpoint=path, callbacks=[Crash(3)])
    before = path.read_bytes()
    vae = fit(digits[0])
    z = vae.transform(digits[0])
    with monkeypatch.context() as context:
        full_disk(context)
        with pytest.raises(
            OSError, match=r"No space left.*mend the cause and call fit again"
        ) as error:
            vae.set_params(checkpoint=path).fit(digits[0])
    assert error.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["checkpoint"]
    assert_array_equal(vae.transform(digits[0]), z)
    assert_same_weights_and_losses(fit(digits[0]), vae.fit(digits[0]))


def test_a_checkpoint_in_a_missing_folder_fails_at_once(digits, tmp_path):
    path = tmp_path / "runs" / "checkpoint"
    with pytest.raises(FileNotFoundError, match="folder of the checkpoint does not exist"):
        fit(digits[0], checkpoint=path, callbacks=[Crash(1)])


def test_a_checkpoint_of_another_random_state_is_refused(digits, tmp_path):
    path = tmp_path / "checkpoint"
    params = {"checkpoint": path, "max_iter": 2}
    vae = fit(digits[0], random_state=np.random.RandomState(1), **params)
    with pytest.raises(ValueError, match=r"belongs to another fit .*seed was"):
        fit(digits[0], random_state=np.random.RandomState(2), **params)
    again = fit(digits[0], random_state=np.random.RandomState(1), **params)
    assert_same_weights_and_losses(vae, again)


def test_a_checkpoint_holds_one_fit(digits, tmp_path):
    vae = fit(digits[0], warm_start=True, checkpoint=tmp_path / "checkpoint")
    with pytest.raises(ValueError, match="Set checkpoint=None or warm_start=False"):
        vae.fit(digits[0])
    vae.partial_fit(digits[0])  # does not use it
    assert vae.n_iter_ == 5


def test_out_of_memory_says_what_to_lower(digits):
    with pytest.raises(MemoryError, match="Lower batch_size, hidden_channels or hidden_units"):
        fit(digits[0], hidden_units=10**12)
