"""The net of skorch: the loss of a step, its noise, the figures of an epoch (torch, skorch)."""

import math
from dataclasses import dataclass, field

import numpy as np
import skorch.callbacks
import torch

from .._history import EXPLAINED, LABEL_TERMS, PHASES, row_of
from .._model import (
    EPOCH,
    ExplainedVariance,
    PixelNoise,
    class_divergences,
    generator_for,
    sum_dtype,
)
from .batches import N_LABELLED, EpochBatches, ScoringBatches
from .processes import Processes

ADVICE = "Lower learning_rate, or give a pixel_range without outliers."

# Largest norm of the gradient, for each number in an image.
MAX_GRADIENT = 0.3

# Images of an epoch, spread over its steps, that tell the share of the variance explained: so many,
# or fewer if they have more numbers, but not below the second. More would take noticeable time.
MAX_MEASURED, MIN_MEASURED, MAX_MEASURED_NUMBERS = 1_024, 64, 2**23


@dataclass
class Step:
    """What the parts of a step have added up to so far, in this process."""

    loss: torch.Tensor | float = 0.0
    posteriors: list = field(default_factory=list)
    # Squared error of the observed pixels of all parts, their number, and both of the other parts
    # than the first; only with the Gaussian family.
    squared_error: torch.Tensor | float = 0.0
    n_observed: torch.Tensor | float = 0.0
    errors_of_others: torch.Tensor | float = 0.0
    # The family with the noise of the batch, once it is known.
    likelihood: torch.nn.Module | None = None
    # Sum of p(y|z) over the images without a label, (n_classes,).
    unknown: torch.Tensor | float = 0.0

    def add(self, loss):
        """Add the gradient of a loss to that of the step."""
        loss.backward()
        self.loss = self.loss + loss.detach()


