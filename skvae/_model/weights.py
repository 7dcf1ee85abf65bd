"""Weights of a network: first values, shapes, as arrays, in another order (torch)."""

import math

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


# Precision of the data on a component that starts without an axis of PCA: nearly none.
LEAST_PRECISION = math.exp(-4)


@torch.no_grad()
def draw_weights(module, generator):
    """Draw the weights of all layers from `generator`.

    They are uniform within 1 / sqrt(fan-in), as by PyTorch's default. Weights of hidden layers are
    twice as large if the network has more than one stage.

    Parameters
    ----------
    module : ConvVAE

    generator : torch.Generator
    """
    last = module.mu_head, module.logvar_head, module.decoder[-2]
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
    the first weights up. The network starts as the same function.

    Parameters
    ----------
    module : ConvVAE
        Its weights must be drawn.

    mean : tensor of shape (C, H, W)

    std : tensor of shape (C, 1, 1)
        Standard deviation of the pixels of each channel around `mean`.
    """
    first = module.encoder[1]
    share = min(1.0, USUAL_FAN_IN / first.weight[0].numel())
    first.weight.div_(share)
    module.mean_image.copy_(mean)
    module.pixel_scale.fill_(share)  # of masks, too
    module.pixel_scale[: len(std)].div_(std.to(module.pixel_scale).clamp_min(MIN_STD))


@torch.no_grad()
def start_at_logits(module, logits):
    """Let the decoder start at the same logit for all pixels of a channel.

    Parameters
    ----------
    module : ConvVAE

    logits : tensor of shape (C,)
    """
    last = module.decoder[-2]
    bias = logits.to(last.bias)
    last.bias.copy_(bias.repeat_interleave(len(last.bias) // len(bias)))


@torch.no_grad()
def start_at_class_means(module, means):
    """Let p(z|y) start at N(m_y, I).

    Parameters
    ----------
    module : ConvVAE
        With a label decoder.

    means : tensor of shape (n_classes, K)
        m_y.
    """
    module.label_decoder.means.copy_(means)
    module.label_decoder.logvar.zero_()
    module.label_decoder.shares.fill_(1 / len(means))


@torch.no_grad()
def start_at_linear(module, mean, encoder, decoder, bias, logvar, logit_unit, variances):
    """Let a network start as a linear one; its convolutions start at 0.

    Components beyond the q that the linear network has start as the prior.

    Parameters
    ----------
    module : ConvVAE
        With a linear path.

    mean : tensor of shape (D,)
        Mean picture, in the resolution of the linear path.

    encoder : tensor of shape (q, D)
        The posterior mean is encoder (x - mean); q <= K.

    decoder : tensor of shape (D, q)
        The logits are decoder z + bias.

    bias : tensor of shape (D,)

    logvar : tensor of shape (q,)
        log sigma^2 of the posterior; below 0.

    logit_unit : float
        Unit of what the convolutions add to the logits.

    variances : tensor of shape (q,)
        Of the images along the axes of the encoder.
    """
    linear, q = module.linear, len(logvar)
    linear.mean.copy_(mean)
    linear.bias.copy_(bias)
    linear.encoder.zero_()[:q] = encoder
    linear.decoder.zero_()[:, :q] = decoder
    if linear.variances is not None:
        linear.variances.fill_(1.0)[:q] = variances
    linear.encoder_gate.fill_(1.0)
    linear.decoder_gate.fill_(1.0)
    module.mu_unit.fill_(1.0)[:q] = torch.exp(logvar / 2)
    module.logit_unit.fill_(logit_unit)
    for layer in (module.mu_head, module.decoder[-2]):
        layer.weight.zero_()
        layer.bias.zero_()
    # log sigma^2 = -log(1 + precision of the data); nearly 0 for a component of the prior.
    precision = torch.full_like(module.mu_unit, LEAST_PRECISION)
    precision[:q] = torch.expm1(-logvar).clamp_min(LEAST_PRECISION)
    module.logvar_head.weight.mul_(0.1)
    module.logvar_head.bias.copy_(-precision.log())


def blank_module(**architecture):
    """A network in float32 on the meta device, whose weights take no memory.

    Building it draws nothing from the global generator, and does not depend on torch's default
    dtype or device.

    Parameters
    ----------
    **architecture
        As for `ConvVAE`.

    Returns
    -------
    module : ConvVAE
    """
    with torch.device("meta"):
        return ConvVAE(**architecture).float()


def n_products(**architecture):
    """Multiplications that one image takes on its way through the encoder and the decoder.

    Parameters
    ----------
    **architecture
        As for `ConvVAE`.

    Returns
    -------
    n_products : int

    Examples
    --------
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


def weight_shapes(**architecture):
    """Shapes of the weights of a network, without memory for them.

    Parameters
    ----------
    **architecture
        As for `ConvVAE`.

    Returns
    -------
    shapes : dict of str to tuple of int
    """
    weights = blank_module(**architecture).state_dict()
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def as_arrays(tensors):
    """Tensors as NumPy arrays of their own.

    Parameters
    ----------
    tensors : dict of str to tensor
        Such as ``module.state_dict()``.

    Returns
    -------
    arrays : dict of str to ndarray
    """
    return {k: np.array(tensor.detach().cpu().numpy(), order="C") for k, tensor in tensors.items()}


def as_tensors(arrays):
    """NumPy arrays, which may be read-only, as tensors of their own.

    Parameters
    ----------
    arrays : dict of str to ndarray

    Returns
    -------
    tensors : dict of str to tensor
    """
    return {k: torch.tensor(array, device="cpu") for k, array in arrays.items()}


@torch.no_grad()
def set_weights(module, weights):
    """Copy arrays into the weights of a network.

    Parameters
    ----------
    module : ConvVAE

    weights : dict of str to ndarray
    """
    for name, weight in module.state_dict().items():
        # By NumPy: torch would start threads, without which a forked process waits for ever. And
        # not by `as_tensors`: one copy at a time takes less memory.
        if weight.device.type == "cpu":
            np.copyto(weight.numpy(), weights[name])
        else:
            weight.copy_(torch.from_numpy(np.array(weights[name])))


# Names of the weights that have a row, or a column, for each component.
HEADS = {f"{head}.{part}" for head in ("mu_head", "logvar_head") for part in ("weight", "bias")}


ROWS = HEADS | {"mu_unit", "linear.encoder", "linear.encoder_gate", "linear.decoder_gate"}


ROWS |= {"label_decoder.logvar", "linear.variances"}


COLUMNS = {"decoder.0.weight", "linear.decoder", "label_decoder.means"}


@torch.no_grad()
def reorder_components(weights, order):
    """Reorder the components in a dict of weights, in place.

    Parameters
    ----------
    weights : dict of str to tensor
        Such as ``module.state_dict()``, or moments of the same shapes. Some may be missing.

    order : tensor of shape (K,)
        Old places of the components.
    """
    for name in ROWS & weights.keys():
        weights[name].copy_(weights[name][order])
    for name in COLUMNS & weights.keys():
        weights[name].copy_(weights[name][:, order])
