"""What each process of a group does, and how it is started."""

import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
import warnings
from unittest import mock

import conftest  # noqa: F401 - the same short start as in the tests
import numpy as np
import sklearn.decomposition  # noqa: F401 - as the first fit does
import torch
import torch._dynamo  # as the first optimiser does
import torch.distributed as dist
from skorch.callbacks import Callback, EarlyStopping

from skvae import ConvVAEClassifier, ConvVAECluster, ConvVAETransformer
from skvae._model import passes

# Processes are copies of one that has imported everything: a start takes no seconds.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["parallel", "reliability"])

# 130 = 4 * 32 + 2: of the last batch, the third process gets nothing.
N_IMAGES = 130
SMALL = {
    "n_components": 3,
    "hidden_channels": (4,),
    "hidden_units": 8,
    "batch_size": 32,
    "max_iter": 3,
    "n_iter_no_change": 1,
    "random_state": 0,
}


def images():
    """Two kinds of pictures with noise, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(N_IMAGES) % 2
    X = rng.uniform(0, 0.3, (N_IMAGES, 6, 6)).astype(np.float32)
    X[labels == 0, :3] += 0.5
    X[labels == 1, :, 3:] += 0.6
    return X, labels


def large_images():
    """Pictures of so many numbers that one process takes a batch of 120 in two parts."""
    X, _ = images()
    return np.tile(X, (1, 34, 34))


# Trained on batches in small parts, too.
IN_PARTS = ("running noise", "binarized", "holes", "few labels")


def fits(data_parallel):
    """Fitted estimators of every kind, by name."""
    fitted = {name: vae.fit(*data) for name, (vae, data) in kinds(data_parallel).items()}
    with mock.patch.object(passes, "MAX_PASS_NUMBERS", 5 * 36):
        for name in IN_PARTS:
            vae, data = kinds(data_parallel)[name]
            fitted[f"{name} in parts"] = vae.fit(*data)
    return fitted


def kinds(data_parallel):
    """Estimators of every kind, and what to fit them to, by name."""
    X, labels = images()
    few = np.where(np.arange(N_IMAGES) % 10 < 2, labels, -1)
    holes = np.where(np.random.default_rng(1).random(X.shape) < 0.3, np.nan, X)

    def vae(**params):
        return ConvVAETransformer(**SMALL, data_parallel=data_parallel).set_params(**params)

    def classifier(**params):
        return ConvVAEClassifier(**SMALL, data_parallel=data_parallel, **params)

    bernoulli = {"likelihood": "bernoulli", "early_stopping": False}
    large = {"likelihood": "gaussian", "batch_size": 120, "max_iter": 1}
    return {
        "early stopping": (vae(), (X,)),
        "running noise": (vae(early_stopping=False), (X,)),
        "Bernoulli": (vae(**bernoulli), (X,)),
        "binarized": (vae(**bernoulli, binarize=True, beta_warmup=0.5), (X,)),
        "holes": (vae(missing_values=np.nan), (holes,)),
        "labels": (classifier(), (X, labels)),
        "few labels": (classifier(unlabeled=-1), (X, few)),
        "clusters": (ConvVAECluster(4, **SMALL, data_parallel=data_parallel), (X,)),
        "large": (vae(**large), (large_images(),)),
    }


def results(estimator):
    """Weights, losses and latents of a fitted estimator."""
    weights = {name: weight.numpy() for name, weight in estimator.module_.state_dict().items()}
    history = estimator.history_.drop(columns=["epoch", "duration"]).to_numpy()
    X = images()[0] if estimator.image_shape_ == (6, 6) else large_images()
    return {**weights, "history": history, "latents": estimator.transform(X[:20] / 2)}


class At(Callback):
    """Do something at the end of an epoch."""

    def __init__(self, epoch, action):
        self.epoch, self.action = epoch, action

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            self.action()


class Stop:
    """A callback of scikit-learn that ends the training after an epoch, and says that it does."""

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        print("stop after", fitted_estimator.n_iter_, file=sys.stderr)
        return True


class StopEarly(EarlyStopping):
    """skorch's own, which waits for no improvement of a size that never comes."""

    def __init__(self):
        never = {"threshold": 1e9, "threshold_mode": "abs"}
        super().__init__(monitor="train_loss", patience=1, sink=lambda text: None, **never)


def fail():
    raise ZeroDivisionError("a fault of this process")


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def main(task, rank, size, folder):
    X, _ = images()
    vae = ConvVAETransformer(**SMALL, data_parallel=True, verbose=1)
    last = rank == size - 1
    if task == "fits":
        return {name: results(fitted) for name, fitted in fits(True).items()}
    if task == "absent" and last:
        kill()
    if task == "no seed":  # a seed from NumPy's global generator, which differs; and a warning
        vae.set_params(random_state=None, pixel_range=(0, 0.5))
    if task in ("fail", "interrupt", "kill"):
        action = {"fail": fail, "interrupt": interrupt, "kill": kill}[task]
        vae.set_params(callbacks=[At(2, action)] if last else None)
        vae.set_params(checkpoint=folder / "training.skvae")
    if task == "resume":
        vae.set_params(checkpoint=folder / "training.skvae")
    if task == "stop":
        vae.set_callbacks(Stop())
    if task == "stop early" and last:  # in one process only
        vae.set_params(callbacks=[StopEarly()])
    if task == "differ" and not last:
        vae.set_params(checkpoint=folder / "training.skvae")
    if task == "differ" and last:
        X = X + 0.01
        vae.set_params(beta=2.0)
    return results(vae.fit(X))


def process(task, rank, size, store, folder):
    """Do a task; files of the folder get the result, and what goes to stderr."""
    with open(folder / f"{task}-{rank}.stderr", "wb") as file:
        os.dup2(file.fileno(), 2)
    faulthandler.enable(sys.__stderr__)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    if task != "no seed":
        warnings.filterwarnings("error")
        # As in pyproject.toml.
        warnings.filterwarnings("ignore", "Only .* components are active", UserWarning)
        warnings.filterwarnings("ignore", "The training hardly improved", UserWarning)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    result = main(task, rank, size, folder)
    (folder / f"{task}-{rank}.pickle").write_bytes(pickle.dumps(result))
    dist.destroy_process_group()
