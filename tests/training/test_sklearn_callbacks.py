"""scikit-learn's callbacks: tasks, their fitted estimators, the end that they ask for, faults."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest
import rich
from conftest import SMALL, fit, weights_of
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from skorch.callbacks import Callback

import skvae
from skvae import ConvVAEClassifier, ConvVAETransformer

# Images of rows from 0 to 16; three epochs.
QUICK = {**SMALL, "pixel_range": (0, 16), "max_iter": 3}


class Recorder:
    """Note each call; fail at one of them, or ask for the end after an epoch."""

    max_propagation_depth = None

    def __init__(self, *, fail_at=None, stop_after=None):
        self.calls, self.seen = [], []
        self.fail_at, self.stop_after = fail_at, stop_after

    def note(self, what, context):
        self.calls.append((what, context.task_name))
        if self.calls[-1] == self.fail_at:
            raise ValueError("a fault of a callback")

    def setup(self, estimator, context):
        self.note("setup", context)

    def on_fit_task_begin(self, estimator, context):
        self.note("begin", context)

    def on_fit_task_end(self, estimator, context, *, X=None, y=None):
        self.seen.append((X, y))
        self.note("end", context)
        return context.task_name == "epoch" and context.task_id + 1 == self.stop_after

    def teardown(self, estimator, context):
        self.note("teardown", context)


class Keeper:
    """Keep the fitted estimator of each task."""

    def __init__(self):
        self.fitted, self.max_subtasks = {}, []

    def setup(self, estimator, context):
        pass

    teardown = setup

    def on_fit_task_begin(self, estimator, context):
        self.max_subtasks.append(context.max_subtasks)

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        name = context.task_name
        self.fitted[context.task_id if name == "epoch" else name] = fitted_estimator


class CtrlC(Callback):
    """Ctrl-C after a number of epochs."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


@pytest.fixture
def printed(capsys):
    """The lines that progress bars have printed; a function."""
    rich.reconfigure(width=160)
    yield lambda: capsys.readouterr().out.splitlines()
    rich.reconfigure()


def monitors():
    """The running threads of progress bars."""
    return [t for t in threading.enumerate() if type(t).__name__ == "RichProgressMonitor"]


def same(a, b):
    """Whether two fitted estimators are the same, to the last bit."""
    return (
        np.array_equal(weights_of(a), weights_of(b))
        and np.array_equal(a.kl_per_component_, b.kl_per_component_)
        and a.loss_curve_ == b.loss_curve_
    )


# Tasks


@pytest.mark.parametrize("method", ["fit", "fit_transform"])
def test_each_epoch_is_a_task_of_the_fit(digits, method):
    images, labels = digits[0][:60], digits[1][:60]
    for vae in (ConvVAETransformer(**QUICK), ConvVAEClassifier(**QUICK)):
        recorder = Recorder()
        getattr(vae.set_callbacks(recorder), method)(images, labels)
        epochs = [("begin", "epoch"), ("end", "epoch")] * 3
        whole = [("setup", "fit"), ("begin", "fit"), *epochs, ("end", "fit"), ("teardown", "fit")]
        assert recorder.calls == whole
        assert all(X is images and y is labels for X, y in recorder.seen)


def test_without_labels_the_images_are_the_target(digits):
    recorder = Recorder()
    ConvVAETransformer(**QUICK).set_callbacks(recorder).fit(digits[0][:60])
    assert all(X is y for X, y in recorder.seen)


@pytest.mark.parametrize(("max_iter", "expected"), [(2, 2), (None, 200)])
def test_the_number_of_epochs_is_known_at_the_begin(digits, max_iter, expected):
    keeper, params = Keeper(), {**QUICK, "max_iter": max_iter, "callbacks": [CtrlC(2)]}
    vae = ConvVAETransformer(**params).set_callbacks(keeper)
    with pytest.warns(UserWarning, match="interrupted"):
        vae.fit(digits[0][:60])
    assert keeper.max_subtasks == [expected, 0, 0]


def test_partial_fit_has_no_tasks(digits):
    recorder = Recorder()
    ConvVAETransformer(**QUICK).set_callbacks(recorder).partial_fit(digits[0][:60])
    assert recorder.calls == []


# What they change: nothing


@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"likelihood": "gaussian"}])
def test_callbacks_change_no_bit(digits, params):
    images, labels = digits[0][:100], digits[1][:100]
    for make in (lambda: ConvVAETransformer(**QUICK), lambda: ConvVAEClassifier(**QUICK)):
        plain = make().set_params(**params).fit(images, labels)
        watched = make().set_params(**params).set_callbacks(Recorder(), Keeper())
        assert same(plain, watched.fit(images, labels))
        assert vars(watched).keys() == vars(plain).keys() | {"_skl_callbacks"}


def test_a_fitted_estimator_keeps_neither_tasks_nor_data(digits):
    images = digits[0][:60].copy()
    alive = weakref.ref(images)
    vae = ConvVAETransformer(**QUICK).set_callbacks(Keeper()).fit(images)
    vae.set_callbacks()
    del images
    gc.collect()
    assert alive() is None
    assert vae.n_iter_ == 3


