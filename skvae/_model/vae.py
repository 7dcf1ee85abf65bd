"""The network: an encoder and a decoder of images, and what lies beside them (torch)."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .convolutions import Dense, SmoothReLU, _stages, stage_folds
from .labels import LabelDecoder
from .latents import log_standard_normal
from .linear import LinearPath


class ConvVAE(nn.Module):
    """Variational auto-encoder of pictures, with a decoder that mirrors the encoder.

    Each stage of the encoder folds pixels into channels and convolves twice. A dense layer and two
    heads give mu and log sigma^2. The picture is padded at the bottom and at the right to a
    multiple of the folds, and the logits are cropped. There may be a linear path beside the
    convolutions, and a label decoder beside the decoder of pictures.

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

    linear_path : bool, default=False
        Whether there is a `LinearPath`.

    n_classes : int, default=0
        Classes of the `LabelDecoder`; 0: there is none, and the prior p(z) is N(0, I).

    holes : bool, default=False
        Whether pixels may be missing, which is NaN. The convolutions of the encoder then see 0 in
        their place, and a mask of them.

    normal : bool, default=False
        Whether pixels are normal given z, with a noise variance that all share.
    """

    def __init__(
        self,
        image_shape,
        n_components,
        hidden_channels,
        hidden_units,
        linear_path=False,
        n_classes=0,
        holes=False,
        normal=False,
    ):
        super().__init__()
        self.image_shape = channels, height, width = tuple(image_shape)
        self.holes = holes
        self.n_components = n_components
        self.hidden_channels = tuple(hidden_channels)
        folds = stage_folds(height, width, len(hidden_channels))
        total = [math.prod(fold[axis] for fold in folds) for axis in (0, 1)]
        cells = [math.ceil(height / total[0]), math.ceil(width / total[1])]
        self.padding = (0, cells[1] * total[1] - width, 0, cells[0] * total[0] - height)
        n_masks = channels if holes else 0
        encoder, decoder = _stages([channels, *hidden_channels], folds, cells, n_masks)

        bottom = (hidden_channels[-1], *cells)
        n_bottom = math.prod(bottom)
        self.encoder = nn.Sequential(
            *encoder, nn.Flatten(), Dense(n_bottom, hidden_units), SmoothReLU()
        )
        self.mu_head = Dense(hidden_units, n_components)
        self.logvar_head = Dense(hidden_units, n_components)
        self.decoder = nn.Sequential(
            Dense(n_components, hidden_units),
            SmoothReLU(),
            Dense(hidden_units, n_bottom),
            nn.Unflatten(1, bottom),
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
        self.label_decoder = LabelDecoder(n_components, n_classes) if n_classes else None
        self.register_buffer("noise_logvar", torch.empty(()) if normal else None)

    def encode(self, x):
        """Parameters of the posterior q(z|x) = N(mu, diag(sigma^2)).

        Parameters
        ----------
        x : tensor of shape (n, C, H, W)
            Images in [0, 1]; missing pixels are NaN.

        Returns
        -------
        mu, logvar : tensor of shape (n, K)
            Mean and log sigma^2.
        """
        observed = None
        if self.holes:
            missing = x.isnan()
            x, observed = torch.where(missing, self.mean_image, x), (~missing).to(x.dtype)
        seen = x - self.mean_image
        if self.holes:
            seen = torch.cat([seen, observed - 1], 1)
        seen = seen * self.pixel_scale
        hidden = self.encoder(F.pad(seen, self.padding))  # (n, hidden_units)
        mu, logvar = self.mu_head(hidden), self.logvar_head(hidden)
        if self.linear is None:
            return mu, logvar
        # The precision of the posterior is 1 + exp(-logvar): at least that of the prior, as under
        # any likelihood that is log-concave in z.
        return self.mu_unit * mu + self.linear.encode(x, observed), -F.softplus(-logvar)

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
        logits = self.decoder(z)[..., :height, :width]
        if self.linear is None:
            return logits
        return self.logit_unit * logits + self.linear.decode(z)

    def forward(self, x, noise):
        """Logits for one draw z ~ q(z|x), and the posterior itself.

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

        class_logits : tensor of shape (n, n_classes) or None
        """
        mu, logvar = self.encode(x)
        logits = self.decode(reparametrize(mu, logvar, noise))
        class_logits = None if self.label_decoder is None else self.label_decoder(mu, logvar)
        return logits, mu, logvar, self.noise_logvar, class_logits

    def log_prior(self, z):
        """log p(z): (n, K) -> (n,)."""
        if self.label_decoder is None:
            return log_standard_normal(z)
        return torch.logsumexp(self.label_decoder.log_joint(z), 1)

    def standardize(self, mu, logvar):
        """A posterior in units in which each z_k has mean 0 and variance 1 under p(z).

        Parameters
        ----------
        mu, logvar : tensor of shape (n, K)

        Returns
        -------
        mu, logvar : tensor of shape (n, K)
        """
        if self.label_decoder is None:
            return mu, logvar
        mean, variance = self.label_decoder.moments()
        return (mu - mean) / variance.sqrt(), logvar - variance.log()


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
