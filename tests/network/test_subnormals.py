"""No subnormal numbers in training: processors are up to a hundred times slower on them."""

import numpy as np
import pytest
from nets import GELU
from skorch.callbacks import Callback
from torch import nn

from skvae import ConvVAETransformer

TINY = float(np.finfo(np.float32).tiny)


class Watch(Callback):
    """Share of subnormal numbers in layers' inputs, outputs and gradients; units without effect."""

    def initialize(self):
        self.subnormal_, self.dead_ = {}, {}
        return self

    def on_train_begin(self, net, **kwargs):
        for name, layer in net.module_.named_modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear, GELU)):
                layer.register_forward_hook(self.hook(name))

    def hook(self, name):
        def hook(layer, inputs, output):
            if output.requires_grad:
                self.note(name, inputs[0], output)
                output.register_hook(lambda gradient: self.note(name, gradient))
                if isinstance(layer, GELU):
                    saturated = inputs[0].transpose(0, 1).flatten(1) < -4
                    dead = saturated.all(1)
                    self.dead_[name] = dead.float().mean().item()

        return hook

    def note(self, name, *tensors):
        for tensor in tensors:
            size = tensor.detach().abs()
            share = ((size > 0) & (size < TINY)).float().mean().item()
            self.subnormal_[name] = max(share, self.subnormal_.get(name, 0.0))


def bright_images(shape, n=160, seed=0):
    """Spots on a bright ground, with a mean of about 0.75."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    y, x = (rng.uniform(0.2, 0.8, (n, 1, 1)) * side for side in shape[:2])
    width = 0.15 * max(shape[:2])
    spot = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * width**2))
    images = 0.9 - 0.6 * rng.uniform(0.5, 1, (n, 1, 1)) * spot
    images = np.repeat(images[..., None], 3, 3) if len(shape) == 3 else images
    return (255 * images).astype(np.uint8)


# What shrinks from layer to layer depends on how many there are, which the shape decides.
@pytest.mark.parametrize(
    ("likelihood", "shape"),
    [
        ("bernoulli", (8, 8)),
        ("continuous_bernoulli", (8, 8)),
        ("gaussian", (8, 8)),
        ("bernoulli", (40, 33)),
        ("gaussian", (64, 64, 3)),
    ],
    ids=str,
)
def test_no_number_is_subnormal_and_few_units_are_dead(likelihood, shape):
    watch = Watch()
    ConvVAETransformer(
        5, likelihood=likelihood, max_iter=4, batch_size=16, callbacks=[watch], random_state=0
    ).fit(bright_images(shape))
    assert len(watch.subnormal_) >= 10
    assert max(watch.subnormal_.values()) == 0
    assert len(watch.dead_) >= 5
    assert max(watch.dead_.values()) < 0.1
