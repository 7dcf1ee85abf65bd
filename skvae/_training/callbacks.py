"""Callbacks of training: rate, warm-up, early stopping, statistics, bar, checkpoint (skorch)."""

import math
import sys

import skorch.callbacks
import torch
from skorch.callbacks import Callback
from tqdm.auto import tqdm
from tqdm.std import tqdm as plain_tqdm

from .._history import EXPLAINED, PHASES, row_of
from .._model import as_arrays, passes, set_weights, sum_dtype

# The one-cycle schedule, with the defaults of torch's OneCycleLR: share of the steps in which the
# rate rises; first and last rate, as shares of the peak.
RISE, FIRST_RATE, LAST_RATE = 0.3, 1 / 25, 1 / 250_000

# Length of the cool-down of early stopping, as a share of the epochs before it.
COOLDOWN = 0.2

# Images over which `partial_fit` averages its running statistics.
WINDOW = 2_048

# Columns of a terminal that hold all figures beside the bar; what differs from tqdm's defaults in a
# terminal, and in a log, which gets a line every 30 seconds.
WIDE = 120

TERMINAL_STYLE = {}
LOG_STYLE = {"mininterval": 30, "maxinterval": 30, "ascii": True}

# skorch's callbacks that would do nothing, or something else than they say, and why.
SCORING = (
    "a batch gives mu and log sigma^2, which are no predictions. Score each epoch by "
    "scikit-learn's ScoringMonitor, which set_callbacks takes."
)

REFUSED = {
    "LRScheduler": "the fit sets the rate of each step. Set learning_rate, which is its peak.",
    "EpochScoring": SCORING,
    "BatchScoring": SCORING,
    "PassthroughScoring": SCORING,
    "ProgressBar": "losses of single batches are not recorded. Set verbose=1, which shows a bar.",
    "LoadInitState": "it would replace weights and history. Set checkpoint, or warm_start=True.",
    "InputShapeSetter": "the network has the shape of the images. Remove it.",
}


def check_callbacks(callbacks, validates):
    """Refuse callbacks of skorch that cannot work, by a ValueError that says what to do instead.

    They are objects or classes, or pairs of a name and one of these. A TypeError for anything else.
    `validates` says whether there is a validation loss.
    """
    for item in callbacks:
        callback = item[1] if isinstance(item, (tuple, list)) else item
        cls = callback if isinstance(callback, type) else type(callback)
        name = cls.__name__
        if not issubclass(cls, Callback):
            raise TypeError(
                f"callbacks has {name}, which is not derived from skorch.callbacks.Callback. "
                "Callbacks of scikit-learn are set by set_callbacks instead."
            )
        callback = callback() if isinstance(callback, type) else callback
        for refused, reason in REFUSED.items():
            if isinstance(callback, getattr(skorch.callbacks, refused)):
                raise ValueError(f"callbacks has {name}, which does not work here: {reason}")
        if getattr(callback, "log_on_batch_end", False):
            raise ValueError(
                f"callbacks has {name} with log_on_batch_end=True, but losses of single batches "
                "are not recorded. Set log_on_batch_end=False."
            )
        monitor = getattr(callback, "monitor", None)
        if isinstance(callback, skorch.callbacks.WandbLogger) and callback.save_model:
            monitor = "valid_loss_best"
        if not validates and isinstance(monitor, str) and monitor.startswith("valid_"):
            raise ValueError(
                f"callbacks has {name}, which needs {monitor}, but no images are set aside. Set "
                "early_stopping=True, or let it go by another value such as train_loss."
            )


def one_cycle(share):
    """Learning rate after a share of the steps, as a share of its peak; arXiv:1708.07120.

    >>> [round(one_cycle(share), 3) for share in (0, 0.3, 0.65, 1)]
    [0.04, 1.0, 0.5, 0.0]
    """
    if share < RISE:
        start, end, position = FIRST_RATE, 1.0, share / RISE
    else:
        start, end, position = 1.0, LAST_RATE, (share - RISE) / (1 - RISE)
    return end + (start - end) * (1 + math.cos(math.pi * position)) / 2


class Schedule(Callback):
    """Values of the training steps: ``set_for(net, step)`` is called before each; 0 is the first.

    A subclass has the attribute `n_batches`, of an epoch.
    """

    def on_epoch_begin(self, net, **kwargs):
        self.step_ = (len(net.history) - 1) * self.n_batches

    def on_batch_begin(self, net, training=False, **kwargs):
        if training:
            self.set_for(net, self.step_)
            self.step_ += 1


class OneCycle(Schedule):
    """Set the learning rate of each step by `one_cycle`, or by the cool-down of early stopping."""

    def __init__(self, peak, n_epochs, n_batches, early_stopping):
        self.peak = peak
        self.n_epochs = n_epochs
        self.n_batches = n_batches
        self.early_stopping = early_stopping

    def set_for(self, net, step):
        for group in net.optimizer_.param_groups:
            group["lr"] = self.rate(step / self.n_batches)

    def rate(self, epoch):
        """The rate after a number of epochs, which may be a fraction."""
        stop = self.early_stopping
        if stop is None or stop.cooldown_ is None:
            return self.peak * one_cycle(epoch / self.n_epochs)
        start, end = stop.cooldown_, stop.last_epoch
        return self.peak * one_cycle(start / self.n_epochs) * (end - epoch) / (end - start)


