"""Training of a network: all epochs of a schedule, or one epoch more (torch, skorch)."""

import math
import sys
from contextlib import closing, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace

import numpy as np
import skorch.callbacks
import torch
from skorch.helper import predefined_split

from .._model import passes
from .callbacks import (
    WINDOW,
    Checkpoint,
    EarlyStopping,
    OneCycle,
    ProgressBar,
    Ramp,
    RunningStatistics,
    restore_progress,
)
from .net import ADVICE, build_net
from .processes import Processes

# How much more the labelled images that a step sees in addition count at first, and the share of
# all epochs in which this falls to 1. They should decide what the classes are, before the images
# without a label do.
FIRST_LABELLED_WEIGHT, LABELLED_SHARE = 4.0, 0.5

# Modules that run many fits and use their results. There, Ctrl-C is no wish to keep a short one.
SEARCHES = (
    "sklearn.model_selection",
    "joblib.parallel",
    "optuna",
    "ray",
    "dask",
    "distributed",
    "skopt",
    "hyperopt",
)


def train(
    module,
    dataset,
    settings,
    *,
    processes=None,
    valid=None,
    progress=None,
    save_progress=None,
    tasks=None,
):
    """The net of a network, trained in place by a one-cycle schedule; whether Ctrl-C ended it.

    With images `valid`, training stops early and the best weights are restored. It continues from
    the `progress` that `CheckpointFile.read` gives, calls `save_progress` after each epoch, and
    ends early if `tasks` ask for it. A ValueError if the loss or a weight becomes NaN or infinite.
    """
    processes = processes or Processes()
    n_epochs, n_batches = settings.n_epochs, math.ceil(len(dataset) / settings.batch_size)
    stop = bar = checkpoint = None
    if valid is not None:
        stop = EarlyStopping(settings.n_iter_no_change, settings.tol, n_epochs)
    if settings.verbose and processes.is_first:
        n_done = 0 if progress is None else len(progress["history"])
        summary = summary_of(module, dataset, settings, valid, n_done)
        bar = ProgressBar(summary, n_epochs, n_batches, stop)
    if save_progress is not None:
        checkpoint = Checkpoint(save_progress, stop)
    own_callbacks = [stop, *_schedules(settings, n_batches, stop), bar, checkpoint, tasks]
    own_callbacks = [callback for callback in own_callbacks if callback is not None]
    with nullcontext() if bar is None else closing(bar):
        net = build_net(module, settings, own_callbacks, processes)
        if progress is not None:
            restore_progress(net, progress, stop)
        with _training_session(net, dataset, valid):
            finished = progress is not None and progress["finished"]
            interrupted = _train_epochs(net, dataset, stop, tasks, finished)
    # A later `partial_fit` does not follow this schedule, and is alone. `tasks` holds the data.
    net.callbacks_ = [item for item in net.callbacks_ if item[1] not in own_callbacks]
    net.callbacks = list(settings.callbacks)
    net.processes = Processes()
    return net, interrupted


def _schedules(settings, n_batches, stop):
    """Callbacks that set the learning rate, and weights in the loss, for each step."""
    n_epochs = settings.n_epochs
    yield OneCycle(settings.learning_rate, n_epochs, n_batches, stop)
    if settings.beta_warmup:
        n_steps = settings.beta_warmup * n_epochs * n_batches
        yield Ramp("kl_weight_", 0.0, settings.beta, n_steps, n_batches)
    if settings.few_labels:
        n_steps = LABELLED_SHARE * n_epochs * n_batches
        yield Ramp("labelled_weight_", FIRST_LABELLED_WEIGHT, 1.0, n_steps, n_batches)


def _train_epochs(net, dataset, stop, tasks, finished):
    """Train until the last epoch, a callback or Ctrl-C; whether it was Ctrl-C."""
    stopped, interrupted = finished, False
    while not net.processes.any(stopped):
        if len(net.history) >= (net.settings.n_epochs if stop is None else stop.last_epoch):
            break
        stopped, interrupted = _train_epoch(net, dataset)
        stopped = stopped or (tasks is not None and tasks.stopped_)
    return interrupted


def _train_epoch(net, dataset):
    """Train for one epoch; whether a callback of skorch or Ctrl-C ended it, and whether Ctrl-C."""
    try:
        net.fit_loop(dataset, epochs=1)
    except KeyboardInterrupt:
        if _stopped_by_callback(net):
            return True, False
        if net.processes.size > 1 or _in_search():
            raise  # other processes are at another step
        return True, True
    return False, False


