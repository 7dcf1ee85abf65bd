"""Keywords that a class does not have, and the parameters meant (standard library only)."""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import TypeVar

# What other libraries call a parameter: Keras, PyTorch, skorch, pythae, scvi-tools and parts of
# scikit-learn. Words that look alike need not be here.
SYNONYMS = {
    "max_iter": ("epochs", "n_epochs", "num_epochs", "max_epochs", "n_iter", "iterations"),
    "learning_rate": ("lr", "eta", "step_size"),
    "n_components": ("latent_dim", "latent_dims", "latent_size", "n_latent", "z_dim", "k"),
    "random_state": ("seed", "random_seed"),
    "image_shape": ("input_shape", "img_shape", "img_size", "image_size", "input_dim"),
    "channel_axis": ("channels_first", "channels_last", "data_format"),
    "hidden_channels": ("hidden_layer_sizes", "hidden_dims", "filters", "n_filters"),
    "likelihood": ("loss", "criterion", "reconstruction_loss", "gene_likelihood"),
    "beta": ("kl_weight", "kld_weight"),
    "n_iter_no_change": ("patience",),
    "device": ("cuda", "gpu", "accelerator"),
    "verbose": ("progress", "progress_bar"),
    "missing_values": ("nan", "nodata"),
    "unlabeled": ("missing_label",),
    "priors": ("class_weight", "class_weights", "class_prior"),
}

Init = TypeVar("Init", bound=Callable)


def suggesting(init: Init) -> Init:
    """An `__init__` whose error for an unknown keyword names the class and the parameter meant.

    Its signature stays what it is, for scikit-learn's `clone` and `get_params`, which read it.
    """
    names = list(inspect.signature(init).parameters)[1:]

    @functools.wraps(init)
    def checked(self, *args, **kwargs):
        for keyword in kwargs:
            if keyword not in names:
                raise TypeError(
                    f"{type(self).__name__} has no parameter {keyword!r}. {_advice(keyword, names)}"
                )
        init(self, *args, **kwargs)

    return checked


def _advice(keyword, names):
    """What was meant by a keyword, or what there is."""
    meant = [name for name in names if keyword.lower() in SYNONYMS.get(name, ())]
    meant = meant or difflib.get_close_matches(keyword.lower(), names, n=1)
    return f"Did you mean {meant[0]}?" if meant else f"Its parameters are {', '.join(names)}."
