"""Fitted estimators <-> plain state, for pickles and for files (scikit-learn).

The state holds plain Python values and NumPy arrays only. skorch's net is left out, because it
would bring along its device and a pickle of torch. The network is built anew on loading.
"""

from sklearn.exceptions import InconsistentVersionWarning

from ._data import ImageFormat
from ._model import LIKELIHOODS, as_arrays
from ._version import __version__
from ._warnings import warn

# What an estimator knows as one ImageFormat are values of their own in its state. `bounded` is
# left out: it follows from the likelihood.
FORMAT_STATE = {
    "shape": "image_shape_",
    "channel_axis": "channel_axis_",
    "pixel_range": "pixel_range_",
    "as_rows": "_as_rows",
    "missing_values": "_missing_values",
    "robust": "_robust",
    "saw_uint8": "_saw_uint8",
    "saw_holes": "_saw_holes",
}


def state_of(estimator, attributes):
    """Attributes, as scikit-learn would pickle them -> plain values, for ``__getstate__``."""
    state = dict(attributes)
    if "_format" in state:
        image_format = state.pop("_format")
        state |= {key: getattr(image_format, name) for name, key in FORMAT_STATE.items()}
    state.pop("_first_images", None)  # data of the user
    if "net_" in state:
        del state["net_"]
        state["_history"] = {k: list(column) for k, column in state["_history"].items()}
        state["_weights"] = as_arrays(estimator.module_.state_dict())
        state["_skvae_version"] = __version__
    return state


def with_format(state):
    """The attributes in a state, with one ImageFormat for the values of `FORMAT_STATE`."""
    attributes = dict(state)
    if "image_shape_" in attributes:
        parts = {name: attributes.pop(key) for name, key in FORMAT_STATE.items()}
        bounded = LIKELIHOODS[attributes["likelihood_"]].bounded
        attributes["_format"] = ImageFormat(**parts, bounded=bounded)
    return attributes


def warn_about_version(estimator, version):
    """Warn if another version of skvae wrote the state of an estimator."""
    if version != __version__:
        warn(
            InconsistentVersionWarning(
                estimator_name=type(estimator).__name__,
                current_sklearn_version=f"skvae {__version__}",
                original_sklearn_version=f"skvae {version}",
            )
        )
