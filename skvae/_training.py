"""Training by skorch, and the passes of a trained network over many rows (torch, skorch)."""

import math
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, EpochTimer, LRScheduler
from skorch.helper import predefined_split
from torch.optim.lr_scheduler import OneCycleLR
from tqdm.auto import tqdm  # a requirement of skorch

from . import _elbo
from ._elbo import LIKELIHOODS
from ._network import ConvVAE, initialize_weights

# Rows in every pass of a trained network. A constant, with the last pass filled up: matrix
# products choose their order of summation by the size, so that rows which came in calls of
# other sizes would differ in the last bits.
CHUNK = 128

# Optimiser steps that `max_iter=None` aims at, and the bound that keeps tiny data instant.
N_STEPS, MAX_EPOCHS = 5_600, 100

# Rows of noise from which a row of X takes its own, by its pixels.
N_NOISE = 2**14

# What a seed is used for: each use has a generator of its own.
WEIGHTS, EPOCH, SCORE = range(3)


def default_max_iter(n_samples, batch_size):
    """Epochs that make about 5,600 steps, between 1 and 100.

    Parameters
    ----------
    n_samples, batch_size : int

    Returns
    -------
    max_iter : int
    """
    n_batches = math.ceil(n_samples / batch_size)
    return min(MAX_EPOCHS, max(1, round(N_STEPS / n_batches)))


def resolve_device(device):
    """The torch device string to compute on.

    Parameters
    ----------
    device : str
        ``"auto"`` (CUDA, else MPS, else CPU) or a torch device string.

    Returns
    -------
    device : str

    Raises
    ------
    ValueError
        If torch does not know the device, or this machine does not have it.
    """
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if device == "auto":
        return available[0]
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = None
    if kind not in available:
        raise ValueError(
            f"device={device!r} is not available. Available here: {', '.join(available)}; "
            "device='auto' takes the first of these."
        )
    return device


class ImageDataset(torch.utils.data.Dataset):
    """Images that stay as they came until their batch.

    Parameters
    ----------
    rows : ndarray of shape (n, n_features)
        Any real dtype; may be read-only or a memory map.

    image_format : ImageFormat

    indices : ndarray of int, default=None
        The rows that belong to the set; None: all.
    """

    def __init__(self, rows, image_format, indices=None):
        self.rows = rows
        self.image_format = image_format
        self.indices = np.arange(len(rows)) if indices is None else indices

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, positions):
        """x of shape (n, C, H, W) in [0, 1] at an array or a slice of positions."""
        rows = self.rows[self.indices[positions]]  # indices copy, also from a memory map
        return torch.from_numpy(self.image_format.to_unit(rows))

    def thinned(self):
        """At most 10,000 of the images, spread evenly over the set."""
        step = math.ceil(len(self) / 10_000)
        return ImageDataset(self.rows, self.image_format, self.indices[::step])


def _chunks(n):
    """Slices of CHUNK positions, the last one perhaps of fewer."""
    return [slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]