class Ramp(Schedule):
    """Let a weight in the loss, an attribute of the net, go from `start` to `end` in `n_steps`.

    That of the KL rises from 0 to beta; Bowman et al. (2016).
    """

    def __init__(self, name, start, end, n_steps, n_batches):
        self.name = name
        self.start = start
        self.end = end
        self.n_steps = n_steps
        self.n_batches = n_batches

    def set_for(self, net, step):
        share = min(1.0, step / self.n_steps)
        setattr(net, self.name, self.start + share * (self.end - self.start))


class EarlyStopping(Callback):
    """Watch the validation loss, end the training when it stalls, and restore the best weights.

    In the middle of a schedule the learning rate is high, and the loss is far above its value at
    the end. So a stalled loss does not end the training at once. After `patience` epochs in which
    it has not fallen by `tol`, in nats per image, a cool-down starts, in which the rate falls to 0.
    The epochs in which the loss rises from its very start do not count: classes first disturb a
    network that starts at PCA, and `beta_warmup` lets the KL grow.
    """

    def __init__(self, patience, tol, n_epochs):
        self.patience = patience
        self.tol = tol
        self.n_epochs = n_epochs

    def initialize(self):
        self.best_loss_ = self.reference_loss_ = math.inf
        self.epoch_ = self.reference_epoch_ = 0
        self.last_loss_, self.rises_ = -math.inf, True  # the loss, in each epoch so far
        self.cooldown_ = None  # the epoch after which the cool-down begins
        self.best_weights_ = None
        return self

    def on_epoch_end(self, net, **kwargs):
        if self._watch(net.history[-1, "valid_loss"]):
            self.best_weights_ = as_arrays(net.module_.state_dict())

    def _watch(self, loss):
        """Take note of the loss of an epoch; whether it is the best so far."""
        self.epoch_ += 1
        self.rises_ = self.rises_ and loss > self.last_loss_
        self.last_loss_ = loss
        if self.rises_ or loss < self.reference_loss_ - self.tol:
            self.reference_loss_, self.reference_epoch_ = loss, self.epoch_
        if self.cooldown_ is None and self.epoch_ - self.reference_epoch_ >= self.patience:
            self.cooldown_ = self.epoch_
        is_best = loss < self.best_loss_
        self.best_loss_ = min(loss, self.best_loss_)
        return is_best

    def on_train_end(self, net, **kwargs):
        if self.best_weights_ is not None:
            set_weights(net.module_, self.best_weights_)

    @property
    def last_epoch(self):
        """The last epoch of the training, unless a cool-down starts later."""
        if self.cooldown_ is None:
            return self.n_epochs
        return min(self.n_epochs, self.cooldown_ + math.ceil(COOLDOWN * self.cooldown_))

    def restore(self, losses, best_weights):
        """Continue after epochs with these losses, the best of which had these weights."""
        for loss in losses:
            self._watch(loss)
        self.best_weights_ = best_weights


class RunningStatistics(Callback):
    """Running averages of the `component_terms` of training images: (3, K), of `n_images` so far.

    They use the posteriors of the training steps, so they need no pass of their own. A batch of n
    images has the weight n / 2,048, and the average so far has the rest. At the very start, the
    first 2,048 images have equal weights, in one call of `partial_fit` or in many.
    """

    def __init__(self, moments=None, n_images=0):
        self._moments = None if moments is None else torch.tensor(moments, device="cpu")
        self.n_images = n_images

    def on_batch_end(self, net, training=False, y_pred=None, **kwargs):
        if training:
            with torch.no_grad():
                terms = passes.component_terms(net.module_, *y_pred)
            # Kept on the device, so that the CPU need not wait for it.
            new = torch.stack([term.mean(0, dtype=sum_dtype(term.device)) for term in terms])
            n_images = len(terms[0])
            self.n_images = min(WINDOW, self.n_images + n_images)
            share = min(1.0, n_images / self.n_images)
            before = new if self._moments is None else self._moments.to(new)
            self._moments = before + share * (new - before)

    @property
    def moments(self):
        """The averages as an ndarray of shape (3, K), float64; None if there are none."""
        return None if self._moments is None else self._moments.cpu().double().numpy()


