"""Checkpoints: a fit that was stopped goes on bit-identical, a finished one begins anew."""

import errno
import os
import sys

import numpy as np
import pytest
from comparisons import FixedSeed, assert_same_training
from conftest import SMALL, without_address
from faults import Crash, CrashAtTheEnd, full_disk, interrupt
from mutate import set_value
from nets import archive, fields
from sklearn.model_selection import GridSearchCV, cross_val_score
from skorch.callbacks import Callback, EarlyStopping, Freezer

import skvae
from skvae import ConvVAETransformer, InvalidFileError
from skvae._training import checkpoint

TRAINING = {field.key for field in checkpoint.PLAN}

# An early stopping that waits three epochs and cools down for one: epochs 4 and 5.
SOON = {"early_stopping": True, "tol": 1e6, "n_iter_no_change": 3, "max_iter": 20}


@pytest.fixture(scope="module")
def images(digits):
    return digits[0][:120]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint"


def fit(images, **params):
    return ConvVAETransformer(**{**SMALL, "max_iter": 4, **params}).fit(images)


def crash(images, epoch=3, **params):
    with pytest.raises(RuntimeError, match="crash"):
        fit(images, **{**params, "callbacks": [*params.get("callbacks", []), Crash(epoch)]})


def header_of(path):
    return archive.read(path, checkpoint.CHECKPOINT.specs)[0]


# To go on


@pytest.mark.parametrize(
    "params",
    [
        {"max_iter": 6},
        {"max_iter": 6, "likelihood": "gaussian", "beta_warmup": 0.7},
        {"max_iter": 6, "likelihood": "continuous_bernoulli", "beta": 0.5},
        {"max_iter": 6, "binarize": True},
        {"max_iter": 6, "early_stopping": True, "binarize": True},
        {"max_iter": 6, "random_state": None},
        {"max_iter": 6, "early_stopping": True, "random_state": None},
        SOON,
        {**SOON, "likelihood": "gaussian", "beta_warmup": 0.1},
        {"max_iter": 6, "callbacks": [Freezer("encoder.*")]},
        {**SOON, "callbacks": [Freezer("mu_head.*")]},
    ],
    ids=without_address,
)
def test_a_resumed_fit_ends_as_if_it_had_never_stopped(images, path, params):
    for epoch in (1, 2, 5):
        crash(images, epoch, **params, checkpoint=path)
        assert path.exists() == (epoch > 1)
    resumed = fit(images, **params, checkpoint=path)
    whole = fit(images, **{**params, "random_state": FixedSeed(resumed._seed)})
    assert resumed.n_iter_ == (5 if params.get("tol") else 6)
    assert_same_training(whole, resumed)