def _generator(seed, *stream):
    state = np.random.SeedSequence([seed, *stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


class EpochBatches:
    """Every image once, in a new order and with new noise in each epoch.

    Order and noise depend on the seed and on the number of the epoch alone.

    Parameters
    ----------
    dataset : ImageDataset

    batch_size : int

    n_components : int

    seed : int

    first_epoch : int
        Number of the epoch that the first iteration yields.

    device : str
    """

    def __init__(self, dataset, batch_size, n_components, seed, first_epoch, device):
        self.dataset = dataset
        self.batch_size = batch_size
        self.n_components = n_components
        self.seed = seed
        self.epoch = first_epoch
        self.device = device

    def __iter__(self):
        generator = _generator(self.seed, EPOCH, self.epoch)
        self.epoch += 1
        order = torch.randperm(len(self.dataset), generator=generator).numpy()
        for start in range(0, len(order), self.batch_size):
            x = self.dataset[order[start : start + self.batch_size]]
            noise = torch.randn(len(x), self.n_components, generator=generator)
            yield {"x": x.to(self.device), "noise": noise.to(self.device)}, None


class ScoringBatches:
    """The images in their order, each with the noise that belongs to its pixels.

    Parameters
    ----------
    dataset : ImageDataset

    batch_size : int

    n_components : int

    seed : int

    device : str
    """

    def __init__(self, dataset, batch_size, n_components, seed, device):
        self.dataset = dataset
        self.batch_size = batch_size
        self.noise = PixelNoise(n_components, seed)
        self.device = device

    def __iter__(self):
        for start in range(0, len(self.dataset), self.batch_size):
            x = self.dataset[slice(start, start + self.batch_size)]
            yield {"x": x.to(self.device), "noise": self.noise(x).to(self.device)}, None


class PixelNoise:
    """Draws from N(0, I) for the posterior of an image, chosen by its pixels.

    So the estimate for an image does not depend on the other images, their number or their
    order, and still the errors of different images are independent: with one draw shared by
    all, they would add up instead of averaging out.

    Parameters
    ----------
    n_components : int

    seed : int
    """

    def __init__(self, n_components, seed):
        self.draws = torch.randn(N_NOISE, n_components, generator=_generator(seed, SCORE))

    def __call__(self, x):
        """Noise of shape (n, K) for x of shape (n, C, H, W) on the CPU."""
        bits = x.flatten(1).numpy().view(np.uint32).astype(np.uint64)
        # A multiply-shift hash (Dietzfelbinger et al., 1997): its top bits are the best ones.
        multipliers = np.random.default_rng(0).integers(2**64, size=bits.shape[1], dtype=np.uint64)
        keys = (bits @ multipliers) >> np.uint64(64 - N_NOISE.bit_length() + 1)
        return self.draws[torch.from_numpy(keys.astype(np.int64))]


class ElboTerms(torch.nn.Module):
    """The two terms of the ELBO of each image, in nats.

    Parameters
    ----------
    likelihood : str
        A key of `LIKELIHOODS`.
    """

    def __init__(self, likelihood):
        super().__init__()
        self.likelihood = likelihood

    def forward(self, y_pred, x, dtype=None):
        """(log p(x|z), KL), each of shape (n,), from what `ConvVAE` returns."""
        logits, mu, logvar = y_pred
        log_likelihood = _elbo.log_likelihood(self.likelihood, logits, x, dtype)
        return log_likelihood, _elbo.kl_divergence(mu, logvar).sum(1, dtype=dtype)


class VAENet(NeuralNet):
    """A skorch net that minimises the mean of -log p(x|z) + beta * KL over the images.

    Parameters
    ----------
    *args, **kwargs
        As for `skorch.NeuralNet`.

    beta : float
        Weight of the KL term.
    """

    def __init__(self, *args, beta, **kwargs):
        super().__init__(*args, **kwargs)
        self.beta = beta

    @property
    def _default_callbacks(self):
        return [("epoch_timer", EpochTimer())]

    def on_epoch_begin(self, net, **kwargs):
        super().on_epoch_begin(net, **kwargs)
        self.sums_ = {}

    def get_loss(self, y_pred, y_true, X=None, training=False):
        log_likelihood, kl = self.criterion_(y_pred, X["x"])
        negative_elbo = self.beta * kl - log_likelihood  # (n,)
        terms = torch.stack([negative_elbo, log_likelihood, kl]).detach()
        # Sums over images, not means of batch means: the last batch may be short.
        n, sums = self.sums_.get(training, (0, 0.0))
        self.sums_[training] = n + len(kl), sums + terms.sum(1).cpu().double()
        return negative_elbo.mean()

    def on_epoch_end(self, net, **kwargs):
        super().on_epoch_end(net, **kwargs)
        for training, (n, sums) in self.sums_.items():
            prefix = "train" if training else "valid"
            for name, value in zip(("loss", "log_likelihood", "kl"), sums / n, strict=True):
                self.history.record(f"{prefix}_{name}", value.item())
            if not math.isfinite(sums[0]):
                raise ValueError(
                    f"The loss of the {prefix}ing images became {sums[0].item()} in epoch "
                    f"{self.history[-1, 'epoch']}. Lower learning_rate, or give a pixel_range "
                    "without outliers."
                )


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


def build_module(architecture, device):
    """A network whose weights are not set yet.

    Parameters
    ----------
    architecture : dict
        The parameters of `ConvVAE`; ``hidden_channels`` may be None.

    device : str

    Returns
    -------
    module : ConvVAE
    """
    # On the meta device, layers are made without drawing from the global generator.
    with torch.device("meta"):
        module = ConvVAE(**architecture)
    return module.to_empty(device=device).to(memory_format=torch.channels_last)


def draw_weights(module, dataset, seed):
    """Set the weights of `module` from `seed`, the output bias from the mean pixel.

    Parameters
    ----------
    module : ConvVAE

    dataset : ImageDataset

    seed : int
    """
    sample = dataset.thinned()
    sums = sum(
        sample[part].mean((2, 3)).sum(0, dtype=torch.float64) for part in _chunks(len(sample))
    )
    initialize_weights(module, _generator(seed, WEIGHTS), (sums / len(sample)).tolist())


def build_net(
    module, *, likelihood, beta, batch_size, learning_rate, seed, first_epoch, device, callbacks=()
):
    """An initialised net around a network.

    Parameters
    ----------
    module : ConvVAE

    likelihood : str

    beta, learning_rate : float

    batch_size, seed, first_epoch : int

    device : str

    callbacks : sequence of skorch callbacks

    Returns
    -------
    net : VAENet
    """
    batches = {"n_components": module.n_components, "seed": seed, "device": device}
    return VAENet(
        module,
        ElboTerms,
        criterion__likelihood=likelihood,
        beta=beta,
        optimizer=torch.optim.Adam,
        optimizer__betas=(0.9, 0.99),
        optimizer__fused=True,
        lr=learning_rate,
        batch_size=batch_size,
        iterator_train=partial(EpochBatches, first_epoch=first_epoch, **batches),
        iterator_valid=partial(ScoringBatches, **batches),
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
    optimizer=None,
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

    optimizer : torch.optim.Optimizer, default=None
        Whose running moments to go on from.

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
    own = []
    if one_cycle:
        n_steps = n_epochs * math.ceil(len(dataset) / net_params["batch_size"])
        schedule = {"max_lr": net_params["learning_rate"], "total_steps": n_steps + 1}
        own.append(
            LRScheduler(
                OneCycleLR, step_every="batch", event_name=None, cycle_momentum=False, **schedule
            )
        )
    if valid is not None:
        own.append(
            EarlyStopping(
                "valid_loss", patience, threshold=tol, threshold_mode="abs", load_best=True
            )
        )
    with tqdm(total=n_epochs, desc="ConvVAETransformer", unit="epoch", disable=not verbose) as bar:
        net = build_net(module, callbacks=[*own, ProgressBar(bar), *callbacks], **net_params)
        if optimizer is not None:
            moments = deepcopy(optimizer.state_dict()["state"])
            net.optimizer_.load_state_dict({**net.optimizer_.state_dict(), "state": moments})
        net.train_split = None if valid is None else predefined_split(valid)
        net.notify("on_train_begin", X=dataset, y=None)
        try:
            net.fit_loop(dataset, epochs=n_epochs)
            interrupted = False
        except KeyboardInterrupt:
            # skorch's EarlyStopping, ours or the caller's, stops by the same exception.
            interrupted = not any(
                isinstance(callback, EarlyStopping) and callback.misses_ >= callback.patience
                for _, callback in net.callbacks_
            )
        net.notify("on_train_end", X=dataset, y=None)
    return net, interrupted


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


def get_weights(module):
    """The weights of a network as NumPy arrays of its own.

    Parameters
    ----------
    module : ConvVAE

    Returns
    -------
    weights : dict of str to ndarray
    """
    return {
        name: np.array(weight.detach().cpu().contiguous())
        for name, weight in module.state_dict().items()
    }


def set_weights(module, weights):
    """Copy NumPy arrays, which may be read-only, into a network.

    Parameters
    ----------
    module : ConvVAE

    weights : dict of str to ndarray
    """
    module.load_state_dict({name: torch.tensor(weight) for name, weight in weights.items()})


def encode(module, dataset):
    """Posterior of each image.

    Parameters
    ----------
    module : ConvVAE

    dataset : ImageDataset

    Returns
    -------
    mu, logvar : ndarray of shape (n, K), float32
    """
    return _map_chunks(module, module.encode, dataset)


def mean_kl_per_component(module, dataset):
    """Mean KL(q(z_k|x) || N(0, 1)) over at most 10,000 of the images.

    Parameters
    ----------
    module : ConvVAE

    dataset : ImageDataset

    Returns
    -------
    kl : ndarray of shape (K,), float64
        In nats.
    """
    mu, logvar = map(torch.from_numpy, encode(module, dataset.thinned()))
    return _elbo.kl_divergence(mu, logvar).double().mean(0).numpy()


def decode(module, z, likelihood):
    """Mean of p(x|z).

    Parameters
    ----------
    module : ConvVAE

    z : ndarray of shape (n, K)

    likelihood : str

    Returns
    -------
    images : ndarray of shape (n, C, H, W), float32
        Pixels in [0, 1].
    """

    def mean_image(z):
        return (LIKELIHOODS[likelihood].mean(module.decode(z)),)

    latents = torch.from_numpy(np.array(z, dtype=np.float32))
    return _map_chunks(module, mean_image, latents)[0]


def elbo(module, dataset, likelihood, seed):
    """log p(x|z) - KL(q(z|x) || N(0, I)) of each image, for one draw z ~ q(z|x).

    Parameters
    ----------
    module : ConvVAE

    dataset : ImageDataset

    likelihood : str

    seed : int

    Returns
    -------
    elbo : ndarray of shape (n,), float64
        In nats.
    """
    noise = PixelNoise(module.n_components, seed)
    terms = ElboTerms(likelihood)

    def bound(x):
        # Apple's GPUs know no float64.
        dtype = None if x.device.type == "mps" else torch.float64
        y_pred = module(x, noise(x.cpu()).to(x.device))
        log_likelihood, kl = terms(y_pred, x, dtype)
        return (log_likelihood - kl,)

    return _map_chunks(module, bound, dataset)[0].astype(np.float64)


@torch.inference_mode()
def _map_chunks(module, function, blocks):
    """Outputs of `function` for all of `blocks`, by passes of exactly CHUNK rows."""
    n, device = len(blocks), next(module.parameters()).device
    results = None
    for part in _chunks(n):
        block = blocks[part]
        n_rows = len(block)
        if n_rows < CHUNK:
            block = torch.cat([block, block.new_zeros(CHUNK - n_rows, *block.shape[1:])])
        outputs = [output[:n_rows].cpu().numpy() for output in function(block.to(device))]
        if results is None:
            results = [np.empty((n, *out.shape[1:]), out.dtype) for out in outputs]
        for result, output in zip(results, outputs, strict=True):
            result[part] = output
    return results