class ProgressBar(Callback):
    """Show the steps of a training, the time left, and the figures of the last finished epoch.

    In a terminal and in a notebook the bar moves. A file, such as a log, gets a line now and then.
    The `summary` is written before the first step.
    """

    def __init__(self, summary, n_epochs, n_batches, early_stopping):
        self.summary = summary
        self.n_epochs = n_epochs
        self.n_batches = n_batches
        self.early_stopping = early_stopping
        self.bar = None

    def on_train_begin(self, net, **kwargs):
        self.bar = tqdm(
            total=self.n_epochs * self.n_batches,
            initial=len(net.history) * self.n_batches,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            smoothing=0,  # the time left follows from all steps so far
            miniters=1,
            delay=1e-9,  # nothing is shown before the summary
            **(TERMINAL_STYLE if bar_moves() else LOG_STYLE | {"file": LogLines(sys.stderr)}),
        )
        self._describe(min(len(net.history) + 1, self.n_epochs))
        # Where the bar is: a notebook shows it in its output, not among the errors.
        self.bar.write(self.summary, file=self.bar.fp)
        self.bar.delay = 0  # else a short training would end without its figures

    def on_epoch_begin(self, net, **kwargs):
        self._describe(len(net.history))

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.bar.update()

    def on_epoch_end(self, net, **kwargs):
        self._show(net.history[-1])
        if self.early_stopping is not None:
            self.bar.total = self.early_stopping.last_epoch * self.n_batches

    def on_train_end(self, net, **kwargs):
        epochs = [record for record in net.history if "dur" in record]
        if epochs and self.early_stopping is not None:
            best = min(epochs, key=lambda record: record["valid_loss"])
            self.bar.set_description_str(f"epoch {best['epoch']}, best of {len(epochs)}", False)
            self._show(best)
        if self.bar.n == len(epochs) * self.n_batches:  # not if Ctrl-C ended it within an epoch
            self.bar.total = self.bar.n
        self.close()

    def close(self):
        """Leave the bar as it is, also after an error."""
        if self.bar is not None:
            self.bar.close()

    def _describe(self, epoch):
        stop = self.early_stopping
        last = self.n_epochs if stop is None else stop.last_epoch
        may_end_earlier = stop is not None and stop.cooldown_ is None
        text = f"epoch {epoch}/{last}{' at most' if may_end_earlier else ''}"
        self.bar.set_description_str(text, refresh=False)

    def _show(self, record):
        """Show the figures of an epoch; in a narrow terminal only the last, which tell most."""
        figures = []
        for phase in PHASES:
            loss, share = (record.get(f"{phase}_{term}") for term in ("loss", EXPLAINED))
            if loss is not None:
                # An epoch in a checkpoint of an older version has no share.
                explained = "" if share is None else f", explained {share:.1%}"
                figures.append(f"{phase} loss {loss:.2f}{explained}")
        if self.bar.ncols and self.bar.ncols < WIDE:
            figures = figures[-1:]
        self.bar.set_postfix_str("; ".join(figures), refresh=False)


class LogLines:
    """A text stream on which each state of a bar is a line of its own."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        """Write what there is to see of a text, as a line."""
        if text.strip():
            self.stream.write(text.strip() + "\n")

    def flush(self):
        """Flush the stream."""
        self.stream.flush()


def bar_moves():
    """Whether a bar is drawn over itself: in a terminal or in a notebook."""
    in_notebook = tqdm.display is not plain_tqdm.display
    return in_notebook or sys.stderr.isatty()


class Checkpoint(Callback):
    """Give the progress of a training to a function after each epoch.

    It is what `restore_progress` takes, plain values and arrays, but with the last ``epoch`` for
    the whole ``history``.
    """

    def __init__(self, save, early_stopping):
        self.save = save
        self.early_stopping = early_stopping

    def on_epoch_end(self, net, **kwargs):
        parameters = dict(net.module_.named_parameters())
        # Frozen parameters have no moments.
        moments = net.optimizer_.state
        state = {k: moments[p] for k, p in parameters.items() if p in moments}
        stop = self.early_stopping
        self.save(
            {
                "epoch": row_of(net.history[-1]),
                "weights": as_arrays(net.module_.state_dict()),
                "first_moments": as_arrays({k: s["exp_avg"] for k, s in state.items()}),
                "second_moments": as_arrays({k: s["exp_avg_sq"] for k, s in state.items()}),
                "n_steps": {k: int(s["step"].item()) for k, s in state.items()},
                "frozen": [k for k, p in parameters.items() if not p.requires_grad],
                "best": None if stop is None else stop.best_weights_,
            }
        )


def restore_progress(net, progress, early_stopping):
    """Restore an initialised net to the progress that `Checkpoint` saved."""
    set_weights(net.module_, progress["weights"])
    optimizer, state = net.optimizer_, {}
    for i, (name, parameter) in enumerate(net.module_.named_parameters()):
        parameter.requires_grad_(name not in progress["frozen"])
        if name in progress["n_steps"]:
            # In the memory format of the parameter, as the fused step of AdamW requires.
            exp_avg, exp_avg_sq = (
                torch.empty_like(parameter).copy_(torch.tensor(progress[key][name], device="cpu"))
                for key in ("first_moments", "second_moments")
            )
            n_steps = float(progress["n_steps"][name])
            step = torch.tensor(n_steps, dtype=torch.float32, device="cpu")
            state[i] = {"step": step, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    for epoch, row in enumerate(progress["history"], 1):
        net.history.new_epoch()
        net.history.record("epoch", epoch)
        for name, value in row.items():
            net.history.record("dur" if name == "duration" else name, value)
    if early_stopping is not None:
        early_stopping.restore(net.history[:, "valid_loss"], progress["best"])
