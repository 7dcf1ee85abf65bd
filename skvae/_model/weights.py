"""Weights of a network: first values, shapes, as arrays (torch)."""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from .vae import ConvVAE

# Numbers that a usual sum in the first convolution runs over: 3 x 3 blocks of 4 x 4 pixels.
USUAL_FAN_IN = 144

# Smallest standard deviation of pixels in [0, 1] by which they are divided.
MIN_STD = 1e-3

# Size of the first weights of hidden layers in networks of several stages, in units of PyTorch's
# default, with which a signal fades from layer to layer.
GAIN = 2.0


@torch.no_grad()
def draw_weights(module, generator):
    """Draw the weights of all layers from `generator`.

    They are uniform within 1 / sqrt(fan-in), as by PyTorch's default. Weights of hidden layers are
    twice as large if the network has more than one stage.
    """
    last = module.mu_head, module.logvar_head, module.last_layer
    hidden_gain = GAIN if len(module.hidden_channels) > 1 else 1.0
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            gain = 1.0 if layer in last else hidden_gain
            for parameter, most in ((layer.weight, gain * bound), (layer.bias, bound)):
                # Drawn on the device of the generator, which may not be that of the module.
                draws = torch.empty(parameter.shape, dtype=parameter.dtype, device=generator.device)
                parameter.copy_(draws.uniform_(-most, most, generator=generator))


@torch.no_grad()
def set_pixel_units(module, mean, std):
    """Let the convolutions of the encoder see images around 0, in units that suit the training.

    A step of Adam moves each weight by about the learning rate. So it moves a sum over many
    numbers further than one over few: beyond `USUAL_FAN_IN` numbers, these are scaled down and
    the first weights, which must be drawn, up. The network starts as the same function. `mean` has
    the shape (C, H, W), and `std` of the pixels of each channel around it (C, 1, 1).
    """
    first = module.first_layer
    share = min(1.0, USUAL_FAN_IN / first.weight[0].numel())
    first.weight.div_(share)
    module.mean_image.copy_(mean)
    module.pixel_scale.fill_(share)  # of masks, too
    module.pixel_scale[: len(std)].div_(std.to(module.pixel_scale).clamp_min(MIN_STD))


def blank_module(**architecture):
    """A `ConvVAE` in float32 on the meta device, whose weights take no memory.

    Building it draws nothing from the global generator, and does not depend on torch's default
    dtype or device.
    """
    with torch.device("meta"):
        return ConvVAE(**architecture).float()


@lru_cache  # searches fit many networks of the same sizes
def n_products(**architecture):
    """Multiplications that one image takes on its way through the encoder and the decoder.

    >>> sizes = {"n_components": 10, "hidden_channels": (64,), "hidden_units": 256}
    >>> n_products(image_shape=(1, 28, 28), **sizes)
    6129152
    """
    module = blank_module(**{**architecture, "holes": False})
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        total += layer.weight.numel() * math.prod(output.shape[2:])

    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    mu, _ = module.encode(torch.empty(1, *module.image_shape, dtype=torch.float32, device="meta"))
    module.decode(mu)
    return total + (0 if module.linear is None else 2 * module.linear.encoder.numel())


@lru_cache(maxsize=4)  # several fields of a file need them, and each epoch of a checkpoint
def weight_shapes(**architecture):
    """Shapes of the weights of a `ConvVAE` by name, without memory for them."""
    weights = blank_module(**architecture).state_dict()
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def as_arrays(tensors):
    """A dict of tensors as NumPy arrays of their own."""
    return {k: np.array(tensor.detach().cpu().numpy(), order="C") for k, tensor in tensors.items()}


@torch.no_grad()
def set_weights(module, weights):
    """Copy arrays by name into the weights of a network."""
    for name, weight in module.state_dict().items():
        # By NumPy: torch would start threads, without which a forked process waits for ever. And
        # one by one, which takes less memory.
        if weight.device.type == "cpu":
            np.copyto(weight.numpy(), weights[name])
        else:
            weight.copy_(torch.from_numpy(np.array(weights[name])))
