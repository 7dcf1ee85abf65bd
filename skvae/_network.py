"""The network: encoder, decoder, reparametrisation, first weights, weights as arrays (torch)."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ._devices import sum_dtype
from ._elbo import log_joint_of_classes, log_standard_normal, logits_of_classes


def stage_folds(height, width, n_stages):
    """How much each stage of the encoder shrinks the picture, as (rows, columns).

    A side is halved until at most 7 cells are left. Each of the last stages halves it once. The
    first stage, which has many pixels but few channels, makes all other halvings.

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
    """Channels of each stage of the encoder, starting at the image.

    There is one stage for sides of up to 28 pixels, which two halvings reduce to at most 7 cells,
    and there are two for longer sides: what a few numbers tell of a large image is coarse.

    Parameters
    ----------
    height, width : int
        Sides of the image, in pixels.

    Returns
    -------
    hidden_channels : tuple of int

    Examples
    --------
    >>> default_hidden_channels(28, 28), default_hidden_channels(105, 105)
    ((64,), (64, 64))
    """
    return (64,) if max(_n_halvings(height), _n_halvings(width)) <= 2 else (64, 64)


def _n_halvings(side):
    """Number of halvings that reduce a side to at most 7 cells."""
    return (math.ceil(side / 7) - 1).bit_length()


def _side_folds(side, n_stages):
    n_halvings = _n_halvings(side)
    first = max(0, n_halvings - (n_stages - 1))
    later = [2 if stage < n_halvings - first else 1 for stage in range(n_stages - 1)]
    return [2**first, *later]


