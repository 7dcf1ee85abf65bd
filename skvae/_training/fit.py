"""How one fit goes: prepare, set the weights, train, record (NumPy, scikit-learn)."""

import math
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from sklearn.base import is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils import check_consistent_length, check_random_state

from .._data import (
    UNKNOWN,
    ImageDataset,
    check_classes,
    check_images,
    encode_labels,
    learn_images,
    resolve_priors,
    scarce,
)
from .._history import extend, n_epochs_of
from .._model import (
    LIKELIHOODS,
    MIN_NOISE_VARIANCE,
    as_arrays,
    passes,
    resolve_device,
    set_weights,
    start,
    with_gradients,
)
from .._warnings import warn
from . import train
from .architecture import check_parameters, check_same_model, resolve_architecture
from .budget import Budget, default_budget
from .callbacks import WINDOW, RunningStatistics, check_callbacks, finished_epochs
from .checkpoint import CheckpointFile, training_plan
from .net import ADVICE, TrainSettings, build_net
from .processes import Processes, training_processes
from .sklearn_callbacks import FitTasks

# Share of the peak rate at which `partial_fit` trains after a `fit`, which ended at a low rate.
ANNEALED_RATE = 0.1


# Bounds of early_stopping="auto": too few images to set any aside, so many that they do not
# overfit, and the most to set aside.
AUTO_FEW, AUTO_MANY, AUTO_MAX_VALID = 20, 30_000, 2_048


# About so many images are drawn from when some are set aside, to save memory.
MAX_CANDIDATES = 2**20


# Default weights of the labels: if fewer than half of the images are labelled, and if more are.
FEW_LABELS_WEIGHT, MANY_LABELS_WEIGHT = 30.0, 100.0


# With fewer images than this, the network has a linear path in every family.
LINEAR_PATH_MANY = 10_000


# The start of a network that was made from fewer images is made anew when there are more. About so
# many numbers of them are kept for that.
FEW_IMAGES, MAX_KEPT_NUMBERS = 256, 2**24


# A training that explains less than this share of what its linear start left unexplained has hardly
# improved on it.
LEAST_GAIN = 0.01


# Weight decay of networks with a linear path, times the number of images.
WEIGHT_DECAY = 1_000.0


class PreparedFit(NamedTuple):
    """The checked input of a fit.

    Parameters
    ----------
    rows : ndarray of shape (n, n_features)

    labels : ndarray of int of shape (n,) or None
        The class of each image, from 0; -1: not known. None: the estimator has no classes.

    architecture : dict
        The parameters of `ConvVAE`, but for `normal`.

    device : str

    continuing : bool
        Whether training continues from the weights of an earlier fit.
    """

    rows: np.ndarray
    labels: np.ndarray | None
    architecture: dict
    device: str
    continuing: bool


@with_gradients
def fit(estimator, X, y=None):
    """Train an estimator for all its epochs and set its fitted attributes.

    Parameters
    ----------
    estimator : estimator of skvae
        After an exception, it is as it was before.

    X : array-like
        Images.

    y : array-like, default=None
        Labels, if the estimator is a classifier. Otherwise only callbacks of scikit-learn get it.
    """
    with training_processes(estimator.data_parallel) as processes:
        context = None
        if processes.is_first:
            # Outside of what restores the attributes: scikit-learn needs one of them to tear the
            # callbacks down. The number of epochs follows from the images, which come later.
            context = estimator._init_callback_context(max_subtasks=None)
        with _unchanged_on_error(estimator), _advice_on_memory():
            messages = _fit(estimator, X, y, processes, context)
    for message in messages:
        warn(message)