class VAENet(skorch.NeuralNet):
    """A skorch net that minimises the mean of -log p(x|z) + beta * KL over the images.

    The steps of the optimiser use `kl_weight_` instead of beta; see `Ramp`. With classes, the loss
    also has `label_weight` times the mean of -log p(y|z) over the labelled images of a step, or
    `labelled_weight_` times that of the 64 that it sees in addition, and times the sum of
    `undecided_losses` over the images without a label, divided by the number of all images of the
    step. If the parts have ``mapped`` images, the loss also has their `_inconsistency`, and those
    64 are taken from them.
    """

    def __init__(self, *args, settings, processes, **kwargs):
        super().__init__(*args, **kwargs)
        self.settings = settings
        self.processes = processes
        self.noise = PixelNoise(self.module.n_components, settings.seed)
        self.best_losses_ = {}  # of each phase
        self.measures_ = False  # whether the current batch counts for the variance explained

    def initialize(self):
        super().initialize()
        self.apply_settings(self.settings)
        return self

    def apply_settings(self, settings):
        """Replace the settings by others with the same device and callbacks."""
        self.settings = settings
        self.beta = self.kl_weight_ = settings.beta
        self.labelled_weight_ = 1.0
        # Not used here, but callbacks of the user go by them and log them.
        self.verbose = settings.verbose if self.processes.is_first else 0
        self.lr, self.batch_size = settings.learning_rate, settings.batch_size
        self.max_epochs = settings.n_epochs
        for group in self.optimizer_.param_groups:
            group["lr"], group["weight_decay"] = settings.learning_rate, settings.weight_decay

    @property
    def finished_epochs(self):
        """The rows of a history for the epochs that this net has finished."""
        return [row_of(record) for record in self.history if "dur" in record]

    @property
    def _default_callbacks(self):
        bound = MAX_GRADIENT * math.prod(self.module.image_shape)
        return [
            ("epoch_timer", skorch.callbacks.EpochTimer()),
            ("clip", skorch.callbacks.GradientNormClipping(bound)),
        ]

    def _set_training(self, training=True):
        """Do nothing: no layer of the network behaves differently in training."""

    def get_iterator(self, dataset, training=False):
        settings = self.settings
        if not training:
            return ScoringBatches(dataset, self.noise, settings.device, self.processes)
        epoch = settings.first_epoch + len(self.history)
        generator = generator_for(settings.seed, EPOCH, epoch)
        return EpochBatches(dataset, settings, self.module_.n_components, generator, self.processes)

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        super().on_train_begin(net, X=X, y=y, **kwargs)
        losses = {phase: [row.get(f"{phase}_loss") for row in self.history] for phase in PHASES}
        self.best_losses_ = {k: min(v) for k, v in losses.items() if v and None not in v}
        prior = self.module_.prior
        if prior.n_classes:
            # Of the labelled images, which may differ from the priors that the user gave.
            counts = np.bincount(X.y[X.y >= 0], minlength=prior.n_classes).clip(1)
            self.log_frequencies_ = torch.log(torch.from_numpy(counts).to(prior.log_priors))
            self.log_frequencies_ -= math.log(counts.sum())

    def on_epoch_begin(self, net, **kwargs):
        super().on_epoch_begin(net, **kwargs)
        self.sums_, self.explained_ = {}, {}
        self.measures_ = False

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        # As in skorch, but without reading the loss of each batch, which would wait for a GPU.
        if iterator is None:
            return
        dataset = iterator.dataset
        image_format = dataset.image_format
        scale = channel_scale(image_format, self.device)
        self.explained_[training] = ExplainedVariance(self.module_.holes, scale)
        most = max(MIN_MEASURED, MAX_MEASURED_NUMBERS // image_format.n_features)
        every = math.ceil(len(dataset) / min(MAX_MEASURED, most))
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
        prior, n_unknown = self.module_.prior, len(batch) - batch.n_labelled
        step = self.step_ = Step(errors_of_others=self._errors_of_others(batch))
        for part in batch:
            step.add(self._loss(part, batch, training=True))
            if "mapped" in part:
                step.add(self._inconsistency(part, batch))
        for part in batch.labelled:
            class_logits = prior.class_logits(*self.module_.encode(part.get("mapped", part["x"])))
            # Each class is equally frequent here.
            loss = self._label_loss(class_logits, part["y"], N_LABELLED, 0.0, training=True)
            step.add(self.labelled_weight_ * loss)
        if self.processes.size > 1:
            self._sum_over_processes(step)
        if prior.n_classes and n_unknown:
            prior.update_shares(step.unknown, n_unknown, self.settings.shares_window)
        if self.module_.likelihood.normal and self.train_split is None:
            self.module_.likelihood.follow(step.squared_error, step.n_observed)
        posterior = [torch.cat(parts) for parts in zip(*step.posteriors, strict=True)]
        return {"loss": step.loss, "y_pred": posterior}

    def _sum_over_processes(self, step):
        """Sum gradients, squared errors and probabilities of classes of a step."""
        trained = [p for p in self.module_.parameters() if p.requires_grad]
        # A process whose share is empty has no gradient.
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        totals = step.squared_error, step.n_observed, step.unknown
        totals = [torch.as_tensor(t, dtype=grads[0].dtype, device=self.device) for t in totals]
        *sums, step.squared_error, step.n_observed, step.unknown = self.processes.sum(
            [*grads, *totals]
        )
        for parameter, total in zip(trained, sums, strict=True):
            parameter.grad = total

    @torch.no_grad()
    def validation_step(self, batch, **fit_params):
        batch, _ = batch
        (part,) = batch
        step = self.step_ = Step()
        loss = self._loss(part, batch, training=False)
        return {"loss": loss, "y_pred": step.posteriors[0]}

    @torch.no_grad()
    def _errors_of_others(self, batch):
        """Squared error and number of pixels of all parts of a batch but the first, as a tensor.

        The noise variance is that of the whole batch, and the gradient of each part needs it. So
        the other parts pass through the network once more. A batch of one part costs nothing.
        """
        totals, likelihood = 0.0, self.module_.likelihood
        if likelihood.normal:
            for i in range(1, len(batch.parts)):
                part = batch.parts[i]
                draw = self.module_(part["x"], part["noise"])
                totals = totals + _totals(likelihood.squared_errors(draw.logits, part["x"]))
        return totals

    def _loss(self, part, batch, *, training):
        """Sum of beta * KL - log p(x|z) over the images of a part, divided by those of the batch.

        So the losses of all parts, with those of classes, add up to the mean of the batch.
        """
        x, y, module, step = part["x"], part.get("y"), self.module_, self.step_
        draw = module(x, part["noise"])
        likelihood, errors = module.likelihood, None
        if likelihood.normal:
            errors = likelihood.squared_errors(draw.logits.detach(), x)
            if training:
                likelihood = self._likelihood_of_step(errors)
        log_jacobian = self.settings.log_jacobian
        terms = module.terms_of(draw, x, y, likelihood=likelihood, log_jacobian=log_jacobian)
        loss = (self.kl_weight_ * terms.kl - terms.log_p).sum() / len(batch)
        if y is not None:
            loss = loss + self._loss_of_classes(terms.class_logits, y, batch, training=training)
        if self.measures_:
            self.explained_[training].add(x, likelihood.mean(draw.logits.detach()))
        self._add(
            training, n_images=torch.ones_like(terms.kl), log_likelihood=terms.log_p, kl=terms.kl
        )
        if errors is not None:
            sums = self._add(training, **errors._asdict())
            step.squared_error = step.squared_error + sums["squared_error"].to(terms.kl.dtype)
            step.n_observed = step.n_observed + sums["n_observed"].to(terms.kl.dtype)
            dtype = sum_dtype(x.device) or x.dtype
            self._add(training, log_jacobian=likelihood.image_jacobian(x, log_jacobian, dtype))
        step.posteriors.append([draw.mu.detach(), draw.logvar.detach()])
        return loss

    def _likelihood_of_step(self, errors):
        """The Gaussian family with the noise of the whole batch, whose first part has `errors`."""
        step = self.step_
        if step.likelihood is None:
            (totals,) = self.processes.sum([_totals(errors) + step.errors_of_others])
            step.likelihood = self.module_.likelihood.cautious(*totals)
        return step.likelihood

    def _add(self, training, **terms):
        """Add terms of each image, (n,), to the sums of the epoch, by name; return their sums.

        Sums over images, not means of batch means: the last batch may be short.
        """
        sums = {k: term.detach().sum(dtype=sum_dtype(term.device)) for k, term in terms.items()}
        before = self.sums_.setdefault(training, {})
        before |= {name: before.get(name, 0.0) + total for name, total in sums.items()}
        return sums

    def _loss_of_classes(self, class_logits, y, batch, *, training):
        """`label_weight` times the loss of known and of unknown classes, of a part of a batch.

        That of unknown classes is divided by all images of the batch, so that an image counts as
        much whether many or few others have no label. Validation images have no such term.
        """
        loss = 0.0
        if training and len(batch) > batch.n_labelled:
            p = torch.softmax(class_logits.detach(), 1)
            self.step_.unknown = self.step_.unknown + (y < 0).to(p.dtype) @ p
            weight = self.settings.entropy_weight
            losses = self.module_.prior.undecided_losses(class_logits, y, weight)
            loss = self.settings.label_weight * losses.sum() / len(batch)
        if batch.n_labelled and not batch.labelled:
            loss = loss + self._label_loss(
                class_logits, y, batch.n_labelled, self.log_frequencies_, training=training
            )
        return loss

    def _inconsistency(self, part, batch):
        """`label_weight` times KL(p(y|x) || p(y|T x)), of a part of a batch; T x is ``mapped``.

        Only the second is trained: the first is what the network says of the image itself.
        """
        prior = self.module_.prior
        class_logits = prior.class_logits(*self.step_.posteriors[-1]).detach()
        mapped = prior.class_logits(*self.module_.encode(part["mapped"]))
        losses = class_divergences(class_logits, mapped)
        return self.settings.label_weight * losses.sum() / len(batch)

    def _label_loss(self, class_logits, y, n_labelled, log_frequencies, *, training):
        """`label_weight` times the sum of -log p(y|z) over a part of a batch, over `n_labelled`."""
        losses = self.module_.prior.label_losses(class_logits, y, log_frequencies)
        right = (class_logits.detach().argmax(1) == y) & (y >= 0)
        self._add(training, label_loss=losses, accuracy=right, n_labelled=y >= 0)
        return self.settings.label_weight * losses.sum() / n_labelled

    def _measure_noise(self):
        """Set the noise to the larger squared error, of training or of validation images.

        The training error is too small if the network has fitted the noise of these images. The
        validation error is too small if the few images set aside happen to be easy.

        Returns the mean log-likelihood of the validation images.
        """
        likelihood, valid = self.module_.likelihood, self.sums_[False]
        errors = {
            training: sums["squared_error"] / max(1, sums["n_observed"])
            for training, sums in self.sums_.items()
        }
        likelihood.set_variance(max(errors.values()))
        log_density = likelihood.mean_log_density(errors[False])
        total = valid["n_observed"] * log_density + valid["log_jacobian"]
        return total / valid["n_images"]

    def _sum_epoch(self):
        """Make the sums of the epoch floats, and those of all processes."""
        for training, sums in self.sums_.items():
            (totals,) = self.processes.sum([torch.stack(list(sums.values()))])
            self.sums_[training] = dict(zip(sums, totals.tolist(), strict=True))
        if self.processes.size > 1:
            for explained in self.explained_.values():
                explained.sum_over(self.processes)

    def on_epoch_end(self, net, **kwargs):
        super().on_epoch_end(net, **kwargs)
        self._sum_epoch()
        for training, sums in self.sums_.items():
            prefix = PHASES[0 if training else 1]
            log_likelihood, kl = (
                sums[name] / sums["n_images"] for name in ("log_likelihood", "kl")
            )
            if not training and self.module_.likelihood.normal:
                log_likelihood = self._measure_noise()
            loss = self.beta * kl - log_likelihood
            terms = {"log_likelihood": log_likelihood, "kl": kl}
            if "n_labelled" in sums:
                terms |= {name: sums[name] / sums["n_labelled"] for name in LABEL_TERMS}
                loss += self.settings.label_weight * terms["label_loss"]
            terms["loss"] = loss
            if training in self.explained_:
                terms[EXPLAINED] = self.explained_[training].ratio
            for name, value in terms.items():
                self.history.record(f"{prefix}_{name}", value)
            # Kept, because a look through the history would take longer in each epoch.
            least = self.best_losses_.get(prefix, math.inf)
            self.history.record(f"{prefix}_loss_best", loss < least)
            self.best_losses_[prefix] = min(loss, least)
            if not math.isfinite(loss):
                images = "training" if training else "validation"
                epoch = self.settings.first_epoch + len(self.history)
                raise ValueError(
                    f"The loss of the {images} images became {loss} in epoch {epoch}. {ADVICE}"
                )


def channel_scale(image_format, device):
    """Span of each channel in the units of X, as a share of the largest; None if it is the same.

    A tensor of shape (C, 1, 1).
    """
    extent = image_format.extent  # 0 for a channel that is constant
    if extent.min() == extent.max():
        return None
    return torch.tensor(extent / extent.max(), dtype=torch.float32, device=device)[:, None, None]


def _totals(errors):
    """Sums over the images of `PixelErrors`, as one tensor of shape (2,)."""
    return torch.stack([error.sum() for error in errors])


def build_net(module, settings, own_callbacks=(), processes=None):
    """An initialised `VAENet` that trains a network.

    Its callbacks are `own_callbacks`, then those of the user. `processes` train together.
    """
    return VAENet(
        module,
        torch.nn.Identity,  # skorch needs a criterion; the loss is that of `VAENet._loss`
        settings=settings,
        processes=processes or Processes(),
        optimizer=torch.optim.AdamW,
        optimizer__betas=(0.9, 0.99),
        optimizer__fused=True,
        train_split=None,
        callbacks=[*own_callbacks, *settings.callbacks],
        device=settings.device,
        verbose=0,
    ).initialize()