def summary_of(module, dataset, settings, valid, n_done):
    """What is about to be trained, in a line; a checkpoint holds `n_done` epochs."""
    shape = " x ".join(map(str, dataset.image_format.shape))
    n_weights = sum(parameter.numel() for parameter in module.parameters())
    n_batches = math.ceil(len(dataset) / settings.batch_size)
    images = f"{len(dataset):,} images of {shape}"
    if valid is not None:
        images += f" and {len(valid):,} to validate"
    channels = ", ".join(map(str, module.hidden_channels))
    stages = "stage" if len(module.hidden_channels) == 1 else "stages"
    network = f"{len(module.hidden_channels)} {stages} of {channels} channels"
    epochs = f"{'at most ' if valid is not None else ''}{settings.n_epochs} epochs"
    return (
        f"{settings.name}: {images}; {network}, {n_weights:,} weights; {epochs} of {n_batches:,} "
        f"steps of {min(settings.batch_size, len(dataset)):,} images"
        + (f"; continues after epoch {n_done}" if n_done else "")
    )


def as_if_ended(net):
    """A copy of a net in training, as if the training ended now; without callbacks."""
    ended = build_net(deepcopy(net.module_), replace(net.settings, callbacks=()))
    ended.history = deepcopy(net.history)
    for _, callback in net.callbacks_:
        if isinstance(callback, EarlyStopping):
            callback.on_train_end(ended)  # restores the best weights
    return ended


def train_increment(net, dataset, settings, moments=None, n_averaged=0):
    """Train a net for one more epoch, at a constant rate.

    The net is changed in place, or a copy of it if the device or the callbacks differ. Returns the
    net, the averages (3, K) of its components with what they have seen now, in how many images, and
    whether Ctrl-C ended the epoch. A ValueError if the loss or a weight becomes NaN or infinite.
    """
    old = net.settings
    if (settings.device, settings.callbacks) != (old.device, old.callbacks):
        optimizer_state = deepcopy(net.optimizer_.state_dict()["state"])
        net = build_net(deepcopy(net.module_), settings)
        net.optimizer_.load_state_dict({**net.optimizer_.state_dict(), "state": optimizer_state})
    net.apply_settings(settings)
    net.history.clear()
    statistics = RunningStatistics(moments, n_averaged)
    net.callbacks_.append(("running_statistics", statistics))
    try:
        with _weights_kept_on_error(net), _training_session(net, dataset, None):
            _, interrupted = _train_epoch(net, dataset)
    finally:
        net.callbacks_.pop()
    return net, statistics.moments, statistics.n_images, interrupted


def _in_search():
    """Whether a search or another run of many fits called this one, which would use its result."""
    frame = sys._getframe()
    while frame := frame.f_back:
        module = frame.f_globals.get("__name__", "")
        if any(module == name or module.startswith(f"{name}.") for name in SEARCHES):
            return True
    return False


def _stopped_by_callback(net):
    """Whether skorch's own EarlyStopping, a callback of the user, raised the KeyboardInterrupt."""
    return any(
        isinstance(callback, skorch.callbacks.EarlyStopping)
        and callback.misses_ >= callback.patience
        for _, callback in net.callbacks_
    )


@contextmanager
def _training_session(net, dataset, valid):
    """Tell the callbacks of begin and end; lend the validation images; check the weights."""
    net.train_split = None if valid is None else predefined_split(valid)
    net.notify("on_train_begin", X=dataset, y=None)
    try:
        yield
        net.notify("on_train_end", X=dataset, y=None)
    finally:
        net.train_split = None  # it would keep the training data alive
    # The loss of an epoch does not show what its last step did.
    if not all(parameter.isfinite().all() for parameter in net.module_.parameters()):
        raise ValueError(f"The weights became NaN or infinite. {ADVICE}")


@contextmanager
def _weights_kept_on_error(net):
    """Restore the weights of a net and Adam's moments after an exception."""
    stateful = net.module_, net.optimizer_
    kept = [deepcopy(part.state_dict()) for part in stateful]
    try:
        yield
    except BaseException:
        for part, state in zip(stateful, kept, strict=True):
            part.load_state_dict(state)
        raise


def sort_components(net, images, processes=None):
    """Sort the components of a net by their KL, descending.

    Returns their moments (3, K), and of how many images later ones are to take them.
    """
    moments = passes.component_moments(net.module_, images)
    moments = (processes or Processes()).of_first(moments)
    if not np.isfinite(moments).all():  # the last step can make the weights too large
        raise ValueError(f"The latent variables became NaN or infinite. {ADVICE}")
    order = np.argsort(-moments[0], kind="stable")
    reorder_net(net, order)
    return moments[:, order], WINDOW


def reorder_net(net, order):
    """Put the components of a net, and their moments in Adam, in an order (K,) of old places."""
    order = torch.from_numpy(order).to(net.device)
    net.module_.reorder_components(net.module_.state_dict(), order)
    states = {
        name: net.optimizer_.state[p]
        for name, p in net.module_.named_parameters()
        if p in net.optimizer_.state
    }
    for moment in ("exp_avg", "exp_avg_sq"):
        moments = {name: state[moment] for name, state in states.items()}
        net.module_.reorder_components(moments, order)