def test_frozen_parameters_stay_as_they_were_drawn(images, path):
    freeze = {"callbacks": [Freezer("encoder.*")], "checkpoint": path}
    crash(images, **freeze)
    drawn, resumed = (
        fit(images, max_iter=1, callbacks=[Freezer("encoder.*")]),
        fit(images, **freeze),
    )
    frozen = [name for name, p in resumed.module_.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(name.startswith("encoder.") for name in frozen)
    for name in frozen:
        weight = resumed.module_.state_dict()[name]
        np.testing.assert_array_equal(weight, drawn.module_.state_dict()[name])


@pytest.mark.parametrize("params", [{"max_iter": 4}, SOON], ids=str)
def test_a_crash_after_the_last_epoch_loses_nothing(images, path, params):
    with pytest.raises(RuntimeError, match="crash"):
        fit(images, **params, checkpoint=path, callbacks=[CrashAtTheEnd()])
    # No epoch is left in which it could crash again.
    resumed = fit(images, **params, checkpoint=path, callbacks=[Crash(n) for n in range(1, 9)])
    assert_same_training(fit(images, **params), resumed)


@pytest.mark.parametrize("params", [{}, SOON], ids=str)
def test_an_interrupted_fit_can_go_on(images, path, params):
    with pytest.warns(UserWarning, match="interrupted by user; what is trained so far is kept"):
        stopped = fit(images, **params, checkpoint=path, callbacks=[interrupt(3)])
    assert stopped.n_iter_ == 2
    assert_same_training(fit(images, **params), fit(images, **params, checkpoint=path))


def test_what_changes_no_weight_may_change(images, path, capsys):
    crash(images, checkpoint=path)
    resumed = fit(images, checkpoint=str(path), verbose=1)
    assert_same_training(fit(images), resumed)
    assert "4/4" in capsys.readouterr().err


def test_callbacks_see_the_epochs_that_are_left(images, path):
    crash(images, checkpoint=path)
    seen = []

    class See(Crash):
        def on_epoch_end(self, net, **kwargs):
            seen.append(len(net.history))

    fit(images, checkpoint=path, callbacks=[See(99)])
    assert seen == [3, 4]


def test_the_work_of_an_epoch_does_not_grow(images, path):
    class CountCalls(Callback):
        """Counts the calls of functions, of Python and of C, in each epoch."""

        def initialize(self):
            self.n_calls_ = []
            return self

        def on_epoch_begin(self, net, **kwargs):
            self.n_calls_.append(0)
            sys.setprofile(self.count)

        def on_epoch_end(self, net, **kwargs):
            sys.setprofile(None)

        def count(self, frame, event, argument):
            self.n_calls_[-1] += event in ("call", "c_call")

    vae = fit(images[:32], max_iter=40, checkpoint=path, callbacks=[CountCalls()])
    n_calls = vae.net_.callbacks_[-1][1].n_calls_
    assert min(n_calls) > 1_000
    assert max(n_calls[-5:]) - min(n_calls[5:10]) < 20


def test_wide_numbers_are_the_same_plan(images, path):
    wide = {"tol": np.longdouble(0.25), "beta": np.longdouble(0.5), "early_stopping": True}
    crash(images, **wide, checkpoint=path)
    plain = {"tol": 0.25, "beta": 0.5, "early_stopping": True}
    assert_same_training(fit(images, **plain), fit(images, **plain, checkpoint=path))


# A finished fit


class Count(Callback):
    """Counts the batches of training."""

    def initialize(self):
        self.n_batches_ = 0
        return self

    def on_batch_end(self, net, training=False, **kwargs):
        self.n_batches_ += training


@pytest.mark.parametrize(
    "params",
    [{}, {"random_state": None}, SOON, {"likelihood": "gaussian", "beta_warmup": 0.5}],
    ids=str,
)
def test_a_finished_fit_is_restored_at_once(images, path, params):
    first = fit(images, **params, checkpoint=path)
    before = path.read_bytes()
    count = Count()
    again = fit(images, **params, checkpoint=path, callbacks=[count])
    assert again.net_.callbacks_[-1][1].n_batches_ == 0
    assert path.read_bytes() == before
    assert_same_training(first, again)
    np.testing.assert_array_equal(first.transform(images), again.transform(images))
    assert first.history_["duration"].tolist() == again.history_["duration"].tolist()
    # Adam's moments are those of the training, too.
    again.set_params(callbacks=None)
    assert_same_training(first.partial_fit(images), again.partial_fit(images))


def test_a_finished_fit_of_another_plan_begins_anew(images, path):
    fit(images, checkpoint=path)
    assert header_of(path)["finished"]
    other = fit(images[::-1][:90], checkpoint=path, beta=2.0)
    assert header_of(path)["finished"]
    assert header_of(path)["params"]["beta"] == 2.0
    assert_same_training(fit(images[::-1][:90], beta=2.0), other)
    assert os.listdir(path.parent) == ["checkpoint"]
    # It is another one until its first epoch is written.
    with pytest.raises(RuntimeError, match="crash"):
        fit(images, checkpoint=path, callbacks=[Crash(1)])
    assert header_of(path)["params"]["beta"] == 2.0


def test_a_finished_fit_of_another_plan_draws_a_new_seed(images, path):
    first = fit(images, random_state=None, checkpoint=path)
    other = fit(images, random_state=None, checkpoint=path, beta=2.0)
    assert other._seed != first._seed
    assert header_of(path)["seed"] == other._seed


def test_a_fit_that_a_callback_ended_is_finished(images, path):
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=1e6, threshold_mode="abs")
    vae = fit(images, max_iter=20, checkpoint=path, callbacks=[stop])
    assert vae.n_iter_ < 20
    assert header_of(path)["finished"]
    assert_same_training(vae, fit(images, max_iter=20, checkpoint=path))


