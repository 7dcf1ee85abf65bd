"""The network: an encoder and a decoder of images, and what lies beside them (torch)."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .convolutions import (
    GELU,
    Dense,
    FromLatents,
    ToLatents,
    cells_of,
    stage_folds,
    stages,
)
from .latents import reparametrize
from .likelihoods import LIKELIHOODS
from .linear import LinearPath
from .priors import ClassNormals, StandardNormal

# Precision of the data on a component that starts without an axis of PCA: nearly none.
LEAST_PRECISION = math.exp(-4)


class Draw(NamedTuple):
    """Logits, of shape (n, C, H, W), for a draw z ~ q(z|x); mu and log sigma^2 of q: (n, K)."""

    logits: torch.Tensor
    mu: torch.Tensor
    logvar: torch.Tensor


class Terms(NamedTuple):
    """Of each image, log p(x|z) and KL(q(z|x) || p(z)), whose difference is the ELBO: (n,) each.

    `class_logits` has the shape (n, n_classes), or is None without classes.
    """

    log_p: torch.Tensor
    kl: torch.Tensor
    class_logits: torch.Tensor | None


class ConvVAE(nn.Module):
    """Variational auto-encoder of images, with a decoder that mirrors the encoder.

    Each stage of the encoder folds pixels into channels and convolves twice. A dense layer of
    `hidden_units` and two heads give mu and log sigma^2. The image, of an `image_shape` of (C, H,
    W), is padded at the bottom and at the right to a multiple of the folds, and the logits are
    cropped. There may be a `LinearPath` beside the convolutions. The likelihood p(x|z), a key of
    `LIKELIHOODS`, and the prior p(z), of `n_classes` or without classes, are parts of the network.
    With `holes`, pixels may be missing, which is NaN: the convolutions of the encoder then see 0 in
    their place, and a mask of them.
    """

    latent_axes = {"mu_unit": 0}

    def __init__(
        self,
        image_shape,
        n_components,
        hidden_channels,
        hidden_units,
        linear_path=False,
        n_classes=0,
        holes=False,
        likelihood="bernoulli",
    ):
        super().__init__()
        self.image_shape = channels, height, width = tuple(image_shape)
        self.holes = holes
        self.n_components = n_components
        self.hidden_channels = tuple(hidden_channels)
        folds = stage_folds(height, width, len(hidden_channels))
        cells, self.padding = cells_of(height, width, folds)
        n_masks = channels if holes else 0
        encoder, decoder = stages([channels, *hidden_channels], folds, cells, n_masks)
        n_bottom = hidden_channels[-1] * math.prod(cells)
        self.encoder = nn.Sequential(*encoder, Dense(n_bottom, hidden_units), GELU())
        self.mu_head = ToLatents(hidden_units, n_components)
        self.logvar_head = ToLatents(hidden_units, n_components)
        self.decoder = nn.Sequential(
            FromLatents(n_components, hidden_units),
            GELU(),
            Dense(hidden_units, n_bottom),
            *decoder,
        )
        # The convolutions of the encoder see x - mean_image, and masks, times pixel_scale.
        self.register_buffer("mean_image", torch.zeros(self.image_shape))
        self.register_buffer("pixel_scale", torch.ones(channels + n_masks, 1, 1))
        self.linear = LinearPath(image_shape, n_components, holes) if linear_path else None
        if linear_path:
            # Units of what the convolutions add to mu and to the logits.
            self.register_buffer("mu_unit", torch.empty(n_components))
            self.register_buffer("logit_unit", torch.empty(()))
        self.prior = ClassNormals(n_components, n_classes) if n_classes else StandardNormal()
        self.likelihood = LIKELIHOODS[likelihood](holes)

    @property
    def first_layer(self):
        """The first convolution, which sees the image."""
        return self.encoder[1]

    @property
    def last_layer(self):
        """The last convolution, which gives the logits."""
        return self.decoder[-2]

    @torch.no_grad()
    def start_at(self, network):
        """Start as a `LinearNetwork`, with convolutions at 0; needs a linear path.

        Components beyond those of the linear network start as the prior.
        """
        self.linear.start_at(network)
        q = len(network.logvar)
        self.mu_unit.fill_(1.0)[:q] = torch.exp(network.logvar / 2)
        self.logit_unit.fill_(network.logit_unit)
        for layer in (self.mu_head, self.last_layer):
            layer.weight.zero_()
            layer.bias.zero_()
        # log sigma^2 = -log(1 + precision of the data); nearly 0 for a component of the prior.
        precision = torch.full_like(self.mu_unit, LEAST_PRECISION)
        precision[:q] = torch.expm1(-network.logvar).clamp_min(LEAST_PRECISION)
        self.logvar_head.weight.mul_(0.1)
        self.logvar_head.bias.copy_(-precision.log())

    @torch.no_grad()
    def start_at_logits(self, logits):
        """Start the decoder at the same logit for all pixels of a channel: (C,)."""
        bias = self.last_layer.bias
        bias.copy_(logits.to(bias).repeat_interleave(len(bias) // len(logits)))

    @torch.no_grad()
    def reorder_components(self, tensors, order):
        """Put the components into another order, in place: `order` has their old places, (K,).

        `tensors` are weights by name, or moments of the same shapes. Some may be missing.
        """
        for prefix, part in self.named_modules():
            for name, axis in getattr(part, "latent_axes", {}).items():
                tensor = tensors.get(f"{prefix}.{name}".lstrip("."))
                if tensor is not None:
                    tensor.copy_(tensor.index_select(axis, order))

    def encode(self, x):
        """mu and log sigma^2 of q(z|x): (n, C, H, W), NaN where missing -> (n, K) each."""
        observed = None
        if self.holes:
            missing = x.isnan()
            x, observed = torch.where(missing, self.mean_image, x), (~missing).to(x.dtype)
        seen = x - self.mean_image
        if self.holes:
            seen = torch.cat([seen, observed - 1], 1)
        seen.mul_(self.pixel_scale)
        if any(self.padding):  # no padding would be a copy
            seen = F.pad(seen, self.padding)
        hidden = self.encoder(seen)  # (n, hidden_units)
        mu, logvar = self.mu_head(hidden), self.logvar_head(hidden)
        if self.linear is not None:
            mu = self.mu_unit * mu + self.linear.encode(x, observed)
        # The precision of the posterior is 1 + exp(-logvar): at least that of the prior, as under
        # any likelihood that is log-concave in z. So sigma^2 of an unusual image cannot explode.
        return mu, -F.softplus(-logvar)

    def decode(self, z):
        """Natural parameters of p(x|z): (n, K) -> (n, C, H, W)."""
        logits = self.decoder(z)
        if any(self.padding):  # the gradient of a slice would be a copy
            _, height, width = self.image_shape
            logits = logits[..., :height, :width]
        if self.linear is None:
            return logits
        return (self.logit_unit * logits).add_(self.linear.decode(z))

    def forward(self, x, noise):
        """The `Draw` z = mu + sigma * noise, for x of shape (n, C, H, W) and noise of (n, K)."""
        mu, logvar = self.encode(x)
        return Draw(self.decode(reparametrize(mu, logvar, noise)), mu, logvar)

    def terms(self, x, noise, y=None, **how):
        """The `Terms` of images for one draw each; `how` as for `terms_of`."""
        return self.terms_of(self(x, noise), x, y, **how)

    def terms_of(self, draw, x, y=None, *, likelihood=None, log_jacobian=(0.0,), dtype=None):
        """The `Terms` of images x, of classes y of shape (n,) or None, whose `Draw` is known.

        `likelihood` replaces that of the network. Sums have `dtype`; None: that of the logits. For
        `log_jacobian` see `Likelihood.log_likelihood`.
        """
        likelihood = likelihood or self.likelihood
        kl, class_logits = self.prior.kl(draw.mu, draw.logvar, y, dtype)
        log_p = likelihood.log_likelihood(draw.logits, x, log_jacobian, dtype)
        return Terms(log_p, kl, class_logits)
