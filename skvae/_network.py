"""Encoder, decoder, the reparametrisation trick, and weights as arrays (torch, NumPy)."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def stage_folds(height, width, n_stages):
    """How much each stage of the encoder shrinks the picture, as (rows, columns).

    A side is halved until at most 7 cells are left. The last stages halve once each; the
    first takes all that is still due, which is where pixels are plenty and channels few.

    Parameters
    ----------
    height, width : int
        Sides of the picture, in pixels.

    n_stages : int
        Number of stages.

    Returns
    -------
    folds : list of (int, int)
        One pair for each stage.

    Examples
    --------
    >>> stage_folds(28, 28, 1)
    [(4, 4)]
    >>> stage_folds(105, 40, 3)
    [(4, 2), (2, 2), (2, 2)]
    """
    return list(zip(_side_folds(height, n_stages), _side_folds(width, n_stages), strict=True))


def default_hidden_channels(height, width):
    """Channels of each stage of the encoder, from the picture inwards.

    One stage where two halvings or fewer leave at most 7 cells on each side, which is up to
    28 pixels; one more for each further halving.

    Parameters
    ----------
    height, width : int
        Sides of the picture, in pixels.

    Returns
    -------
    hidden_channels : tuple of int

    Examples
    --------
    >>> default_hidden_channels(28, 28), default_hidden_channels(105, 105)
    ((64,), (32, 64, 64))
    """
    n_stages = max(1, _n_halvings(height) - 1, _n_halvings(width) - 1)
    return (64,) if n_stages == 1 else (32,) + (64,) * (n_stages - 1)


def _n_halvings(side):
    """Halvings that leave at most 7 of `side` cells."""
    return (math.ceil(side / 7) - 1).bit_length()


def _side_folds(side, n_stages):
    n_halvings = _n_halvings(side)
    first = max(0, n_halvings - (n_stages - 1))
    later = [2 if stage < n_halvings - first else 1 for stage in range(n_stages - 1)]
    return [2**first, *later]


class Fold(nn.Module):
    """Move blocks of pixels into channels: (n, C, H, W) -> (n, C * rows * columns, H', W').

    As `torch.nn.PixelUnshuffle`, with a factor for each axis.

    Parameters
    ----------
    rows, columns : int
        Size of a block; H' = H / rows and W' = W / columns.
    """

    def __init__(self, rows, columns):
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, x):
        n, c, h, w = x.shape
        h, w = h // self.rows, w // self.columns
        x = x.reshape(n, c, h, self.rows, w, self.columns).permute(0, 1, 3, 5, 2, 4)
        return x.reshape(n, c * self.rows * self.columns, h, w)


class Unfold(nn.Module):
    """The inverse of `Fold`: (n, C * rows * columns, H', W') -> (n, C, H, W).

    Parameters
    ----------
    rows, columns : int
        Size of a block.
    """

    def __init__(self, rows, columns):
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, x):
        n, c, h, w = x.shape
        c = c // (self.rows * self.columns)
        x = x.reshape(n, c, self.rows, self.columns, h, w).permute(0, 1, 4, 2, 5, 3)
        return x.reshape(n, c, h * self.rows, w * self.columns)


def _conv(in_channels, out_channels, cells):
    # A 3 x 3 window that keeps the size; on a side of one cell its outer part sees padding only.
    kernel = [3 if side > 1 else 1 for side in cells]
    return nn.Conv2d(in_channels, out_channels, kernel, padding=[k // 2 for k in kernel])


class ConvVAE(nn.Module):
    """Variational auto-encoder of pictures, with a decoder that mirrors the encoder.

    Each stage of the encoder folds pixels into channels and convolves twice; a dense layer
    and two heads give mu and log sigma^2. The picture is padded at the bottom and at the
    right to a multiple of the folds, and the logits are cropped back.

    Parameters
    ----------
    image_shape : tuple of int
        ``(C, H, W)``.

    n_components : int
        K, the number of latent variables.

    hidden_channels : sequence of int
        Channels of each stage.

    hidden_units : int
        Width of the dense layer on either side of the latents.

    learns_noise : bool, default=False
        Whether there is a `noise_logvar`, log of a variance that all pixels share.
    """

    def __init__(
        self, image_shape, n_components, hidden_channels, hidden_units, learns_noise=False
    ):
        super().__init__()
        self.image_shape = channels, height, width = tuple(image_shape)
        self.n_components = n_components
        folds = stage_folds(height, width, len(hidden_channels))
        total = [math.prod(fold[axis] for fold in folds) for axis in (0, 1)]
        cells = [math.ceil(height / total[0]), math.ceil(width / total[1])]
        self.padding = (0, cells[1] * total[1] - width, 0, cells[0] * total[0] - height)
        bottom = (hidden_channels[-1], *cells)

        # Built from the bottom up, so that both sides know the cells of every stage.
        encoder, decoder = [], []
        inputs = [channels, *hidden_channels[:-1]]
        for fold, n_in, n_out in reversed(list(zip(folds, inputs, hidden_channels, strict=True))):
            n_folded = n_in * fold[0] * fold[1]
            encoder = [
                Fold(*fold),
                _conv(n_folded, n_out, cells),
                nn.GELU(),
                _conv(n_out, n_out, cells),
                nn.GELU(),
                *encoder,
            ]
            decoder += [
                nn.GELU(),
                _conv(n_out, n_out, cells),
                nn.GELU(),
                _conv(n_out, n_folded, cells),
                Unfold(*fold),
            ]
            cells = [cells[0] * fold[0], cells[1] * fold[1]]

        n_bottom = math.prod(bottom)
        self.encoder = nn.Sequential(
            *encoder, nn.Flatten(), nn.Linear(n_bottom, hidden_units), nn.GELU()
        )
        self.mu_head = nn.Linear(hidden_units, n_components)
        self.logvar_head = nn.Linear(hidden_units, n_components)
        self.decoder = nn.Sequential(
            nn.Linear(n_components, hidden_units),
            nn.GELU(),
            nn.Linear(hidden_units, n_bottom),
            nn.Unflatten(1, bottom),
            *decoder,
        )
        self.noise_logvar = nn.Parameter(torch.empty(())) if learns_noise else None

    def encode(self, x):
        """Parameters of the posterior q(z|x) = N(mu, diag(sigma^2)).

        Parameters
        ----------
        x : tensor of shape (n, C, H, W)
            Images in [0, 1].

        Returns
        -------
        mu, logvar : tensor of shape (n, K)
            Mean and log sigma^2.
        """
        hidden = self.encoder(F.pad(x, self.padding))  # (n, hidden_units)
        return self.mu_head(hidden), self.logvar_head(hidden)

    def decode(self, z):
        """Natural parameters of p(x|z).

        Parameters
        ----------
        z : tensor of shape (n, K)

        Returns
        -------
        logits : tensor of shape (n, C, H, W)
        """
        _, height, width = self.image_shape
        return self.decoder(z)[..., :height, :width]

    def forward(self, x, noise):
        """Logits for one draw z ~ q(z|x), and the posterior that it came from.

        Parameters
        ----------
        x : tensor of shape (n, C, H, W)
            Images in [0, 1].

        noise : tensor of shape (n, K)
            Draws from N(0, I).

        Returns
        -------
        logits : tensor of shape (n, C, H, W)

        mu, logvar : tensor of shape (n, K)

        noise_logvar : tensor of shape () or None
        """
        mu, logvar = self.encode(x)
        return self.decode(reparametrize(mu, logvar, noise)), mu, logvar, self.noise_logvar


def reparametrize(mu, logvar, noise):
    """z = mu + sigma * noise, Kingma & Welling (2014), section 2.4.

    Parameters
    ----------
    mu, logvar : tensor of shape (n, K)

    noise : tensor of shape (n, K)
        Draws from N(0, I).

    Returns
    -------
    z : tensor of shape (n, K)
    """
    return mu + torch.exp(0.5 * logvar) * noise


@torch.no_grad()
def initialize_weights(module, generator, output_bias, noise_logvar=0.0):
    """Draw all weights from `generator`, and let the decoder start at given logits.

    Weights and biases are uniform within 1 / sqrt(fan-in), PyTorch's own default, which
    would draw from the global generator.

    Parameters
    ----------
    module : ConvVAE

    generator : torch.Generator

    output_bias : sequence of C floats
        Natural parameter of each channel to start at: that of its mean pixel.

    noise_logvar : float, default=0.0
        Where the learned noise starts, if there is any.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for parameter in (layer.weight, layer.bias):
                # Drawn where the generator is, which may not be where the module is.
                draws = torch.empty(parameter.shape, dtype=parameter.dtype, device=generator.device)
                parameter.copy_(draws.uniform_(-bound, bound, generator=generator))
    last = module.decoder[-2]
    bias = torch.as_tensor(output_bias, dtype=torch.float32, device="cpu")
    last.bias.copy_(bias.repeat_interleave(len(last.bias) // len(bias)))
    if module.noise_logvar is not None:
        module.noise_logvar.fill_(noise_logvar)


def blank_module(**architecture):
    """A network in float32 on the meta device, whose weights take no memory.

    To make one draws nothing from the global generator, and does not depend on torch's
    default dtype or device.

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


def weight_shapes(**architecture):
    """Shapes of the weights of a network, without making it.

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
        weight.copy_(
            torch.tensor(weights[name], device="cpu")
        )  # one at a time, for the sake of memory


@torch.no_grad()
def reorder_components(weights, order):
    """Put the components in another order, in place.

    Parameters
    ----------
    weights : dict of str to tensor
        Such as ``module.state_dict()``, or moments of the same shapes; frozen weights may be
        missing.

    order : tensor of shape (K,)
        Old places of the components.
    """
    for name in ("mu_head.weight", "mu_head.bias", "logvar_head.weight", "logvar_head.bias"):
        if name in weights:
            weights[name].copy_(weights[name][order])
    if "decoder.0.weight" in weights:
        weights["decoder.0.weight"].copy_(weights["decoder.0.weight"][:, order])
