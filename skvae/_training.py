"""Training of a network: loss, schedule, early stopping and history (torch, skorch)."""

import math
from copy import deepcopy
from functools import partial

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, EpochTimer, LRScheduler
from skorch.helper import predefined_split
from torch.optim.lr_scheduler import OneCycleLR
from tqdm.auto import tqdm  # a requirement of skorch

from ._batches import EpochBatches, PixelNoise, ScoringBatches
from ._elbo import elbo_terms
from ._network import as_arrays, as_tensors, reorder_components, set_weights

ADVICE = "Lower learning_rate, or give a pixel_range without outliers."

# What skorch's EarlyStopping counts.
EARLY_STOPPING = ("misses_", "dynamic_threshold_", "best_epoch_")

# Optimiser steps that `max_iter=None` aims at, and the bound that keeps tiny data instant.
N_STEPS, MAX_EPOCHS = 5_600, 200


def default_max_iter(n_samples, batch_size):
    """Epochs that make about 5,600 steps, between 1 and 200.

    Parameters
    ----------
    n_samples, batch_size : int

    Returns
    -------
    max_iter : int
    """
    n_batches = math.ceil(n_samples / batch_size)
    return min(MAX_EPOCHS, max(1, round(N_STEPS / n_batches)))


class ElboTerms(torch.nn.Module):
    """The criterion: `elbo_terms` of what the network returned.

    Parameters
    ----------
    likelihood : str
        A key of `LIKELIHOODS`.

    log_jacobian : float
        Of the scaling of the pixels; see `ImageFormat.log_jacobian`.
    """

    def __init__(self, likelihood, log_jacobian):
        super().__init__()
        self.likelihood = likelihood
        self.log_jacobian = log_jacobian

    def forward(self, output, x):
        return elbo_terms(self.likelihood, x, *output, log_jacobian=self.log_jacobian)


class VAENet(NeuralNet):
    """A skorch net that minimises the mean of -log p(x|z) + beta * KL over the images.

    `kl_weight_` stands in for beta in the steps of the optimiser; see `Warmup`.

    Parameters
    ----------
    *args, **kwargs
        As for `skorch.NeuralNet`.

    beta : float
        Weight of the KL term.

    noise : PixelNoise
        For scores.
    """

    def __init__(self, *args, beta, noise, **kwargs):
        super().__init__(*args, **kwargs)
        self.beta = self.kl_weight_ = beta
        self.noise = noise

    @property
    def _default_callbacks(self):
        return [("epoch_timer", EpochTimer())]

    def _set_training(self, training=True):
        """Leave the module alone: none of its layers differs in training."""

    def on_epoch_begin(self, net, **kwargs):
        super().on_epoch_begin(net, **kwargs)
        self.sums_ = {}

    def get_loss(self, y_pred, y_true, X=None, training=False):
        log_likelihood, kl = self.criterion_(y_pred, X["x"])
        # Sums over images, not means of batch means: the last batch may be short.
        sums = torch.stack([log_likelihood.detach().sum(), kl.detach().sum()]).cpu().double()
        n, before = self.sums_.get(training, (0, 0.0))
        self.sums_[training] = n + len(kl), before + sums
        return (self.kl_weight_ * kl - log_likelihood).mean()

    def on_epoch_end(self, net, **kwargs):
        super().on_epoch_end(net, **kwargs)
        for training, (n, sums) in self.sums_.items():
            prefix = "train" if training else "valid"
            log_likelihood, kl = (sums / n).tolist()
            loss = self.beta * kl - log_likelihood
            terms = {"loss": loss, "log_likelihood": log_likelihood, "kl": kl}
            for name, value in terms.items():
                self.history.record(f"{prefix}_{name}", value)
            if not math.isfinite(loss):
                images = "training" if training else "validation"
                raise ValueError(
                    f"The loss of the {images} images became {loss} in epoch "
                    f"{self.history[-1, 'epoch']}. {ADVICE}"
                )


class Warmup(Callback):
    """Let the weight of the KL term rise from 0 to beta, linearly; Bowman et al. (2016).

    Parameters
    ----------
    n_steps : float
        Steps of the optimiser until beta is reached.

    n_done : int
        Steps that were done before.
    """

    def __init__(self, n_steps, n_done):
        self.n_steps = n_steps
        self.n_done = n_done

    def on_batch_begin(self, net, training=False, **kwargs):
        if training:
            net.kl_weight_ = net.beta * min(1.0, self.n_done / self.n_steps)
            self.n_done += 1


class ProgressBar(Callback):
    """Show each finished epoch and its losses.

    Parameters
    ----------
    bar : tqdm.tqdm
    """

    def __init__(self, bar):
        self.bar = bar

    def on_epoch_end(self, net, **kwargs):
        losses = [name for name in ("train_loss", "valid_loss") if name in net.history[-1]]
        self.bar.set_postfix({name: f"{net.history[-1, name]:.2f}" for name in losses})
        self.bar.update()


