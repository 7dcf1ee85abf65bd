"""Training of a network: the loss, the steps that minimise it, and its history (torch, skorch)."""

import math
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import skorch.callbacks
import torch
from skorch.helper import predefined_split
from tqdm.auto import tqdm

from ._batches import EPOCH, EpochBatches, PixelNoise, ScoringBatches, generator_for
from ._callbacks import (
    Checkpoint,
    EarlyStopping,
    OneCycle,
    ProgressBar,
    RunningStatistics,
    Warmup,
    restore_progress,
)
from ._devices import sum_dtype
from ._elbo import (
    MIN_NOISE_VARIANCE,
    cautious_noise,
    elbo_terms,
    noise_variance,
    normal_log_density,
)
from ._history import PHASES
from ._network import reorder_components

ADVICE = "Lower learning_rate, or give a pixel_range without outliers."

# Largest norm of the gradient of a network with a linear path, for each number in an image.
MAX_GRADIENT = 0.3

# Weight of a batch in the running mean of the squared error, which is the noise variance.
NOISE_UPDATE_SHARE = 0.02

# With max_iter=None: steps of the optimiser to aim at, and the largest number of epochs.
N_STEPS, MAX_DEFAULT_EPOCHS = 5_600, 200


def default_max_iter(n_samples, batch_size):
    """Number of epochs with about 5,600 steps, but from 1 to 200.

    Parameters
    ----------
    n_samples, batch_size : int

    Returns
    -------
    max_iter : int
    """
    n_batches = math.ceil(n_samples / batch_size)
    return min(MAX_DEFAULT_EPOCHS, max(1, round(N_STEPS / n_batches)))


@dataclass(frozen=True)
class TrainSettings:
    """What a training depends on, besides the network and the images.

    Parameters
    ----------
    likelihood : str
        A key of `LIKELIHOODS`.

    log_jacobian : float
        Of the scaling of the pixels; see `ImageFormat.log_jacobian`.

    beta, beta_warmup, learning_rate, weight_decay, tol : float

    binarize : bool

    batch_size, n_epochs, n_iter_no_change : int

    seed : int
        Seeds the noise and the order of the images.

    first_epoch : int
        Number of epochs before this training. Each epoch has its own noise.

    device : str

    verbose : int

    name : str
        Name of the estimator, for the progress bar.

    callbacks : tuple of skorch callbacks
        The user's.
    """

    likelihood: str
    log_jacobian: float
    beta: float
    beta_warmup: float
    learning_rate: float
    weight_decay: float
    tol: float
    binarize: bool
    batch_size: int
    n_epochs: int
    n_iter_no_change: int
    seed: int
    first_epoch: int
    device: str
    verbose: int
    name: str
    callbacks: tuple = ()


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

    def forward(self, output, x, training):
        logits, mu, logvar, noise_logvar = output
        if training and noise_logvar is not None:
            noise_logvar = cautious_noise(noise_logvar, logits, x)
        jacobian = self.log_jacobian
        return elbo_terms(
            self.likelihood, x, logits, mu, logvar, noise_logvar, log_jacobian=jacobian
        )


