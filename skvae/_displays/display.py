"""Components: their order, and their names in displays (NumPy)."""

import numpy as np


def most_informative(estimator, n=None):
    """The numbers of the `n` most informative components, in descending order."""
    return np.argsort(-estimator.kl_per_component_, kind="stable")[:n]


def name_of(estimator, component):
    """A component as displays call it: its number, and how much it tells about an image."""
    return name_with_nats(component, estimator.kl_per_component_[component])


def name_with_nats(component, nats):
    """The number of a component, and how much it tells about an image, in nats."""
    return f"component {component}, {nats:.2f} nats"