def _fit(estimator, X, y, processes, context):
    """As `fit`, within its contexts. Returns the warnings that are due."""
    continuing = estimator.warm_start and hasattr(estimator, "net_")
    if continuing and estimator._n_start < FEW_IMAGES:
        continuing = len(X) <= estimator._n_start
    prepared = _prepare(estimator, X, y, continuing)
    n_valid = _n_valid(estimator, prepared)
    check_callbacks(estimator.callbacks or (), validates=n_valid > 0)
    estimator._seed = processes.of_first(estimator._seed)
    plan = _plan(estimator, prepared, n_valid, processes)
    _require_same(estimator, prepared, plan, processes)
    checkpoint, progress = _open_checkpoint(estimator, prepared, plan, processes)
    dataset, valid = _split(estimator, prepared, n_valid)
    estimator._few_labels = scarce(dataset.y)
    settings = settings_of(
        estimator,
        prepared.device,
        _budget(estimator, prepared, len(dataset)),
        first_epoch=n_epochs_of(estimator._history),
        weight_decay=_weight_decay(prepared, len(dataset)),
    )
    tasks = None
    if context is not None:
        context.max_subtasks = settings.n_epochs - len(progress["history"] if progress else ())
        tasks = FitTasks(
            context,
            # Without labels, the images are what the network learns to give back.
            {"estimator": estimator, "X": X, "y": X if y is None else y},
            lambda net: _result(estimator, prepared, train.as_if_ended(net), dataset, Processes()),
        )
    module = _module(estimator, prepared, dataset, valid, processes)
    watched = dataset.subsample() if valid is None else valid
    start_error = _linear_error(estimator, module, watched, processes)
    net, interrupted = train.train(
        module,
        dataset,
        settings,
        processes=processes,
        valid=valid,
        progress=progress,
        save_progress=None if checkpoint is None else checkpoint.write,
        tasks=tasks,
    )
    result = _result(estimator, prepared, net, dataset, processes)
    processes.wait()  # none ends before all have succeeded
    vars(estimator).update(result)
    if checkpoint is not None and not interrupted:
        checkpoint.finish()
    if interrupted:
        return ["Training interrupted by user; what is trained so far is kept."]
    if tasks is None or tasks.stopped_:
        return []
    n_epochs = len(finished_epochs(net))
    error = _linear_error(estimator, net.module_, watched, processes)
    like_pca = error is not None and error > (1 - LEAST_GAIN) * start_error > MIN_NOISE_VARIANCE
    return list(_convergence_warnings(estimator, len(dataset), n_epochs, settings, like_pca))


@with_gradients
def partial_fit(estimator, X, y=None, classes=None):
    """Train an estimator for one epoch and set its fitted attributes.

    Parameters
    ----------
    estimator : estimator of skvae
        After an exception, it is as it was before.

    X : array-like
        Images.

    y, classes : array-like, default=None
        Labels, and all classes that there are, if the estimator is a classifier.
    """
    with _unchanged_on_error(estimator), _advice_on_memory():
        if estimator.data_parallel:
            raise ValueError("partial_fit trains in one process: set data_parallel=False.")
        continuing = hasattr(estimator, "net_")
        prepared = _prepare(estimator, X, y, continuing, all_images=False, classes=classes)
        if continuing and estimator._n_start < FEW_IMAGES:
            prepared = _from_the_first(estimator, prepared)
            continuing = prepared.continuing
        check_callbacks(estimator.callbacks or (), validates=False)
        dataset, _ = _split(estimator, prepared, 0)
        if not (continuing and hasattr(estimator, "_few_labels")):  # a file does not hold it
            estimator._few_labels = scarce(dataset.y)
        annealed = continuing and estimator._annealed
        _, batch_size = _budget(estimator, prepared, len(dataset))
        settings = settings_of(
            estimator,
            prepared.device,
            Budget(1, batch_size),
            first_epoch=n_epochs_of(estimator._history),
            rate=ANNEALED_RATE if annealed else 1.0,
        )
        if continuing:
            net = estimator.net_
            statistics = RunningStatistics(estimator._component_moments, estimator._n_averaged)
        else:
            module = _module(estimator, prepared, dataset, None, Processes())
            net = build_net(module, settings, settings.callbacks)
            statistics = RunningStatistics()
        net, interrupted = train.train_increment(net, dataset, settings, statistics)
        moments, n_averaged = statistics.moments, statistics.n_images
        if moments is None:  # interrupted before the first batch
            sample = _as_trained(estimator, dataset.subsample())
            moments, n_averaged = passes.component_moments(net.module_, sample), len(sample)
        attributes = _attributes(
            estimator, prepared, net, moments, n_averaged=n_averaged, annealed=annealed
        )
        if not continuing:
            attributes |= {"_n_start": len(prepared.rows), "_first_images": _kept(prepared)}
        vars(estimator).update(attributes)
        # In place, so that the cost of a call does not grow. Last, so that nothing fails after it.
        if net.module_.label_decoder is not None:
            net.module_.label_decoder.set_priors(estimator.priors_)
        extend(estimator._history, finished_epochs(net))
    if interrupted:
        warn("Training interrupted by user; what is trained so far is kept.")


