"""Fitted estimators <-> plain state, for pickles and for files (NumPy, scikit-learn).

The state holds plain Python values and NumPy arrays only. skorch's net is left out, because it
would bring along its device and a pickle of torch. The network is built anew on loading.
"""

from dataclasses import replace

import numpy as np
from sklearn.exceptions import InconsistentVersionWarning

from . import _inference, _net
from ._devices import resolve_device, with_gradients
from ._fitting import settings_of
from ._network import as_arrays, set_weights
from ._version import __version__
from ._warnings import warn


def state_of(estimator, attributes):
    """Attributes, as scikit-learn would pickle them -> plain values, for ``__getstate__``."""
    state = dict(attributes)
    if "net_" in state:
        del state["net_"]
        state["_history"] = {k: list(column) for k, column in state["_history"].items()}
        state["_weights"] = as_arrays(estimator.module_.state_dict())
        state["_skvae_version"] = __version__
    return state


@with_gradients
def restore_network(estimator, weights, version):
    """Build the network of an estimator whose other attributes are restored; may warn."""
    if version != __version__:
        warn(
            InconsistentVersionWarning(
                estimator_name=type(estimator).__name__,
                current_sklearn_version=f"skvae {__version__}",
                original_sklearn_version=f"skvae {version}",
            )
        )
    # Copied: joblib may give a memory map, which would keep its file open.
    estimator._component_moments = np.array(estimator._component_moments)
    try:
        estimator.device_ = resolve_device(estimator.device_)
    except ValueError:
        estimator.device_ = "cpu"
    module = _inference.build_module(
        estimator._architecture, estimator.likelihood_, estimator.device_
    )
    set_weights(module, weights)
    # Without callbacks. If it trains again, `train_increment` builds a net that has them.
    settings = replace(settings_of(estimator, estimator.device_), callbacks=())
    estimator.net_ = _net.build_net(module, settings)