def test_cross_validation_with_a_checkpoint(images, path):
    rows = images.reshape(len(images), -1)
    params = {**SMALL, "max_iter": 2, "pixel_range": (0, 16)}
    expected = cross_val_score(ConvVAETransformer(**params), rows, cv=3)
    vae = ConvVAETransformer(**params, checkpoint=path)
    np.testing.assert_array_equal(cross_val_score(vae, rows, cv=3, error_score="raise"), expected)
    search = GridSearchCV(vae, {"n_components": [1, 3]}, cv=2, error_score="raise").fit(rows)
    assert header_of(path)["params"]["n_components"] == search.best_params_["n_components"]


# Another fit, which is not finished


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"beta": 2.0}, "params: beta was 1.0, is 2.0"),
        ({"max_iter": 5}, "params: max_iter was 4, is 5"),
        ({"random_state": 1}, "params: random_state was 0, is 1"),
        ({"hidden_units": 17}, "hidden_units was 16, is 17"),
        ({"early_stopping": True}, "early_stopping was False, is True.*n_valid was 0, is 12"),
        ({"X": 119}, r"data: sha256 was .*shape was \[120, 64\], is \[119, 64\]"),
        ({"X": "changed"}, "data: sha256 was"),
        ({"X": np.float32}, "data: dtype was '.u1', is '<f4'"),
        ({"X": np.float32, "likelihood": "gaussian"}, "likelihood was 'bernoulli', is 'gaussian'"),
    ],
    ids=str,
)
def test_an_unfinished_fit_of_another_plan_is_refused(images, path, change, match):
    crash(images, checkpoint=path, pixel_range=(0, 16))
    before = path.read_bytes()
    change = dict(change)
    other = change.pop("X", 120)
    if other == "changed":
        images = images.copy()
        images[-1, -1, -1] += 1
    elif isinstance(other, int):
        images = images[:other]
    else:
        images = images.astype(other)
    expected = f"belongs to another fit, which is not finished .*{match}.*remove the file"
    with pytest.raises(ValueError, match=expected):
        fit(images, checkpoint=path, pixel_range=(0, 16), **change)
    assert path.read_bytes() == before


def test_a_checkpoint_of_another_random_state_is_refused(images, path):
    crash(images, random_state=np.random.RandomState(1), checkpoint=path)
    with pytest.raises(ValueError, match=r"belongs to another fit.*seed was"):
        fit(images, random_state=np.random.RandomState(2), checkpoint=path)
    resumed = fit(images, random_state=np.random.RandomState(1), checkpoint=path)
    assert_same_training(fit(images, random_state=np.random.RandomState(1)), resumed)


def test_a_checkpoint_of_another_version_is_refused(images, path, monkeypatch):
    crash(images, checkpoint=path)
    monkeypatch.setattr(checkpoint, "__version__", "99.0")
    with pytest.raises(ValueError, match=r"skvae_version was '0.*', is '99\.0'"):
        fit(images, checkpoint=path)


def test_a_checkpoint_holds_one_fit(images, path):
    vae = fit(images, warm_start=True, checkpoint=path)
    with pytest.raises(ValueError, match="Set checkpoint=None or warm_start=False"):
        vae.fit(images)
    before = path.read_bytes()
    vae.partial_fit(images)  # does not use it
    assert vae.n_iter_ == 5
    assert path.read_bytes() == before


# Parameters of every kind


def test_numpy_scalars_go_into_the_plan(images, path):
    params = {
        "tol": np.float64(0.3),
        "n_iter_no_change": np.int64(2),
        "early_stopping": np.bool_(True),
        "validation_fraction": np.float32(0.25),
        "beta": np.float32(0.5),
        "max_iter": np.int16(4),
        "random_state": np.int64(0),
    }
    crash(images, **params, checkpoint=path)
    resumed = fit(images, **params, checkpoint=path)
    assert_same_training(fit(images, **params), resumed)
    # The same numbers as plain ones are the same plan, which is finished.
    before = path.read_bytes()
    plain = {k: v.item() for k, v in params.items()}
    assert_same_training(resumed, fit(images, **plain, checkpoint=path))
    assert path.read_bytes() == before