def _from_the_first(estimator, prepared):
    """The input of a call of `partial_fit` with that of the calls before, to start anew from it."""
    before = getattr(estimator, "_first_images", None)  # neither copies nor files have them
    if before is None:
        return prepared._replace(continuing=len(prepared.rows) <= estimator._n_start)
    rows = np.concatenate([before[0], prepared.rows])
    labels = None if prepared.labels is None else np.concatenate([before[1], prepared.labels])
    return prepared._replace(rows=rows, labels=labels, continuing=False)


def _kept(prepared):
    """Images and labels for `_from_the_first`; None if they are enough, or too large to keep."""
    rows, labels = prepared.rows, prepared.labels
    if len(rows) >= FEW_IMAGES or rows.size > MAX_KEPT_NUMBERS:
        return None
    return np.array(rows), labels


def _prepare(estimator, X, y, continuing, *, all_images=True, classes=None):
    """Check the input; set the attributes that the first fit determines."""
    check_parameters(estimator)
    if continuing:
        values = check_images(estimator, X, training=True)
        estimator._format = estimator._format.after(values)
    else:
        values, estimator._format, estimator.likelihood_ = learn_images(estimator, X)
    rows, labels = values.rows, None
    if is_classifier(estimator):
        labels = _prepare_labels(estimator, rows, y, continuing, all_images, classes)
    if continuing:
        linear_path = estimator._architecture["linear_path"]
    else:
        few = all_images and len(rows) < LINEAR_PATH_MANY
        linear_path = few or LIKELIHOODS[estimator.likelihood_].normal
    architecture = resolve_architecture(estimator, linear_path)
    device = resolve_device(estimator.device)
    prepared = PreparedFit(rows, labels, architecture, device, continuing)
    if continuing:
        check_same_model(estimator, prepared.architecture)
    else:
        estimator._seed = int(check_random_state(estimator.random_state).randint(2**31))
        estimator._history = {}
        # A copy that a callback makes is one of this fit.
        vars(estimator).pop("net_", None)
    return prepared


def _prepare_labels(estimator, rows, y, continuing, all_images, classes):
    """The class of each image; sets the attributes that tell about classes."""
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None."
        )
    known = estimator.classes_ if continuing else None
    if not all_images:
        known = check_classes(classes, known)
    estimator.classes_, labels = encode_labels(y, estimator.unlabeled, known)
    check_consistent_length(rows, labels)
    counts = np.bincount(labels[labels >= 0], minlength=len(estimator.classes_))
    if continuing and not all_images:
        counts = counts + estimator.class_counts_
    estimator.class_counts_ = counts
    estimator.priors_ = resolve_priors(estimator.priors, counts, estimator.classes_)
    return labels


def _n_valid(estimator, prepared):
    """Number of images to set aside for validation."""
    n_images = len(prepared.rows)
    n_candidates = len(_may_be_set_aside(prepared))
    n_valid = math.ceil(n_images * estimator.validation_fraction)
    if estimator.early_stopping == "auto":
        useful = n_images < AUTO_MANY or LIKELIHOODS[estimator.likelihood_].normal
        n_valid = min(n_valid, AUTO_MAX_VALID) if useful and n_images >= AUTO_FEW else 0
        if prepared.labels is not None:
            n_valid = max(0, min(n_valid, n_candidates - 1))
    elif not estimator.early_stopping:
        n_valid = 0
    if n_valid and n_valid >= n_candidates:
        raise ValueError(
            f"Early stopping sets {n_valid} of n_samples={n_images} images aside, which leaves "
            "too few to train on. Send more images, or lower validation_fraction."
        )
    return n_valid


