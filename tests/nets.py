"""Small networks, images and settings for the tests of nets and of training.

What several of them need of the inside comes from here, so that few files know where it lives.
"""
# ruff: noqa: F401 (imported for others)

import torch

from skvae._data.dataset import ImageDataset
from skvae._data.format import ImageFormat
from skvae._data.pixel_range import PixelValues, resolve_pixel_range
from skvae._files import archive, fields
from skvae._model import passes
from skvae._model.convolutions import GELU, default_n_stages
from skvae._model.likelihoods import LIKELIHOODS, MIN_NOISE_VARIANCE
from skvae._model.noise import PixelNoise, generator_for
from skvae._model.passes import build_module, pass_size
from skvae._model.priors import ClassNormals
from skvae._model.start import linear_network
from skvae._model.vae import ConvVAE
from skvae._model.weights import draw_weights, set_pixel_units
from skvae._training import Budget, batches, n_set_aside, split, train
from skvae._training.augment import affine_maps, covered, mapped
from skvae._training.callbacks import WINDOW, OneCycle, RunningStatistics
from skvae._training.processes import Processes
from skvae._training.settings import TrainSettings

FORMAT = ImageFormat((8, 8), -1, (0.0, 16.0), True)
ARCHITECTURE = {
    "image_shape": (1, 8, 8),
    "n_components": 3,
    "hidden_channels": (8,),
    "hidden_units": 16,
}
SETTINGS = {
    "log_jacobian": (0.0,),
    "beta": 1.0,
    "beta_warmup": 0.0,
    "label_weight": 0.0,
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "tol": 1e-4,
    "binarize": False,
    "augment": 0.0,
    "consistency": 0.0,
    "batch_size": 32,
    "n_epochs": 3,
    "n_iter_no_change": 10,
    "seed": 0,
    "first_epoch": 0,
    "device": "cpu",
    "verbose": 0,
    "name": "ConvVAETransformer",
}


def dataset_of(images, labels=None):
    return ImageDataset(images.reshape(len(images), -1), FORMAT, labels=labels)


def split_of(vae, images, labels=None, early_stopping=True, validation_fraction=0.1):
    """What a fit with the seed of a fitted estimator trains on, and sets aside, as datasets."""
    dataset = dataset_of(images, labels)
    n_valid = n_set_aside(dataset, vae.likelihood_, early_stopping, validation_fraction)
    return split(dataset, n_valid, vae._seed)


def network(seed=0, likelihood="bernoulli", n_classes=0, holes=False):
    """A network with weights drawn at random, and classes that are equally probable."""
    linear_path = LIKELIHOODS[likelihood].normal
    architecture = {**ARCHITECTURE, "linear_path": linear_path, "n_classes": n_classes}
    architecture["holes"] = holes
    module = build_module(architecture, likelihood, "cpu")
    generator = torch.Generator("cpu").manual_seed(seed)
    with torch.no_grad():
        for weight in module.state_dict().values():
            weight.uniform_(-0.1, 0.1, generator=generator)
        if n_classes:
            module.prior.set_priors([1 / n_classes] * n_classes)
            module.prior.shares.fill_(1 / n_classes)
    return module