# Faults of the disk


def test_a_damaged_checkpoint_is_refused(images, path):
    crash(images, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidFileError, match="checkpoint' cannot be loaded"):
        fit(images, checkpoint=path)


def test_a_full_disk_at_a_checkpoint(images, path, monkeypatch):
    crash(images, checkpoint=path)
    before = path.read_bytes()
    vae = fit(images)
    z = vae.transform(images)
    match = (
        r"No space left.*previous epoch's checkpoint is intact.*Fix the cause and call fit again"
    )
    with monkeypatch.context() as context:
        full_disk(context)
        with pytest.raises(OSError, match=match) as error:
            vae.set_params(checkpoint=path).fit(images)
    assert error.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["checkpoint"]
    np.testing.assert_array_equal(vae.transform(images), z)
    assert_same_training(fit(images), vae.fit(images))


def test_a_checkpoint_in_a_missing_folder_fails_at_once(images, tmp_path):
    path = tmp_path / "runs" / "checkpoint"
    with pytest.raises(FileNotFoundError, match="folder of the checkpoint does not exist"):
        fit(images, checkpoint=path, callbacks=[Crash(1)])


def test_a_checkpoint_is_no_model_and_a_model_no_checkpoint(small, images, path, tmp_path):
    crash(images, checkpoint=path)
    with pytest.raises(InvalidFileError, match=r"invalid kind .'checkpoint', not 'model'"):
        skvae.load(path)
    small.save(tmp_path / "model")
    with pytest.raises(InvalidFileError, match=r"invalid kind .'model', not 'checkpoint'"):
        fit(images, checkpoint=tmp_path / "model")


# Files that lie: rightly summed, with a header that no training has


LIES = [
    ("kind", "model"),
    ("n_steps", []),
    ("n_steps.no_such", 1),
    ("n_steps.mu_head_bias", KeyError),
    ("frozen", None),
    ("frozen", ["no_such"]),
    ("finished", 0),
    ("finished", None),
    ("n_valid", 0),
    ("n_valid", -1),
    ("n_valid", 1.0),
    ("history", ["duration"]),
    ("n_epochs", 0),
    ("n_epochs", 10**9),
    ("data", KeyError),
    ("device", 3),
    ("params", {}),
    ("params.likelihood", "gamma"),
    ("likelihood", "gaussian"),
    ("likelihood", "gamma"),
    ("architecture.hidden_channels", []),
    ("seed", "0"),
]


@pytest.fixture(scope="module")
def stopped(images, tmp_path_factory):
    """Header and arrays of the checkpoint of a fit with early stopping that crashed."""
    path = tmp_path_factory.mktemp("stopped") / "checkpoint"
    crash(images, early_stopping=True, checkpoint=path)
    return archive.read(path, checkpoint.CHECKPOINT.specs)


@pytest.mark.parametrize(("name", "value"), LIES, ids=str)
def test_checkpoints_that_lie_are_refused(images, path, stopped, name, value):
    header, arrays = stopped
    header = fields.plain(header)  # a deep copy
    if name == "n_steps.mu_head_bias":
        del header["n_steps"]["mu_head.bias"]  # whose moments are there
    else:
        set_value(header, name, value)
    archive.write(path, header, arrays)
    # A file that is well-formed, and of another plan, is refused as that.
    error = ValueError if name == "params" or name.startswith("params.") else InvalidFileError
    with pytest.raises(error, match=r"checkpoint' cannot be loaded|belongs to another fit"):
        fit(images, early_stopping=True, checkpoint=path)


def test_steps_must_be_counts(stopped):
    header, _ = stopped
    for n in (0, -1, 1.0, True, 2**53):
        lie = {**header, "n_steps": dict.fromkeys(header["n_steps"], n)}
        with pytest.raises(ValueError, match="invalid n_steps in the file"):
            checkpoint.CHECKPOINT.specs(lie)


def test_what_no_fit_could_read_is_not_written(images, path, monkeypatch):
    monkeypatch.setattr(fields, "MAX_FILE_EPOCHS", 1)
    with pytest.raises(ValueError, match="invalid n_epochs in the file"):
        fit(images, checkpoint=path)
    assert header_of(path)["n_epochs"] == 1