def test_clone_pickle_and_save(digits, tmp_path):
    recorder = Recorder()
    vae = ConvVAETransformer(**QUICK).set_callbacks(recorder, ProgressBar()).fit(digits[0][:60])
    fresh = clone(vae)
    assert fresh._skl_callbacks is vae._skl_callbacks
    vae.save(tmp_path / "model.skvae")
    for other in (
        copy.deepcopy(vae),
        pickle.loads(pickle.dumps(vae)),
        skvae.load(tmp_path / "model.skvae"),
    ):
        assert_array_equal(other.transform(digits[0][:60]), vae.transform(digits[0][:60]))
    assert not hasattr(other, "_skl_callbacks")
    assert monitors() == []


# The fitted estimator of a task


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("epoch", [1, 3])
def test_it_is_what_a_stop_would_give(digits, early_stopping, epoch):
    # At this rate the best epoch of six is not the last.
    params = {**QUICK, "max_iter": 6, "early_stopping": early_stopping, "learning_rate": 0.1}
    images, keeper = digits[0][:100], Keeper()
    ConvVAETransformer(**params).set_callbacks(keeper).fit(images)
    with pytest.warns(UserWarning, match="interrupted"):
        stopped = ConvVAETransformer(**params, callbacks=[CtrlC(epoch)]).fit(images)
    assert same(keeper.fitted[epoch - 1], stopped)
    assert_array_equal(keeper.fitted[epoch - 1].transform(images), stopped.transform(images))


def test_it_is_whole_at_the_end(digits):
    keeper = Keeper()
    vae = ConvVAETransformer(**QUICK).set_callbacks(keeper).fit(digits[0][:60])
    assert same(keeper.fitted["fit"], vae)
    assert same(keeper.fitted[2], vae)


def test_it_is_of_this_fit_and_not_of_the_one_before(digits):
    keeper = Keeper()
    vae = fit(digits[0][:60], likelihood="gaussian").set_callbacks(keeper)
    vae.set_params(likelihood="bernoulli", n_components=2).fit(digits[0][:60])
    assert keeper.fitted[0].transform(digits[0][:5]).shape == (5, 2)
    assert same(keeper.fitted[2], vae)


def test_it_goes_on_from_a_warm_start(digits):
    keeper = Keeper()
    vae = fit(digits[0][:60], warm_start=True).set_callbacks(keeper).fit(digits[0][:60])
    assert [keeper.fitted[i].n_iter_ for i in range(3)] == [4, 5, 6]
    assert same(keeper.fitted[2], vae)


# The end that they ask for


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_stop_is_silent_and_keeps_what_is_trained(digits, early_stopping, epoch):
    params = {**QUICK, "max_iter": 6, "early_stopping": early_stopping, "learning_rate": 0.1}
    params["beta_warmup"] = 0.9
    recorder, images = Recorder(stop_after=epoch), digits[0][:100]
    vae = ConvVAETransformer(**params).set_callbacks(recorder).fit(images)
    assert vae.n_iter_ == epoch
    assert recorder.calls[-2:] == [("end", "fit"), ("teardown", "fit")]
    with pytest.warns(UserWarning, match="interrupted"):
        expected = ConvVAETransformer(**params, callbacks=[CtrlC(epoch)]).fit(images)
    assert same(vae, expected)


def test_all_callbacks_see_the_epoch_after_which_one_stops(digits):
    class Epochs(Callback):
        n_ended = 0

        def on_epoch_end(self, net, **kwargs):
            self.n_ended += 1

    first, last, epochs = Recorder(stop_after=1), Recorder(), Epochs()
    vae = ConvVAETransformer(**QUICK, callbacks=[epochs]).set_callbacks(first, last)
    vae.fit(digits[0][:60])
    assert ("end", "epoch") in last.calls
    assert epochs.n_ended == 1


def test_after_a_stop_the_checkpoint_is_finished(digits, tmp_path):
    vae = ConvVAETransformer(**QUICK, checkpoint=tmp_path / "c.skvae")
    stopped = clone(vae).set_callbacks(Recorder(stop_after=1)).fit(digits[0][:60])
    assert stopped.n_iter_ == 1
    assert same(stopped, vae.fit(digits[0][:60]))  # restored, and not trained on


def test_after_a_fault_the_checkpoint_goes_on(digits, tmp_path):
    vae = ConvVAETransformer(**QUICK, checkpoint=tmp_path / "c.skvae")
    with pytest.raises(ValueError, match="a fault of a callback"):
        vae.set_callbacks(Recorder(fail_at=("end", "epoch"))).fit(digits[0][:60])
    keeper = Keeper()
    vae.set_callbacks(keeper).fit(digits[0][:60])
    assert keeper.max_subtasks == [2, 0, 0]
    assert [keeper.fitted[i].n_iter_ for i in range(2)] == [2, 3]
    assert same(vae, fit(digits[0][:60]))


# Faults