class Fold(nn.Module):
    """Move blocks of pixels into channels: (n, C, H, W) -> (n, C * rows * columns, H', W').

    Like `torch.nn.PixelUnshuffle`, but with a factor for each axis.

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


class SmoothReLU(nn.Module):
    """0.05 x + 0.95 h(x), h(x) = x clip(1.7 x + 3, 0, 6) / 6: nearly GELU, with a straight tail.

    h is the hard swish of Howard et al., "Searching for MobileNetV3" (ICCV 2019), 1.7 times as
    narrow. The slope of GELU fades in its tail. Multiplied from layer to layer it becomes a
    subnormal number, on which processors are up to a hundred times slower; and units that stay
    there learn no more. Here it is never below 0.05 for large negative x.
    """

    def forward(self, x):
        return torch.add(TAIL_SLOPE * x, F.hardswish(1.7 * x), alpha=(1 - TAIL_SLOPE) / 1.7)


# Slope of the activation for large negative numbers.
TAIL_SLOPE = 0.05


# Dense products have at least so many rows or one, and sums over a multiple of so many numbers.
DENSE_BLOCK = 16


def dense(x, weight, bias=None):
    """x weight^T + bias, such that the bits of a row do not depend on its place: (n, D) -> (n, D').

    BLAS may sum a row in another order if there are few rows, or if its first number does not lie
    at a multiple of 64 bytes. So few rows go one by one, and zeros fill up the sums.
    """
    if torch.compiler.is_exporting():
        return F.linear(x, weight, bias)
    if missing := -x.shape[1] % DENSE_BLOCK:
        x, weight = F.pad(x, (0, missing)), F.pad(weight, (0, missing))
    if len(x) >= DENSE_BLOCK:
        return F.linear(x, weight, bias)
    return torch.cat([F.linear(row.clone(), weight, bias) for row in x.split(1)])


class Dense(nn.Linear):
    """A dense layer that computes `dense`."""

    def forward(self, x):
        return dense(x, self.weight, self.bias)


def _conv(in_channels, out_channels, cells, width=3):
    # Same size. On a side of one cell a window of 3 would see padding only: there it is 1.
    kernel = [width if side > 1 else 1 for side in cells]
    return nn.Conv2d(in_channels, out_channels, kernel, padding=[k // 2 for k in kernel])


# Pictures with longer sides are averaged over blocks for the linear path.
MAX_LINEAR_SIDE = 128

# Largest number of numbers in the products that `LinearPath` makes for images with holes.
MAX_GRAM_NUMBERS = 2**24

# Images over which a label decoder takes the mean of p(y|z).
SHARES_WINDOW = 2_048

# Numbers that a usual sum in the first convolution runs over: 3 x 3 blocks of 4 x 4 pixels.
USUAL_FAN_IN = 144

# Blocks of more pixels are convolved on their own, those of fewer with their neighbours.
MAX_OVERLAPPING = 16

# Smallest standard deviation of pixels in [0, 1] by which they are divided.
MIN_STD = 1e-3

# Size of the first weights of hidden layers in networks of several stages, in units of PyTorch's
# default, with which a signal fades from layer to layer.
GAIN = 2.0

# Precision of the data on a component that starts without an axis of PCA: nearly none.
LEAST_PRECISION = math.exp(-4)


class LinearPath(nn.Module):
    """A linear encoder and a linear decoder, whose matrices do not learn.

    Linear algebra sets the matrices before the training starts, so that the convolutions only
    have to learn the rest. The path adds gate * encoder (x - mean) to mu, and
    decoder (gate * z) + bias to the logits. There is a gate for each component on either side,
    which learns how much of the component to keep.

    Pictures with a side of more than 128 pixels are averaged over blocks.

    Parameters
    ----------
    image_shape : tuple of int
        ``(C, H, W)``.

    n_components : int
        K, the number of latent variables.

    holes : bool
        Whether pixels may be missing.
    """

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
        if torch.compiler.is_exporting():  # a graph cannot split a number of rows that varies
            return self._given_observed(mu, holes)
        # A power of two, as the size of a pass is: all parts of a pass have the same size.
        n_rows = 2 ** (max(1, MAX_GRAM_NUMBERS // self.encoder.numel()).bit_length() - 1)
        parts = zip(mu.split(n_rows), holes.split(n_rows), strict=True)
        return torch.cat([self._given_observed(*part) for part in parts])

    def _given_observed(self, mu, holes):
        dtype = sum_dtype(mu.device)
        in_holes = holes[:, None] * self.encoder  # (n, K, D)
        gram = dense(in_holes.flatten(0, 1), self.encoder).view(len(mu), -1, mu.shape[1])
        gram = gram.to(dtype) * self.variances.to(dtype)  # (n, K, K)
        eye = torch.eye(len(self.variances), dtype=dtype, device=mu.device)
        solve = solve_by_elimination if torch.compiler.is_exporting() else torch.linalg.solve
        return solve(eye - gram, mu.to(dtype)).to(mu.dtype)

    def decode(self, z):
        """The term of the logits: (n, K) -> (n, C, H, W)."""
        x = dense(self.decoder_gate * z, self.decoder, self.bias)
        x = x.unflatten(1, self.coarse_shape)
        if self.coarse_shape != self.image_shape:
            _, height, width = self.image_shape
            x = F.interpolate(x, scale_factor=self.blocks, mode="nearest")[..., :height, :width]
        return x


def solve_by_elimination(A, b):
    """x with A x = b, by Gauss-Jordan elimination, in steps that every runtime has.

    There is no pivoting. It is not needed if A is the product of a symmetric, positive definite
    matrix and a diagonal one.

    Parameters
    ----------
    A : tensor of shape (n, K, K)

    b : tensor of shape (n, K)

    Returns
    -------
    x : tensor of shape (n, K)
    """
    eye = torch.eye(A.shape[1], dtype=A.dtype, device=A.device)
    both = torch.cat([A, b[:, :, None]], 2)  # (n, K, K + 1)
    for k, unit in enumerate(eye):
        row = both[:, k] / both[:, k, k, None]
        both = both - (both[:, :, k] - unit)[:, :, None] * row[:, None]
    return both[:, :, -1]


class LabelDecoder(nn.Module):
    """The label decoder p(y|z): each class y has a normal prior of its own.

    p(z|y) = N(m_y, diag(s^2)), with an s that all classes share. So p(y|z), which is proportional
    to pi_y p(z|y), is the softmax of a linear function of z, as in linear discriminant analysis.

    Parameters
    ----------
    n_components : int
        K, the number of latent variables.

    n_classes : int
    """

    def __init__(self, n_components, n_classes):
        super().__init__()
        self.means = nn.Parameter(torch.empty(n_classes, n_components))
        self.logvar = nn.Parameter(torch.empty(n_components))
        self.register_buffer("log_priors", torch.empty(n_classes))
        # Running mean of p(y|z) over images without a label.
        self.register_buffer("shares", torch.empty(n_classes))

    def forward(self, mu, logvar):
        """`logits_of_classes` of a posterior: (n, K) twice -> (n, n_classes)."""
        return logits_of_classes(mu, logvar, self.means, self.logvar, self.log_priors)

    @torch.no_grad()
    def set_priors(self, priors):
        """Set pi_y, an ndarray of shape (n_classes,)."""
        self.log_priors.copy_(torch.log(torch.tensor(priors, device="cpu")))

    @torch.no_grad()
    def update_shares(self, total, n_images):
        """Update the running mean of p(y|z) by its sum over some images without a label."""
        self.shares.lerp_(total / n_images, min(1.0, n_images / SHARES_WINDOW))

    def log_joint(self, z):
        """log pi_y + log p(z|y) of each class: (n, K) -> (n, n_classes)."""
        return log_joint_of_classes(z, self.means, self.logvar, self.log_priors)

    def moments(self):
        """Mean and variance of each latent variable under p(z): two tensors of shape (K,)."""
        priors = self.log_priors.exp()
        mean = priors @ self.means
        return mean, self.logvar.exp() + priors @ (self.means - mean).square()


def _stages(channels, folds, cells, n_masks):
    """Layers of all stages: those of the encoder, and those of the decoder.

    `channels` are those of the picture and of each stage; `cells` is the size that the last stage
    leaves. The encoder sees `n_masks` channels more.
    """
    # From the last stage to the first, because each needs to know the cells that it leaves.
    encoder, decoder = [], []
    more = [n_masks] + [0] * (len(folds) - 1)
    stages = list(zip(folds, channels[:-1], channels[1:], more, strict=True))
    for fold, n_in, n_out, n_more in reversed(stages):
        n_folded, n_seen = (n * fold[0] * fold[1] for n in (n_in, n_in + n_more))
        # A large block knows enough of its surroundings by itself.
        width = 3 if math.prod(fold) <= MAX_OVERLAPPING else 1
        encoder = [
            Fold(*fold),
            _conv(n_seen, n_out, cells, width),
            SmoothReLU(),
            _conv(n_out, n_out, cells),
            SmoothReLU(),
            *encoder,
        ]
        decoder += [
            SmoothReLU(),
            _conv(n_out, n_out, cells),
            SmoothReLU(),
            _conv(n_out, n_folded, cells, width),
            Unfold(*fold),
        ]
        cells = [cells[0] * fold[0], cells[1] * fold[1]]
    return encoder, decoder


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
    mu, _ = module.encode(torch.empty(1, *module.image_shape, device="meta"))
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
