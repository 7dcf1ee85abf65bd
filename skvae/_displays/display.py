"""What displays share: their axes, and the order and the names of components (NumPy)."""

import numpy as np
from sklearn.utils.validation import check_is_fitted


class Display:
    """A display that is drawn on axes, `ax_`, of a figure, `figure_`."""

    def _begin(self, ax, size, layout="constrained"):
        """The axes to draw on; None: those of a new figure of a size in inches."""
        import matplotlib.pyplot as plt

        self.ax_ = plt.subplots(figsize=size, layout=layout)[1] if ax is None else ax
        self.figure_ = self.ax_.figure
        return self.ax_


def check_is_vae(estimator):
    """A NotFittedError if an estimator is not fitted, a TypeError if it is not one of skvae."""
    check_is_fitted(estimator)
    if not hasattr(estimator, "kl_per_component_"):
        raise TypeError(
            "estimator must be one of skvae, which is fitted. Got a "
            f"{type(estimator).__name__}. Of a pipeline, pass the step, such as pipeline[0]. Of a "
            "search, pass it from best_estimator_."
        )


def most_informative(estimator, n=None):
    """The numbers of the `n` most informative components, in descending order."""
    return np.argsort(-estimator.kl_per_component_, kind="stable")[:n]


def name_of(estimator, component):
    """A component as displays call it: its number, and how much it tells about an image."""
    return name_with_nats(component, estimator.kl_per_component_[component])


def name_with_nats(component, nats):
    """The number of a component, and how much it tells about an image, in nats."""
    return f"component {component}, {nats:.2f} nats"