class Checkpoint(Callback):
    """Hand on the whole progress of a training after each epoch.

    Parameters
    ----------
    save : callable
        Called with a dict of plain Python values and of dicts of arrays.

    early_stopping : skorch.callbacks.EarlyStopping or None
        Whose counts and best weights belong to the progress.
    """

    def __init__(self, save, early_stopping):
        self.save = save
        self.early_stopping = early_stopping

    def on_epoch_end(self, net, **kwargs):
        state = {name: net.optimizer_.state[p] for name, p in net.module_.named_parameters()}
        stop, best = self.early_stopping, None
        if stop is not None and stop.best_model_weights_ is not None:
            best = as_arrays(stop.best_model_weights_)
        group = net.optimizer_.param_groups[0]
        self.save(
            {
                "history": history_rows(net, 0),
                "weights": as_arrays(net.module_.state_dict()),
                "first_moments": as_arrays({k: s["exp_avg"] for k, s in state.items()}),
                "second_moments": as_arrays({k: s["exp_avg_sq"] for k, s in state.items()}),
                "rates": {name: float(group[name]) for name in group if name.endswith("lr")},
                "early_stopping": None
                if stop is None
                else {name: getattr(stop, name) for name in EARLY_STOPPING},
                "best": best,
            }
        )


def restore_progress(net, progress, n_steps):
    """Put a net where `Checkpoint` saw it: weights, optimiser, schedule and history.

    Parameters
    ----------
    net : VAENet
        Initialised.

    progress : dict

    n_steps : int
        Steps of the optimiser until then.
    """
    set_weights(net.module_, progress["weights"])
    optimizer, state = net.optimizer_, {}
    for i, (name, parameter) in enumerate(net.module_.named_parameters()):
        moments = {"step": torch.tensor(float(n_steps))}
        for key, part in (("exp_avg", "first_moments"), ("exp_avg_sq", "second_moments")):
            # In the memory format of the parameter, which the fused step takes for granted.
            moments[key] = torch.empty_like(parameter).copy_(torch.tensor(progress[part][name]))
        state[i] = moments
    groups = [{**group, **progress["rates"]} for group in optimizer.state_dict()["param_groups"]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for row in progress["history"]:
        net.history.new_epoch()
        for name, value in row.items():
            net.history.record("dur" if name == "duration" else name, value)


def build_net(
    module,
    *,
    likelihood,
    log_jacobian,
    beta,
    binarize,
    batch_size,
    learning_rate,
    seed,
    first_epoch,
    device,
    callbacks=(),
):
    """An initialised net around a network.

    Parameters
    ----------
    module : ConvVAE

    likelihood : str

    log_jacobian, beta, learning_rate : float

    binarize : bool

    batch_size, seed, first_epoch : int

    device : str

    callbacks : sequence of skorch callbacks

    Returns
    -------
    net : VAENet
    """
    noise = PixelNoise(module.n_components, seed)
    return VAENet(
        module,
        ElboTerms,
        criterion__likelihood=likelihood,
        criterion__log_jacobian=log_jacobian,
        beta=beta,
        noise=noise,
        optimizer=torch.optim.Adam,
        optimizer__betas=(0.9, 0.99),
        optimizer__fused=True,
        lr=learning_rate,
        batch_size=batch_size,
        iterator_train=partial(
            EpochBatches,
            n_components=module.n_components,
            seed=seed,
            first_epoch=first_epoch,
            binarize=binarize,
            device=device,
        ),
        iterator_valid=partial(ScoringBatches, noise=noise, device=device),
        train_split=None,
        callbacks=list(callbacks),
        device=device,
        verbose=0,
    ).initialize()


def train(
    module,
    dataset,
    *,
    n_epochs,
    valid=None,
    one_cycle=True,
    beta_warmup=0.0,
    optimizer=None,
    progress=None,
    save_progress=None,
    patience=None,
    tol=0.0,
    verbose=0,
    callbacks=(),
    **net_params,
):
    """Train a network in place.

    Parameters
    ----------
    module : ConvVAE
        With its weights set.

    dataset : ImageDataset

    n_epochs : int

    valid : ImageDataset, default=None
        Images to validate on after each epoch; with them, training stops early and the best
        weights are restored.

    one_cycle : bool, default=True
        Whether the learning rate rises to its peak and falls again over the epochs; else it
        stays at the peak.

    beta_warmup : float, default=0.0
        Share of the steps over which the weight of the KL term rises to beta.

    optimizer : torch.optim.Optimizer, default=None
        Whose running moments to go on from.

    progress : dict, default=None
        What `save_progress` was last called with, to go on from there.

    save_progress : callable, default=None
        Called with the whole progress after each epoch.

    patience : int, default=None
        Epochs without a gain of `tol` nats in validation that end the training.

    tol : float, default=0.0

    verbose : int, default=0

    callbacks : sequence of skorch callbacks, default=()
        Run after those that the training itself needs.

    **net_params
        As for `build_net`.

    Returns
    -------
    net : VAENet

    interrupted : bool
        Whether Ctrl-C ended the training.

    Raises
    ------
    ValueError
        If the loss becomes NaN or infinite.
    """
    n_batches = math.ceil(len(dataset) / net_params["batch_size"])
    n_done = 0 if progress is None else len(progress["history"])
    own, stop = [], None
    if valid is not None:
        stop = EarlyStopping(
            "valid_loss", patience, threshold=tol, threshold_mode="abs", load_best=True
        )
        own.append(stop)
    n_steps, n_steps_done = n_epochs * n_batches, n_done * n_batches
    if one_cycle:
        own.append(_one_cycle(net_params["learning_rate"], n_steps, n_steps_done))
    if beta_warmup:
        own.append(Warmup(beta_warmup * n_steps, n_steps_done))
    if save_progress is not None:
        own.append(Checkpoint(save_progress, stop))
    with tqdm(
        total=n_epochs, initial=n_done, desc="ConvVAETransformer", unit="epoch", disable=not verbose
    ) as bar:
        net = build_net(module, callbacks=[*own, ProgressBar(bar), *callbacks], **net_params)
        if optimizer is not None:
            moments = deepcopy(optimizer.state_dict()["state"])
            net.optimizer_.load_state_dict({**net.optimizer_.state_dict(), "state": moments})
        if progress is not None:
            restore_progress(net, progress, n_steps_done)
        net.train_split = None if valid is None else predefined_split(valid)
        net.notify("on_train_begin", X=dataset, y=None)
        if progress is not None and stop is not None:
            vars(stop).update(progress["early_stopping"])
            if progress["best"] is not None:
                stop.best_model_weights_ = as_tensors(progress["best"])
        try:
            net.fit_loop(dataset, epochs=n_epochs - n_done)
            interrupted = False
        except KeyboardInterrupt:
            # skorch's EarlyStopping, ours or the caller's, stops by the same exception.
            interrupted = not any(
                isinstance(callback, EarlyStopping) and callback.misses_ >= callback.patience
                for _, callback in net.callbacks_
            )
        net.notify("on_train_end", X=dataset, y=None)
        net.train_split = None  # it would keep the training data alive
    # The loss of an epoch does not know what its last step did.
    if not all(parameter.isfinite().all() for parameter in module.parameters()):
        raise ValueError(f"The weights became NaN or infinite. {ADVICE}")
    return net, interrupted


def _one_cycle(max_lr, n_steps, n_done):
    """The schedule of so many steps, of which some are done; Smith & Topin, arXiv:1708.07120."""
    return LRScheduler(
        OneCycleLR,
        step_every="batch",
        event_name=None,
        cycle_momentum=False,
        max_lr=max_lr,
        total_steps=n_steps + 1,  # torch counts the rate after the last step too
        last_epoch=n_done - 1,
    )


def reorder_net(net, order):
    """Put the components of a net in another order: its weights and Adam's moments of them.

    Parameters
    ----------
    net : VAENet

    order : ndarray of shape (K,)
        Old places of the components.
    """
    order = torch.from_numpy(order).to(net.device)
    reorder_components(net.module_.state_dict(), order)
    states = {
        name: net.optimizer_.state[p]
        for name, p in net.module_.named_parameters()
        if p in net.optimizer_.state
    }
    if states:  # no step, no moments
        for moment in ("exp_avg", "exp_avg_sq"):
            reorder_components({name: state[moment] for name, state in states.items()}, order)


def history_rows(net, first_epoch):
    """The finished epochs of a net as plain dicts.

    Parameters
    ----------
    net : VAENet

    first_epoch : int
        Epochs before those of this net.

    Returns
    -------
    rows : list of dict
        Keys ``epoch``, ``train_loss``, ``train_log_likelihood``, ``train_kl``, with
        validation the same with ``valid_``, in nats per image, and ``duration`` in seconds.
    """
    rows = []
    for record in net.history:
        if "dur" in record:
            terms = {
                f"{phase}_{name}": record[f"{phase}_{name}"]
                for phase in ("train", "valid")
                for name in ("loss", "log_likelihood", "kl")
                if f"{phase}_{name}" in record
            }
            epoch = first_epoch + record["epoch"]
            rows.append({"epoch": epoch, **terms, "duration": record["dur"]})
    return rows
