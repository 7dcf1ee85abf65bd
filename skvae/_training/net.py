"""The net of skorch: what a training depends on, the loss of a step, its noise (torch, skorch)."""

import math
from dataclasses import dataclass

import numpy as np
import skorch.callbacks
import torch

from .._history import EXPLAINED, LABEL_TERMS, PHASES
from .._model import (
    EPOCH,
    LIKELIHOODS,
    MIN_NOISE_VARIANCE,
    ExplainedVariance,
    PixelNoise,
    cautious_noise,
    elbo_terms,
    generator_for,
    image_jacobian,
    label_losses,
    noise_variance,
    normal_log_density,
    squared_errors,
    sum_dtype,
    undecided_losses,
)
from .batches import N_LABELLED, EpochBatches, ScoringBatches
from .processes import Processes

ADVICE = "Lower learning_rate, or give a pixel_range without outliers."


# Largest norm of the gradient of a network with a linear path, for each number in an image.
MAX_GRADIENT = 0.3


# Weight of a batch in the running mean of the squared error, which is the noise variance.
NOISE_UPDATE_SHARE = 0.02


# Images of an epoch, spread over its steps, that tell the share of the variance explained. More
# would cost more than a hundredth of the time of small networks.
MAX_MEASURED = 1_024


@dataclass(frozen=True)
class TrainSettings:
    """What a training depends on, besides the network and the images.

    Parameters
    ----------
    likelihood : str
        A key of `LIKELIHOODS`.

    log_jacobian : tuple of float
        Of the scaling of the pixels; see `ImageFormat.log_jacobian`.

    beta, beta_warmup, label_weight, learning_rate, weight_decay, tol : float

    binarize : bool

    augment : float

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

    few_labels : bool
        Whether each step also sees labelled images in addition.
    """

    likelihood: str
    log_jacobian: tuple
    beta: float
    beta_warmup: float
    label_weight: float
    learning_rate: float
    weight_decay: float
    tol: float
    binarize: bool
    augment: float
    batch_size: int
    n_epochs: int
    n_iter_no_change: int
    seed: int
    first_epoch: int
    device: str
    verbose: int
    name: str
    callbacks: tuple = ()
    few_labels: bool = False


class ElboTerms(torch.nn.Module):
    """The criterion: `elbo_terms` of what the network returned.

    Parameters
    ----------
    likelihood : str
        A key of `LIKELIHOODS`.

    log_jacobian : tuple of float
        Of the scaling of the pixels; see `ImageFormat.log_jacobian`.

    holes : bool
        Whether pixels may be missing.
    """

    def __init__(self, likelihood, log_jacobian, holes):
        super().__init__()
        self.likelihood = likelihood
        self.log_jacobian = log_jacobian
        self.holes = holes

    def forward(self, output, x, y):
        logits, mu, logvar, noise_logvar, class_logits = output
        return elbo_terms(
            self.likelihood,
            x,
            logits,
            mu,
            logvar,
            noise_logvar,
            class_logits,
            y=y,
            log_jacobian=self.log_jacobian,
            holes=self.holes,
        )