class VAENet(skorch.NeuralNet):
    """A skorch net that minimises the mean of -log p(x|z) + beta * KL over the images.

    The steps of the optimiser use `kl_weight_` instead of beta; see `Warmup`.

    Parameters
    ----------
    *args, **kwargs
        As for `skorch.NeuralNet`.

    settings : TrainSettings
    """

    def __init__(self, *args, settings, **kwargs):
        super().__init__(*args, **kwargs)
        self.settings = settings
        self.noise = PixelNoise(self.module.n_components, settings.seed)

    def initialize(self):
        super().initialize()
        self.apply_settings(self.settings)
        return self

    def apply_settings(self, settings):
        """Replace the settings by others with the same device and callbacks.

        Parameters
        ----------
        settings : TrainSettings
        """
        self.settings = settings
        self.beta = self.kl_weight_ = settings.beta
        for group in self.optimizer_.param_groups:
            group["lr"], group["weight_decay"] = settings.learning_rate, settings.weight_decay

    @property
    def _default_callbacks(self):
        callbacks = [("epoch_timer", skorch.callbacks.EpochTimer())]
        if self.module.linear is not None:
            bound = MAX_GRADIENT * math.prod(self.module.image_shape)
            callbacks.append(("clip", skorch.callbacks.GradientNormClipping(bound)))
        return callbacks

    def _set_training(self, training=True):
        """Do nothing: no layer of the network behaves differently in training."""

    def get_iterator(self, dataset, training=False):
        settings = self.settings
        if not training:
            return ScoringBatches(dataset, self.noise, settings.device)
        epoch = settings.first_epoch + len(self.history)
        return EpochBatches(
            dataset,
            settings.batch_size,
            self.module_.n_components,
            generator_for(settings.seed, EPOCH, epoch),
            settings.binarize,
            settings.device,
        )

    def on_epoch_begin(self, net, **kwargs):
        super().on_epoch_begin(net, **kwargs)
        self.sums_ = {}

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        # As in skorch, but without reading the loss of each batch, which would wait for a GPU.
        for batch in iterator or ():
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            self.notify("on_batch_end", batch=batch, training=training, **step)

    def train_step_single(self, batch, **fit_params):
        """Add the gradient of the mean loss of a batch, part by part to limit the memory.

        Returns the loss, and as ``y_pred`` the posterior of the batch: mu and log sigma^2.
        """
        batch, _ = batch
        loss, error, posteriors = 0.0, 0.0, []
        for part in batch:
            part_loss, part_error, posterior = self._loss(part, len(batch), training=True)
            part_loss.backward()
            loss, error = loss + part_loss.detach(), error + part_error
            posteriors.append(posterior)
        if self.train_split is None:
            self._update_noise(error)
        posterior = [torch.cat(parts) for parts in zip(*posteriors, strict=True)]
        return {"loss": loss, "y_pred": posterior}

    @torch.no_grad()
    def validation_step(self, batch, **fit_params):
        batch, _ = batch
        (part,) = batch
        loss, _, posterior = self._loss(part, len(batch), training=False)
        return {"loss": loss, "y_pred": posterior}

    def _loss(self, part, n_images, *, training):
        """Loss and squared error of a part of a batch, and its posterior.

        Both are sums over the images of the part, divided by the number of images in the batch. So
        those of all parts add up to the means of the batch. The loss of an image is
        beta * KL - log p(x|z).
        """
        x, output = part["x"], self.infer(part)
        log_likelihood, kl = self.criterion_(output, x, training)
        error = torch.zeros_like(kl)
        if self.module_.noise_logvar is not None:
            error = (x - output[0].detach()).square().flatten(1).mean(1)
        terms, dtype = (log_likelihood, kl, error), sum_dtype(kl.device)
        # Sums over images, not means of batch means: the last batch may be short.
        sums = torch.stack([term.detach().sum(dtype=dtype) for term in terms])
        n, before = self.sums_.get(training, (0, 0.0))
        self.sums_[training] = n + len(kl), before + sums
        loss = (self.kl_weight_ * kl - log_likelihood).sum() / n_images
        return loss, error.sum() / n_images, [output[1].detach(), output[2].detach()]

    @torch.no_grad()
    def _update_noise(self, error):
        """Set the noise to a running mean of the squared error; used without images set aside."""
        noise_logvar = self.module_.noise_logvar
        if noise_logvar is not None:
            noise_logvar.copy_(
                torch.lerp(noise_variance(noise_logvar), error, NOISE_UPDATE_SHARE).log()
            )

    @torch.no_grad()
    def _measure_noise(self):
        """Set the noise to the larger squared error, of training or of validation images.

        The training error is too small if the network has fitted the noise of these images. The
        validation error is too small if the few images set aside happen to be easy.

        Returns the mean log-likelihood of the validation images.
        """
        errors = {key: sums[2].item() / n for key, (n, sums) in self.sums_.items()}
        noise_logvar = self.module_.noise_logvar
        noise_logvar.fill_(math.log(max(*errors.values(), MIN_NOISE_VARIANCE)))
        error = torch.tensor(errors[False], dtype=torch.float64, device="cpu")
        variance = noise_variance(noise_logvar.cpu().double())
        n_numbers = math.prod(self.module_.image_shape)
        log_density = normal_log_density(error, variance).item()
        return n_numbers * log_density + self.settings.log_jacobian

    def on_epoch_end(self, net, **kwargs):
        super().on_epoch_end(net, **kwargs)
        for training, (n, sums) in self.sums_.items():
            prefix = PHASES[0 if training else 1]
            log_likelihood, kl, _ = (total / n for total in sums.tolist())
            if not training and self.module_.noise_logvar is not None:
                log_likelihood = self._measure_noise()
            loss = self.beta * kl - log_likelihood
            terms = {"loss": loss, "log_likelihood": log_likelihood, "kl": kl}
            for name, value in terms.items():
                self.history.record(f"{prefix}_{name}", value)
            if not math.isfinite(loss):
                images = "training" if training else "validation"
                epoch = self.settings.first_epoch + len(self.history)
                raise ValueError(
                    f"The loss of the {images} images became {loss} in epoch {epoch}. {ADVICE}"
                )


def build_net(module, settings, callbacks=()):
    """An initialised skorch net that trains a network.

    Parameters
    ----------
    module : ConvVAE

    settings : TrainSettings

    callbacks : sequence of skorch callbacks

    Returns
    -------
    net : VAENet
    """
    return VAENet(
        module,
        ElboTerms,
        criterion__likelihood=settings.likelihood,
        criterion__log_jacobian=settings.log_jacobian,
        settings=settings,
        optimizer=torch.optim.AdamW,
        optimizer__betas=(0.9, 0.99),
        optimizer__fused=True,
        train_split=None,
        callbacks=list(callbacks),
        device=settings.device,
        verbose=0,
    ).initialize()


