"""The linear path beside the convolutions, and its algebra (torch)."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .._compat import is_exporting
from .convolutions import dense
from .devices import sum_dtype

# Images with longer sides are averaged over blocks for the linear path.
MAX_LINEAR_SIDE = 128

# Largest number of numbers in the products that `LinearPath` makes for images with holes.
MAX_GRAM_NUMBERS = 2**24


class LinearNetwork(NamedTuple):
    """An encoder and a decoder without hidden layers, of q <= K components.

    The posterior mean is encoder (x - mean), and the logits are decoder z + bias. The images have
    the `variances` along the axes of the encoder. `logit_unit` is the unit of what convolutions add
    to the logits.
    """

    mean: torch.Tensor  # (D,)
    encoder: torch.Tensor  # (q, D)
    decoder: torch.Tensor  # (D, q)
    bias: torch.Tensor  # (D,)
    logvar: torch.Tensor  # (q,), log sigma^2 of the posterior; below 0
    logit_unit: float
    variances: torch.Tensor  # (q,)


class LinearPath(nn.Module):
    """A linear encoder and a linear decoder, whose matrices do not learn.

    Linear algebra sets the matrices before the training starts, so that the convolutions only
    have to learn the rest. The path adds gate * encoder (x - mean) to mu, and
    decoder (gate * z) + bias to the logits. There is a gate for each component on either side,
    which learns how much of the component to keep.

    Images, of an `image_shape` of (C, H, W), with a side of more than 128 pixels are averaged
    over blocks. `holes` says whether pixels may be missing.
    """

    latent_axes = {
        "encoder": 0,
        "decoder": 1,
        "variances": 0,
        "encoder_gate": 0,
        "decoder_gate": 0,
    }

    def __init__(self, image_shape, n_components, holes):
        super().__init__()
        channels, *sides = image_shape
        self.blocks = tuple(math.ceil(side / MAX_LINEAR_SIDE) for side in sides)
        cells = tuple(math.ceil(side / n) for side, n in zip(sides, self.blocks, strict=True))
        self.image_shape, self.coarse_shape = tuple(image_shape), (channels, *cells)
        n_numbers = math.prod(self.coarse_shape)
        self.register_buffer("mean", torch.empty(n_numbers))
        self.register_buffer("bias", torch.empty(n_numbers))
        self.register_buffer("encoder", torch.empty(n_components, n_numbers))
        self.register_buffer("decoder", torch.empty(n_numbers, n_components))
        # Variance of the images along the axis of each component of probabilistic PCA.
        self.register_buffer("variances", torch.empty(n_components) if holes else None)
        self.encoder_gate = nn.Parameter(torch.empty(n_components))
        self.decoder_gate = nn.Parameter(torch.empty(n_components))

    @torch.no_grad()
    def start_at(self, network):
        """Start as a `LinearNetwork`, in the resolution of this path."""
        q = len(network.logvar)
        self.mean.copy_(network.mean)
        self.bias.copy_(network.bias)
        self.encoder.zero_()[:q] = network.encoder
        self.decoder.zero_()[:, :q] = network.decoder
        if self.variances is not None:
            self.variances.fill_(1.0)[:q] = network.variances
        self.encoder_gate.fill_(1.0)
        self.decoder_gate.fill_(1.0)

    def coarse(self, x):
        """Images of shape (n, C, H, W), averaged over blocks, as rows."""
        if self.coarse_shape != self.image_shape:
            x = F.avg_pool2d(x, self.blocks, ceil_mode=True, count_include_pad=False)
        return x.flatten(1)

    def encode(self, x, observed=None):
        """The term of mu: (n, C, H, W) -> (n, K).

        Missing pixels must have the mean pixel. `observed` is a tensor of the shape of x that is 1
        for observed pixels and 0 for missing ones; None: all were observed.
        """
        deviations = self.coarse(x) - self.mean
        if observed is None:
            return self.encoder_gate * dense(deviations, self.encoder)
        share = self.coarse(observed)
        mu = dense(torch.where(share > 0, deviations, 0.0), self.encoder)
        return self.encoder_gate * self._without_holes(mu, 1 - share)

    @torch.no_grad()
    def _without_holes(self, mu, holes):
        """The posterior mean given what was observed, from the one with 0 deviation in holes.

        With the axes A of the encoder, the variances V along them and A_h, the part of A in the
        holes, it is (I - A_h A_h^T V)^-1 A (x - m): the posterior mean of probabilistic PCA,
        (W_o^T W_o + s^2 I)^-1 W_o^T (x_o - m_o), because W = A^T V and W^T W + s^2 I = V.
        """
        if is_exporting():  # a graph cannot split a number of rows that varies
            return self._given_observed(mu, holes)
        # A power of two, as the size of a pass is: all parts of a pass have the same size.
        n_rows = 2 ** (max(1, MAX_GRAM_NUMBERS // self.encoder.numel()).bit_length() - 1)
        parts = zip(mu.split(n_rows), holes.split(n_rows), strict=True)
        return torch.cat([self._given_observed(*part) for part in parts])

    def _given_observed(self, mu, holes):
        dtype = sum_dtype(mu.device)
        in_holes = holes[:, None] * self.encoder  # (n, K, D)
        gram = dense(in_holes.flatten(0, 1), self.encoder).view(-1, mu.shape[1], mu.shape[1])
        gram = gram.to(dtype) * self.variances.to(dtype)  # (n, K, K)
        eye = torch.eye(len(self.variances), dtype=dtype, device=mu.device)
        system = eye - gram, mu.to(dtype)
        if is_exporting():
            return solve_by_elimination(*system).to(mu.dtype)
        # `torch.linalg.solve` would wait for a GPU, to ask whether a matrix is singular.
        return torch.linalg.solve_ex(*system).result.to(mu.dtype)

    def decode(self, z):
        """The term of the logits: (n, K) -> (n, C, H, W)."""
        x = dense(self.decoder_gate * z, self.decoder, self.bias)
        x = x.unflatten(1, self.coarse_shape)
        if self.coarse_shape != self.image_shape:
            x = F.interpolate(x, scale_factor=self.blocks, mode="nearest")
        if x.shape[1:] != self.image_shape:
            _, height, width = self.image_shape
            x = x[..., :height, :width]
        return x


def solve_by_elimination(A, b):
    """x with A x = b, (n, K, K) and (n, K) -> (n, K), by Gauss-Jordan elimination.

    In steps that every runtime has. There is no pivoting. It is not needed if A is the product of a
    symmetric, positive definite matrix and a diagonal one.
    """
    eye = torch.eye(A.shape[1], dtype=A.dtype, device=A.device)
    both = torch.cat([A, b[:, :, None]], 2)  # (n, K, K + 1)
    for k, unit in enumerate(eye):
        row = both[:, k] / both[:, k, k, None]
        both = both - (both[:, :, k] - unit)[:, :, None] * row[:, None]
    return both[:, :, -1]