class VAENet(skorch.NeuralNet):
    """A skorch net that minimises the mean of -log p(x|z) + beta * KL over the images.

    The steps of the optimiser use `kl_weight_` instead of beta; see `Warmup`. With classes, the
    loss also has `label_weight` times the mean of -log p(y|z) over the labelled images of a step,
    or over the 64 that it sees in addition, and times the sum of `undecided_losses` over the
    images without a label, divided by the number of all images of the step.

    Parameters
    ----------
    *args, **kwargs
        As for `skorch.NeuralNet`.

    settings : TrainSettings

    processes : Processes
        Those that train together. Only `fit` needs more than this one.
    """

    def __init__(self, *args, settings, processes, **kwargs):
        super().__init__(*args, **kwargs)
        self.settings = settings
        self.processes = processes
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
        # Not used here, but callbacks of the user go by them and log them.
        self.verbose = settings.verbose if self.processes.is_first else 0
        self.lr, self.batch_size = settings.learning_rate, settings.batch_size
        self.max_epochs = settings.n_epochs
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
            return ScoringBatches(dataset, self.noise, settings.device, self.processes)
        epoch = settings.first_epoch + len(self.history)
        return EpochBatches(
            dataset,
            settings.batch_size,
            self.module_.n_components,
            generator_for(settings.seed, EPOCH, epoch),
            settings.binarize,
            settings.augment,
            settings.device,
            self.processes,
            settings.few_labels,
        )

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        super().on_train_begin(net, X=X, y=y, **kwargs)
        decoder = self.module_.label_decoder
        if decoder is not None:
            # Of the labelled images, which may differ from the priors that the user gave.
            counts = np.bincount(X.y[X.y >= 0], minlength=len(decoder.log_priors)).clip(1)
            self.log_frequencies_ = torch.log(torch.from_numpy(counts).to(decoder.log_priors))
            self.log_frequencies_ -= math.log(counts.sum())

    def on_epoch_begin(self, net, **kwargs):
        super().on_epoch_begin(net, **kwargs)
        self.sums_, self.label_sums_, self.explained_ = {}, {}, {}
        self.measures_ = False

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        # As in skorch, but without reading the loss of each batch, which would wait for a GPU.
        if iterator is None:
            return
        dataset = iterator.dataset
        scale = channel_scale(dataset.image_format, self.device)
        self.explained_[training] = ExplainedVariance(self.module_.holes, scale)
        every = math.ceil(len(dataset) / MAX_MEASURED)
        for i, batch in enumerate(iterator):
            self.measures_ = i % every == 0
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            self.notify("on_batch_end", batch=batch, training=training, **step)

    def train_step_single(self, batch, **fit_params):
        """Add the gradient of the mean loss of a batch, part by part to limit the memory.

        Returns the loss, and as ``y_pred`` the posterior of the batch: mu and log sigma^2. If
        several processes train together, they are those of the share of this process. The
        gradient is that of the whole batch.
        """
        batch, _ = batch
        loss, errors, posteriors, self.unknown_ = 0.0, 0.0, [], 0.0
        self.step_noise_, self.errors_of_others_ = None, self._errors_of_others(batch)
        for part in batch:
            part_loss, part_errors, posterior = self._loss(part, batch, training=True)
            part_loss.backward()
            loss, errors = loss + part_loss.detach(), errors + part_errors
            posteriors.append(posterior)
        for part in batch.labelled:
            class_logits = self.module_.label_decoder(*self.module_.encode(part["x"]))
            # Each class is equally frequent here.
            part_loss = self._label_loss(class_logits, part["y"], N_LABELLED, 0.0, training=True)
            part_loss.backward()
            loss = loss + part_loss.detach()
        if self.processes.size > 1:
            errors = self._sum_over_processes(errors)
        n_unknown = len(batch) - batch.n_labelled
        if n_unknown and self.module_.label_decoder is not None:
            self.module_.label_decoder.update_shares(self.unknown_, n_unknown)
        if self.train_split is None:
            self._update_noise(*errors)
        posterior = [torch.cat(parts) for parts in zip(*posteriors, strict=True)]
        return {"loss": loss, "y_pred": posterior}

    def _sum_over_processes(self, errors):
        """Sum gradients, errors and probabilities of classes of a step; return the errors."""
        trained = [p for p in self.module_.parameters() if p.requires_grad]
        # A process whose share is empty has no gradient.
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        unknown = torch.as_tensor(self.unknown_, dtype=errors.dtype, device=errors.device)
        *sums, errors, self.unknown_ = self.processes.sum([*grads, errors, unknown])
        for parameter, total in zip(trained, sums, strict=True):
            parameter.grad = total
        return errors

    @torch.no_grad()
    def validation_step(self, batch, **fit_params):
        batch, _ = batch
        (part,) = batch
        loss, _, posterior = self._loss(part, batch, training=False)
        return {"loss": loss, "y_pred": posterior}

    @torch.no_grad()
    def _errors_of_others(self, batch):
        """Squared error and number of pixels of all parts of a batch but the first, as a tensor.

        The noise variance is that of the whole batch, and the gradient of each part needs it. So
        the other parts pass through the network once more. A batch of one part costs nothing.
        """
        totals = 0.0
        if self.module_.noise_logvar is not None:
            for i in range(1, len(batch.parts)):
                part = batch.parts[i]
                logits, *_ = self.infer(part["x"], noise=part["noise"])
                totals = totals + self._errors(part["x"], logits)[1]
        return totals

    def _errors(self, x, logits):
        """`squared_errors` of each image, and their sums over the images as one tensor."""
        errors = squared_errors(x, logits.detach(), self.module_.holes)
        return errors, torch.stack([error.sum() for error in errors])

    def _loss(self, part, batch, *, training):
        """Loss of a part of a batch, its squared error and number of pixels, and its posterior.

        The loss of an image is beta * KL - log p(x|z). Here it is summed over the images of the
        part and divided by the number of images in the batch, so that those of all parts add up to
        the mean of the batch.
        """
        x, y = part["x"], part.get("y")
        logits, mu, logvar, noise_logvar, class_logits = self.infer(x, noise=part["noise"])
        dtype, noise_terms = sum_dtype(mu.device), []
        if noise_logvar is not None:
            errors, totals = self._errors(x, logits)
            observed = ~x.isnan() if self.module_.holes else None
            jacobian = image_jacobian(x, self.settings.log_jacobian, observed, dtype=dtype)
            noise_terms = [*errors, jacobian]
            if training and self.step_noise_ is None:
                (totals,) = self.processes.sum([totals + self.errors_of_others_])
                self.step_noise_ = cautious_noise(noise_logvar, *totals)
            if training:
                noise_logvar = self.step_noise_
        if self.measures_:
            mean = LIKELIHOODS[self.settings.likelihood].mean(logits.detach())
            self.explained_[training].add(x, mean)
        output = logits, mu, logvar, noise_logvar, class_logits
        log_likelihood, kl = self.criterion_(output, x, y)
        terms = [log_likelihood, kl, *noise_terms]
        # Sums over images, not means of batch means: the last batch may be short.
        sums = torch.stack([term.detach().sum(dtype=dtype) for term in terms])
        n, before = self.sums_.get(training, (0, 0.0))
        self.sums_[training] = n + len(kl), before + sums
        loss = (self.kl_weight_ * kl - log_likelihood).sum() / len(batch)
        if y is not None:
            loss = loss + self._loss_of_classes(class_logits, y, batch, training=training)
        return loss, sums[2:4].to(kl.dtype), [mu.detach(), logvar.detach()]

    def _loss_of_classes(self, class_logits, y, batch, *, training):
        """`label_weight` times the loss of known and of unknown classes, of a part of a batch.

        That of unknown classes is divided by all images of the batch, so that an image counts as
        much whether many or few others have no label. Validation images have no such term.
        """
        loss = 0.0
        if training and len(batch) > batch.n_labelled:
            decoder = self.module_.label_decoder
            p = torch.softmax(class_logits.detach(), 1)
            self.unknown_ = self.unknown_ + (y < 0).to(p.dtype) @ p
            losses = undecided_losses(class_logits, y, decoder.shares, decoder.log_priors)
            loss = self.settings.label_weight * losses.sum() / len(batch)
        if batch.n_labelled and not batch.labelled:
            frequencies = self.log_frequencies_
            loss = loss + self._label_loss(
                class_logits, y, batch.n_labelled, frequencies, training=training
            )
        return loss

    def _label_loss(self, class_logits, y, n_labelled, log_frequencies, *, training):
        """`label_weight` times the sum of -log p(y|z) over a part of a batch, over `n_labelled`.

        `log_frequencies` are those of the classes where the images come from. They replace the
        priors, so that p(z|y) does not make up for a difference between them.
        """
        log_priors = self.module_.label_decoder.log_priors
        losses = label_losses(class_logits - log_priors + log_frequencies, y)
        right = (class_logits.detach().argmax(1) == y) & (y >= 0)
        dtype = sum_dtype(losses.device)
        terms = losses.detach(), right, y >= 0
        sums = torch.stack([term.sum(dtype=dtype) for term in terms])
        self.label_sums_[training] = self.label_sums_.get(training, 0.0) + sums
        return self.settings.label_weight * losses.sum() / n_labelled

    @torch.no_grad()
    def _update_noise(self, error=0.0, n_observed=0.0):
        """Set the noise to a running mean of the squared error; used without images set aside."""
        noise_logvar = self.module_.noise_logvar
        if noise_logvar is not None:
            share = NOISE_UPDATE_SHARE * (n_observed > 0)  # nothing observed tells nothing
            error = error / n_observed.clamp_min(1)
            noise_logvar.copy_(torch.lerp(noise_variance(noise_logvar), error, share).log())

    @torch.no_grad()
    def _measure_noise(self):
        """Set the noise to the larger squared error, of training or of validation images.

        The training error is too small if the network has fitted the noise of these images. The
        validation error is too small if the few images set aside happen to be easy.

        Returns the mean log-likelihood of the validation images.
        """
        n_images, (_, _, _, n_observed, log_jacobian) = self.sums_[False]
        errors = {
            key: (sums[2] / sums[3].clamp_min(1)).item() for key, (_, sums) in self.sums_.items()
        }
        noise_logvar = self.module_.noise_logvar
        noise_logvar.fill_(math.log(max(*errors.values(), MIN_NOISE_VARIANCE)))
        error = torch.tensor(errors[False], dtype=torch.float64, device="cpu")
        variance = noise_variance(noise_logvar.cpu().double())
        log_density = normal_log_density(error, variance).item()
        return ((n_observed * log_density + log_jacobian) / n_images).item()

    def _sum_epoch(self):
        """Sum over the processes what each summed over its share of the images."""
        for training, (n, sums) in self.sums_.items():
            n, sums = self.processes.sum([torch.full_like(sums[:1], n), sums])
            self.sums_[training] = int(n), sums
        for training, sums in self.label_sums_.items():
            (self.label_sums_[training],) = self.processes.sum([sums])
        for explained in self.explained_.values():
            explained.sum_over(self.processes)

    def on_epoch_end(self, net, **kwargs):
        super().on_epoch_end(net, **kwargs)
        if self.processes.size > 1:
            self._sum_epoch()
        for training, (n, sums) in self.sums_.items():
            prefix = PHASES[0 if training else 1]
            log_likelihood, kl = (sums[:2] / n).tolist()
            if not training and self.module_.noise_logvar is not None:
                log_likelihood = self._measure_noise()
            loss = self.beta * kl - log_likelihood
            terms = {"log_likelihood": log_likelihood, "kl": kl}
            if training in self.label_sums_:
                *label_sums, n_labelled = self.label_sums_[training].tolist()
                label_terms = [total / n_labelled for total in label_sums]
                terms |= dict(zip(LABEL_TERMS, label_terms, strict=True))
                loss += self.settings.label_weight * label_terms[0]
            terms["loss"] = loss
            if training in self.explained_:
                terms[EXPLAINED] = self.explained_[training].ratio
            for name, value in terms.items():
                self.history.record(f"{prefix}_{name}", value)
            before = [record[f"{prefix}_loss"] for record in list(self.history)[:-1]]
            self.history.record(f"{prefix}_loss_best", all(loss < other for other in before))
            if not math.isfinite(loss):
                images = "training" if training else "validation"
                epoch = self.settings.first_epoch + len(self.history)
                raise ValueError(
                    f"The loss of the {images} images became {loss} in epoch {epoch}. {ADVICE}"
                )