@pytest.mark.parametrize("fitted_before", [False, True])
@pytest.mark.parametrize(
    "fail_at",
    [("setup", "fit"), ("begin", "fit"), ("begin", "epoch"), ("end", "epoch"), ("end", "fit")],
)
def test_after_a_fault_the_estimator_is_as_before(digits, fail_at, fitted_before):
    vae = ConvVAETransformer(**QUICK)
    if fitted_before:
        vae.fit(digits[0][:60])
    recorder = Recorder(fail_at=fail_at)
    vae.set_callbacks(ProgressBar(), recorder)
    before = vars(vae).copy()
    with pytest.raises(ValueError, match="a fault of a callback"):
        vae.fit(digits[0][:80])
    assert vars(vae) == before
    assert recorder.calls[-1] == ("teardown", "fit")
    assert monitors() == []


@pytest.mark.parametrize("X", [np.zeros((3, 4), complex), None], ids=["complex", "None"])
def test_after_bad_input_callbacks_are_torn_down(X):
    recorder = Recorder()
    vae = ConvVAETransformer(**QUICK).set_callbacks(ProgressBar(), recorder)
    before = vars(vae).copy()
    with pytest.raises(ValueError, match=r"Complex data|Expected 2D array"):
        vae.fit(X)
    assert vars(vae) == before
    assert recorder.calls == [("setup", "fit"), ("teardown", "fit")]
    assert monitors() == []


def test_ctrl_c_ends_the_task_of_the_fit(digits):
    recorder = Recorder()
    vae = ConvVAETransformer(**QUICK, callbacks=[CtrlC(1)]).set_callbacks(recorder, ProgressBar())
    with pytest.warns(UserWarning, match="interrupted by user"):
        vae.fit(digits[0][:60])
    assert recorder.calls[-3:] == [("end", "epoch"), ("end", "fit"), ("teardown", "fit")]
    assert monitors() == []


# scikit-learn's own callbacks, also inside other estimators; the tests fail on any warning


def test_progress_bar_of_a_fit(digits, printed):
    ConvVAETransformer(**QUICK).set_callbacks(ProgressBar()).fit(digits[0][:60])
    (line,) = printed()
    assert line.startswith("ConvVAETransformer - fit ")
    assert "100%" in line
    assert monitors() == []


def test_progress_bar_of_a_pipeline(digits, printed):
    pipeline = Pipeline([("vae", ConvVAETransformer(**QUICK)), ("clf", LogisticRegression())])
    pipeline.set_callbacks(ProgressBar()).fit(digits[0][:60], digits[1][:60])
    first, *steps = (line.strip() for line in printed())
    assert first.startswith("Pipeline - fit ")
    assert steps[0].startswith("Pipeline - fit-transform-vae | ConvVAETransformer - fit #0 ")
    assert steps[1].startswith("Pipeline - fit-final-estimator | LogisticRegression - fit #1 ")
    assert monitors() == []


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_progress_bar_of_a_search(digits, printed, n_jobs):
    search = GridSearchCV(ConvVAETransformer(**QUICK), {"n_components": [1, 2]}, cv=2)
    rows = digits[0][:60].reshape(60, 64)
    search.set_params(n_jobs=n_jobs).set_callbacks(ProgressBar()).fit(rows)
    bars = [line for line in printed() if "ConvVAETransformer" in line]
    assert len(bars) == 5  # two candidates on two folds, and the refit
    assert all("100%" in bar for bar in bars)
    assert monitors() == []
    assert not hasattr(search.best_estimator_, "_skl_callbacks")


@pytest.mark.parametrize("cls", [ConvVAETransformer, ConvVAEClassifier])
def test_scoring_monitor_has_a_row_for_each_epoch(digits, cls):
    X, y = digits[0][:60], digits[1][:60]
    y = None if cls is ConvVAETransformer else y
    monitor, keeper = ScoringMonitor(scoring={"score": cls.score}), Keeper()
    cls(**QUICK).set_callbacks(monitor, keeper).fit(X, y)
    rows = monitor.get_logs().data
    assert [row["task_name"] for row in rows] == ["fit", "epoch", "epoch", "epoch"]
    expected = [fitted.score(X, y) for fitted in keeper.fitted.values()]
    assert [row["score"] for row in rows[1:] + rows[:1]] == expected


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_callbacks_of_scikit_learn_are_no_callbacks_of_skorch(digits, method):
    vae = ConvVAETransformer(**QUICK, callbacks=[ScoringMonitor(scoring="accuracy")])
    with pytest.raises(TypeError, match=r"callbacks has ScoringMonitor.*set by set_callbacks"):
        getattr(vae, method)(digits[0])


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_scoring_monitor_of_a_search(digits, n_jobs):
    monitor = ScoringMonitor(scoring="accuracy")
    clf = ConvVAEClassifier(**QUICK).set_callbacks(monitor)
    search = GridSearchCV(clf, {"n_components": [1, 2]}, cv=2, n_jobs=n_jobs)
    search.fit(digits[0][:60], digits[1][:60])
    table = monitor.get_logs().data_as_pandas
    assert (table["task_name"] == "epoch").sum() == 3 * 5
    assert table["accuracy"].notna().all()
