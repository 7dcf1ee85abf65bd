"""The sizes of a network, from parameters and images; parameters that contradict each other."""

import numpy as np

from .._counts import is_count
from .._model import LIKELIHOODS, default_n_stages

# With fewer images than this, the network has a linear path in every family.
LINEAR_PATH_MANY = 10_000

# Default channels of a stage, and of one that has neither a linear path beside it nor classes to
# tell apart, for black-and-white pixels. There, more epochs in the same time are worth more.
N_CHANNELS, N_CHANNELS_ALONE = 64, 32


def check_parameters(estimator):
    """Refuse parameters that contradict each other, by a ValueError."""
    marker = estimator.missing_values
    if isinstance(marker, bool):
        raise ValueError(
            "missing_values must be NaN or a number that marks missing pixels, or None. "
            f"Got {marker}."
        )
    if marker is not None and np.isinf(marker):
        raise ValueError(
            "missing_values must be NaN or a finite number: infinite values of X are refused. "
            f"Got {marker}. Replace them by NaN, and set missing_values=np.nan."
        )
    if estimator.binarize and estimator.likelihood not in ("auto", "bernoulli"):
        raise ValueError(
            "binarize=True needs likelihood='bernoulli', the family of 0/1 pixels. "
            f"Got likelihood={str(estimator.likelihood)!r}."
        )


def resolve_architecture(estimator, n_images, *, continuing):
    """The parameters of `ConvVAE` but for its likelihood; `n_images` is infinite if more may come.

    A ValueError if they are no sizes, or if the training of another network is to go on.
    """
    image_shape = estimator._format.channels_first_shape
    family, n_classes = LIKELIHOODS[estimator.likelihood_], estimator._n_classes
    hidden_channels = estimator.hidden_channels
    if continuing:
        linear_path = estimator._architecture["linear_path"]
    else:
        linear_path = n_images < LINEAR_PATH_MANY or family.normal
    if hidden_channels is None and continuing:
        hidden_channels = estimator._architecture["hidden_channels"]
    elif hidden_channels is None:
        alone = not (linear_path or n_classes or family.continuous)
        hidden_channels = _default_channels(image_shape, alone=alone)
    if not hidden_channels or not all(map(is_count, hidden_channels)):
        raise ValueError(
            "hidden_channels must hold one whole number above 0 for each stage. "
            f"Got {estimator.hidden_channels!r}."
        )
    architecture = {
        "image_shape": image_shape,
        "n_components": int(estimator.n_components),
        "hidden_channels": tuple(int(n) for n in hidden_channels),
        "hidden_units": int(estimator.hidden_units),
        "linear_path": linear_path,
        "holes": estimator._format.missing_values is not None,
        "n_classes": n_classes,
    }
    if continuing:
        _check_same_model(estimator, architecture)
    return architecture


def _default_channels(image_shape, *, alone):
    """Channels of each stage, starting at the image; `alone` as for `N_CHANNELS_ALONE`."""
    _, height, width = image_shape
    return (N_CHANNELS_ALONE if alone else N_CHANNELS,) * default_n_stages(height, width)


def _check_same_model(estimator, architecture):
    """Refuse to continue with a network of other sizes, family or marker; names both."""
    fitted = {**estimator._architecture, "likelihood": estimator.likelihood_}
    likelihood = str(estimator.likelihood)
    if likelihood == "auto":
        likelihood = "bernoulli" if estimator.binarize else estimator.likelihood_
    asked = {**architecture, "likelihood": likelihood}
    if asked != fitted:
        raise ValueError(
            f"The network was fitted as {fitted}, but the parameters now ask for {asked}. "
            "Training continues from the fitted network: set the parameters back, or call fit "
            "with warm_start=False."
        )
    fitted, asked = markers = estimator._format.missing_values, estimator.missing_values
    if fitted != asked and (None in markers or not np.isnan(markers).all()):
        raise ValueError(
            f"The network was fitted with missing_values={fitted}, but the parameter now is "
            f"{asked}. Training continues from the fitted network: set the parameter back, or call "
            "fit with warm_start=False."
        )