def channel_scale(image_format, device):
    """Span of each channel in the units of X, as a share of the largest; None if it is the same.

    Parameters
    ----------
    image_format : ImageFormat

    device : str

    Returns
    -------
    scale : tensor of shape (C, 1, 1) or None
    """
    extent = image_format.extent  # 0 for a channel that is constant
    if extent.min() == extent.max():
        return None
    return torch.tensor(extent / extent.max(), dtype=torch.float32, device=device)[:, None, None]


def build_net(module, settings, callbacks=(), processes=None):
    """An initialised skorch net that trains a network.

    Parameters
    ----------
    module : ConvVAE

    settings : TrainSettings

    callbacks : sequence of skorch callbacks

    processes : Processes, default=None
        Those that train together. None: this one.

    Returns
    -------
    net : VAENet
    """
    return VAENet(
        module,
        ElboTerms,
        criterion__likelihood=settings.likelihood,
        criterion__log_jacobian=settings.log_jacobian,
        criterion__holes=module.holes,
        settings=settings,
        processes=processes or Processes(),
        optimizer=torch.optim.AdamW,
        optimizer__betas=(0.9, 0.99),
        optimizer__fused=True,
        train_split=None,
        callbacks=list(callbacks),
        device=settings.device,
        verbose=0,
    ).initialize()