def _split(estimator, prepared, n_valid):
    """The images to train on, and those to validate on or None."""
    rows, labels = prepared.rows, prepared.labels
    dataset = ImageDataset(rows, estimator._format, labels=labels)
    if not n_valid:
        return dataset, None
    candidates = _may_be_set_aside(prepared)
    # Of very many images, some are enough to choose from.
    step = min(math.ceil(len(candidates) / MAX_CANDIDATES), len(candidates) // (n_valid + 1))
    candidates = np.asarray(candidates[::step])
    _, valid = train_test_split(candidates, test_size=n_valid, random_state=estimator._seed)
    return dataset.without(valid), _as_trained(estimator, dataset.at(np.sort(valid)))


def _may_be_set_aside(prepared):
    """Positions of the images that may be set aside for validation.

    If labels are scarce, only the images without one. Otherwise all images but the first of each
    class, so that the training sees each class.
    """
    everything, labels = range(len(prepared.rows)), prepared.labels
    if labels is None:
        return everything
    labelled = np.flatnonzero(labels != UNKNOWN)
    if scarce(labels):
        return np.setdiff1d(everything, labelled)
    _, firsts = np.unique(labels[labelled], return_index=True)
    return np.setdiff1d(everything, labelled[firsts])


def _as_trained(estimator, dataset):
    """The images as the network sees them in training: binarised if `binarize` says so."""
    return dataset.binarized(estimator._seed) if estimator.binarize else dataset


def _budget(estimator, prepared, n_images):
    """Epochs and size of a batch: the parameters, or the default for so many images."""
    n_epochs, batch_size = default_budget(n_images, prepared.architecture)
    if estimator.max_iter is not None:
        n_epochs = int(estimator.max_iter)
    if estimator.batch_size != "auto":
        batch_size = int(estimator.batch_size)
    return Budget(n_epochs, batch_size)


def _weight_decay(prepared, n_images):
    """Rate at which the weights decay towards 0: lower if there are more images."""
    if not prepared.architecture["linear_path"]:
        return 0.0
    return min(1.0, WEIGHT_DECAY / n_images)


def _plan(estimator, prepared, n_valid, processes):
    """What the fit depends on; None if nothing has to be compared, as it reads all images."""
    if estimator.checkpoint is None and processes.size == 1:
        return None
    return training_plan(
        estimator.get_params(deep=False),
        prepared.rows,
        prepared.labels,
        n_valid,
        prepared.architecture,
        estimator.likelihood_,
        estimator._seed,
        prepared.device,
    )


def _require_same(estimator, prepared, plan, processes):
    """Compare the fits of all processes."""
    if processes.size > 1:
        own = {
            "params": None,
            "device": None,  # each process may have another one
            "checkpoint": estimator.checkpoint is not None,
            "warm_start": prepared.continuing,
            "epochs before": n_epochs_of(estimator._history),
        }
        processes.require_same({**plan["params"], **plan, **own})


def _open_checkpoint(estimator, prepared, plan, processes):
    """The checkpoint file, and the progress in it to continue from; each may be None.

    Only the first process reads and writes the file.
    """
    if estimator.checkpoint is None:
        return None, None
    if prepared.continuing:
        raise ValueError(
            "A checkpoint holds a whole fit, so a second fit with warm_start=True cannot use "
            "one. Set checkpoint=None or warm_start=False."
        )
    checkpoint = progress = None
    if processes.is_first:
        checkpoint = CheckpointFile(estimator.checkpoint, plan)
        # With random_state=None any seed is right, also that of the file.
        progress = checkpoint.read(any_seed=estimator.random_state is None)
        estimator._seed = checkpoint.plan["seed"]
    estimator._seed, progress = processes.of_first((estimator._seed, progress))
    return checkpoint, progress


def settings_of(estimator, device, budget, *, first_epoch=0, rate=1.0, weight_decay=0.0):
    """What a training of the estimator depends on.

    Parameters
    ----------
    estimator : estimator of skvae
        After `_prepare`, or fitted.

    device : str

    budget : Budget

    first_epoch : int, default=0

    rate : float, default=1.0
        Factor of the learning rate.

    weight_decay : float, default=0.0

    Returns
    -------
    settings : TrainSettings
    """
    return TrainSettings(
        likelihood=estimator.likelihood_,
        log_jacobian=estimator._format.log_jacobian,
        beta=float(estimator.beta),
        beta_warmup=float(estimator.beta_warmup),
        label_weight=_label_weight(estimator),
        learning_rate=rate * float(estimator.learning_rate),
        weight_decay=weight_decay,
        tol=float(estimator.tol) * estimator._format.n_features,
        binarize=bool(estimator.binarize),
        augment=float(estimator.augment),
        batch_size=budget.batch_size,
        n_epochs=budget.n_epochs,
        n_iter_no_change=int(estimator.n_iter_no_change),
        seed=estimator._seed,
        first_epoch=first_epoch,
        device=device,
        verbose=int(estimator.verbose),
        name=type(estimator).__name__,
        callbacks=tuple(estimator.callbacks or ()),
        few_labels=getattr(estimator, "_few_labels", False),
    )


def _label_weight(estimator):
    """The parameter or its default; 0 if the estimator has no classes."""
    weight = getattr(estimator, "label_weight", 0.0)
    if weight is None:
        few_labels = getattr(estimator, "_few_labels", False)  # not known of a loaded estimator
        weight = FEW_LABELS_WEIGHT if few_labels else MANY_LABELS_WEIGHT
    return float(weight)


def _module(estimator, prepared, dataset, valid, processes):
    """The network with its first weights, which are those of the first process."""
    likelihood = estimator.likelihood_
    module = passes.build_module(prepared.architecture, likelihood, prepared.device)
    if prepared.continuing:
        set_weights(module, as_arrays(estimator.module_.state_dict()))
    elif processes.is_first:
        start.set_first_weights(module, dataset, valid, likelihood, estimator._seed)
    if module.label_decoder is not None:
        module.label_decoder.set_priors(estimator.priors_)
    processes.copy_first(module.state_dict().values())
    return module


def _result(estimator, prepared, net, dataset, processes):
    """The attributes that a fit sets when its training has ended; sorts the components of `net`."""
    history = {k: list(v) for k, v in estimator._history.items()}
    extend(history, finished_epochs(net))
    moments = passes.component_moments(net.module_, _as_trained(estimator, dataset))
    moments = processes.of_first(moments)
    if not np.isfinite(moments).all():  # the last step can make the weights too large
        raise ValueError(f"The latent variables became NaN or infinite. {ADVICE}")
    order = np.argsort(-moments[0], kind="stable")
    train.reorder_net(net, order)
    attributes = _attributes(
        estimator, prepared, net, moments[:, order], n_averaged=WINDOW, annealed=True
    )
    attributes |= {"_history": history, "_first_images": None}
    if not prepared.continuing:
        attributes["_n_start"] = len(dataset)
    return attributes


def _attributes(estimator, prepared, net, moments, *, n_averaged, annealed):
    """The attributes that every training sets; `moments` are averages over `n_averaged` images."""
    return {
        "net_": net,
        "device_": prepared.device,
        "_architecture": prepared.architecture,
        "_binarize": bool(estimator.binarize),
        "_annealed": annealed,
        "_component_moments": moments,
        "_n_averaged": n_averaged,
    }


def _linear_error(estimator, module, dataset, processes):
    """`reconstruction_error` of a network with a linear path; None without, or elsewhere."""
    if module.linear is None or not processes.is_first:
        return None
    return passes.reconstruction_error(module, dataset, estimator.likelihood_)


def _convergence_warnings(estimator, n_images, n_epochs, settings, like_pca):
    """Messages about a training of `n_epochs` epochs that Ctrl-C did not end."""
    images_differ = n_images > 1 and np.diff(estimator.pixel_range_).max() > 0
    n_active, n_components = estimator.n_active_components_, estimator.n_components_
    if like_pca and images_differ and n_images > n_components:
        yield (
            "The training hardly improved on the principal components at which it started: PCA "
            f"with {n_components} components would do as well. It may help to train longer "
            "(max_iter), to send more images, or to take another number of components."
        )
    if n_epochs < settings.beta_warmup * settings.n_epochs:
        yield (
            f"Training ended after {n_epochs} of {settings.n_epochs} epochs, within the warm-up "
            f"of the KL term (beta_warmup={settings.beta_warmup}). Lower beta_warmup, or raise "
            "n_iter_no_change."
        )
    if images_differ and 2 * n_active < n_components:
        yield (
            f"Only {n_active} of {n_components} components are active. The others tell nothing "
            "about an image. Try fewer components, a smaller beta, a warm-up such as "
            "beta_warmup=0.3, or a longer training."
        )


@contextmanager
def _unchanged_on_error(estimator):
    """Restore the attributes of the estimator after an exception."""
    attributes = vars(estimator).copy()
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(attributes)
        raise


@contextmanager
def _advice_on_memory():
    """Turn torch's errors of memory into a MemoryError that says what to lower."""
    try:
        yield
    except RuntimeError as error:
        # torch.OutOfMemoryError on a GPU; on the CPU, a plain RuntimeError of the allocator.
        if "allocate memory" not in str(error) and "out of memory" not in str(error):
            raise
        raise MemoryError(
            "Memory ran out. Lower batch_size, hidden_channels or hidden_units. "
            f"({str(error).splitlines()[0]:.200})"
        ) from error