def train(module, dataset, settings, *, valid=None, progress=None, save_progress=None):
    """Train a network in place, from the first to the last epoch of a one-cycle schedule.

    Parameters
    ----------
    module : ConvVAE
        Its weights must be set.

    dataset : ImageDataset

    settings : TrainSettings

    valid : ImageDataset, default=None
        Images to validate on after each epoch. With them, training stops early and the best
        weights are restored.

    progress : dict, default=None
        What `save_progress` was last called with, to continue from there.

    save_progress : callable, default=None
        Called with the progress after each epoch.

    Returns
    -------
    net : VAENet

    interrupted : bool
        Whether Ctrl-C ended the training.

    Raises
    ------
    ValueError
        If the loss or a weight becomes NaN or infinite.
    """
    n_epochs, n_batches = settings.n_epochs, math.ceil(len(dataset) / settings.batch_size)
    n_done = 0 if progress is None else len(progress["history"])
    stop = None
    if valid is not None:
        stop = EarlyStopping(settings.n_iter_no_change, settings.tol, n_epochs)
    bar = tqdm(
        total=n_epochs,
        initial=n_done,
        desc=settings.name,
        unit="epoch",
        disable=not settings.verbose,
    )
    one_cycle = OneCycle(settings.learning_rate, n_epochs, n_batches, stop)
    own_callbacks = [*([] if stop is None else [stop]), one_cycle, ProgressBar(bar)]
    if settings.beta_warmup:
        own_callbacks.append(Warmup(settings.beta_warmup * n_epochs * n_batches, n_batches))
    if save_progress is not None:
        own_callbacks.append(Checkpoint(save_progress, stop))
    with bar:
        net = build_net(module, settings, [*own_callbacks, *settings.callbacks])
        if progress is not None:
            restore_progress(net, progress, stop)
        with _training_session(net, dataset, valid):
            interrupted = False
            try:
                while len(net.history) < (n_epochs if stop is None else stop.last_epoch):
                    net.fit_loop(dataset, epochs=1)
            except KeyboardInterrupt:
                interrupted = not _stopped_by_callback(net)
    # A later `partial_fit` does not follow this schedule.
    net.callbacks_ = [item for item in net.callbacks_ if item[1] not in own_callbacks]
    return net, interrupted


def train_increment(net, dataset, settings, moments):
    """Train a net for one more epoch, at a constant rate.

    Parameters
    ----------
    net : VAENet
        Changed in place. A copy is changed instead if the device or the callbacks differ.

    dataset : ImageDataset

    settings : TrainSettings

    moments : ndarray of shape (3, K) or None
        As for `RunningStatistics`.

    Returns
    -------
    net : VAENet

    interrupted : bool
        Whether Ctrl-C ended the epoch.

    moments : ndarray of shape (3, K) or None
        Updated. None: the epoch ended before its first batch did.

    Raises
    ------
    ValueError
        If the loss or a weight becomes NaN or infinite.
    """
    statistics = RunningStatistics(moments)
    old = net.settings
    if (settings.device, settings.callbacks) != (old.device, old.callbacks):
        optimizer_state = deepcopy(net.optimizer_.state_dict()["state"])
        net = build_net(deepcopy(net.module_), settings, settings.callbacks)
        net.optimizer_.load_state_dict({**net.optimizer_.state_dict(), "state": optimizer_state})
    net.apply_settings(settings)
    net.history.clear()
    net.callbacks_.append(("running_statistics", statistics))
    interrupted = False
    try:
        with _weights_kept_on_error(net), _training_session(net, dataset, None):
            try:
                net.fit_loop(dataset, epochs=1)
            except KeyboardInterrupt:
                interrupted = not _stopped_by_callback(net)
    finally:
        net.callbacks_.pop()
    return net, interrupted, statistics.moments


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
    parameters, optimizer = list(net.module_.parameters()), net.optimizer_
    weights = net.module_.state_dict()  # buffers too, such as the noise
    kept = {name: weight.clone() for name, weight in weights.items()}
    state = {
        parameter: {name: value.clone() for name, value in optimizer.state[parameter].items()}
        for parameter in parameters
        if parameter in optimizer.state
    }
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(kept[name])
        optimizer.state.clear()
        optimizer.state.update(state)
        raise


def reorder_net(net, order):
    """Reorder the components of a net: its weights, and their moments in Adam.

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
    if states:  # empty before the first step
        for moment in ("exp_avg", "exp_avg_sq"):
            reorder_components({name: state[moment] for name, state in states.items()}, order)
