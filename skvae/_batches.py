"""Rows of X -> batches of image tensors and of noise (NumPy, torch)."""

import math
import zlib

import numpy as np
import torch

from ._devices import to_device

# Rows of noise from which an image takes its own, by its pixels.
NOISE_TABLE_SIZE = 2**14

# A set of images is described by at most so many of them.
SUBSAMPLE = 2_048

# Most images in a pass through a network, and most numbers: a network takes some hundred bytes
# of memory for each.
CHUNK, MAX_NUMBERS = 128, 2**22

# What a seed is used for: each use has a generator of its own.
WEIGHTS, EPOCH, SCORE, BINARIZE, DRAWS = range(5)


def generator_for(seed, *use):
    """The torch generator for one use of a seed, such as ``(EPOCH, 3)``."""
    state = np.random.SeedSequence([seed, *use]).generate_state(1, np.uint64)[0]
    return torch.Generator("cpu").manual_seed(int(state >> np.uint64(1)))


def normal_draws(n, n_components, generator):
    """Draws from N(0, I) of shape (n, n_components), in float32 on the CPU."""
    return torch.randn(n, n_components, generator=generator, dtype=torch.float32, device="cpu")


def checksum(pixels):
    """A number that tells images apart: CRC-32 of the pixels of one, an ndarray."""
    return zlib.crc32(pixels)


def slices(n, size):
    """Slices of `size` positions out of n, the last one perhaps of fewer."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


class ImageDataset(torch.utils.data.Dataset):
    """Images that stay as they came until their batch.

    Parameters
    ----------
    rows : ndarray of shape (n, n_features)
        Any real dtype; may be read-only or a memory map.

    image_format : ImageFormat

    indices : ndarray of int, default=None
        Places of the rows that belong to the set; None: all.

    binarize_seed : int, default=None
        Each image is one draw of 0/1 pixels, 1 with the probability that its pixel tells; the
        draw belongs to the image. None: images stay grey.
    """

    def __init__(self, rows, image_format, indices=None, binarize_seed=None):
        self.rows = rows
        self.image_format = image_format
        self.indices = indices
        self.binarize_seed = binarize_seed

    def __len__(self):
        return len(self.rows if self.indices is None else self.indices)

    def __getitem__(self, positions):
        """x of shape (n, C, H, W) in [0, 1] at an array or a slice of positions."""
        if self.indices is not None:
            positions = self.indices[positions]
        x = torch.from_numpy(self.image_format.to_unit(self.rows[positions]))
        if self.binarize_seed is not None:
            for image in x:
                generator = generator_for(self.binarize_seed, BINARIZE, checksum(image.numpy()))
                image.bernoulli_(image.clone(), generator=generator)
        return x

    @property
    def pass_size(self):
        """Images that go through a network at once; see the function `pass_size`."""
        return pass_size(self.image_format.channels_first_shape)

    def passes(self):
        """Slices of the positions, one for each pass; the last may be shorter."""
        return slices(len(self), self.pass_size)

    def at(self, positions):
        """The set of the images at an array or a slice of positions."""
        indices = np.arange(len(self)) if self.indices is None else self.indices
        return ImageDataset(self.rows, self.image_format, indices[positions], self.binarize_seed)

    def subsample(self):
        """At most 2,048 of the images, spread evenly over the set."""
        return self.at(slice(None, None, math.ceil(len(self) / SUBSAMPLE)))

    def binarized(self, seed):
        """The same images, each as one draw of 0/1 pixels."""
        return ImageDataset(self.rows, self.image_format, self.indices, seed)


def pass_size(image_shape):
    """Images that go through a network at once: 128, and fewer if they are large.

    It depends on the shape alone, and so does the order of summation in matrix products: an
    image gives the same bits in whatever call it comes.

    Parameters
    ----------
    image_shape : tuple of int
        ``(C, H, W)``.

    Returns
    -------
    n_images : int
    """
    return max(1, min(CHUNK, MAX_NUMBERS // math.prod(image_shape)))


class Batch:
    """The images of one step in parts that fit into a pass, made when they are due.

    Parameters
    ----------
    n_images : int

    parts : iterable of dict
        ``x`` of shape (n, C, H, W) and ``noise`` of shape (n, K), on the device.
    """

    def __init__(self, n_images, parts):
        self.n_images = n_images
        self.parts = parts

    def __len__(self):
        return self.n_images

    def __iter__(self):
        return iter(self.parts)


class EpochBatches:
    """Every image once, in an order and with noise that the seed and the epoch determine.

    Parameters
    ----------
    dataset : ImageDataset

    batch_size : int

    n_components : int

    generator : torch.Generator
        Of the epoch.

    binarize : bool
        Whether to draw 0/1 pixels anew.

    device : str
    """

    def __init__(self, dataset, batch_size, n_components, generator, binarize, device):
        self.dataset = dataset
        self.batch_size = batch_size
        self.n_components = n_components
        self.generator = generator
        self.binarize = binarize
        self.device = device

    def __iter__(self):
        n = len(self.dataset)
        order = torch.randperm(n, generator=self.generator, device="cpu").numpy()
        step = max(self.dataset.pass_size, MAX_NUMBERS // self.dataset.image_format.n_features)
        for start in range(0, n, self.batch_size):
            positions = order[start : start + self.batch_size]
            parts = self._parts(positions, step)
            # A batch of one part may be read again, by callbacks.
            yield Batch(len(positions), list(parts) if len(positions) <= step else parts), None

    def _parts(self, positions, step):
        for start in range(0, len(positions), step):
            x = self.dataset[positions[start : start + step]]
            if self.binarize:
                x = torch.bernoulli(x, generator=self.generator)
            noise = normal_draws(len(x), self.n_components, self.generator)
            yield {"x": to_device(x, self.device), "noise": to_device(noise, self.device)}


class PixelNoise:
    """Draws from N(0, I) for the posterior of an image, chosen by its pixels.

    So the estimate for an image does not depend on the other images, their number or their
    order. Errors still average out over a set of images, as far as images take different rows of
    the table: with one draw shared by all, they would add up.

    Parameters
    ----------
    n_components : int

    seed : int
    """

    def __init__(self, n_components, seed):
        self.table = normal_draws(NOISE_TABLE_SIZE, n_components, generator_for(seed, SCORE))

    def __call__(self, x):
        """Noise of shape (n, K) for x of shape (n, C, H, W) on the CPU."""
        rows = np.array([checksum(pixels) % NOISE_TABLE_SIZE for pixels in x.numpy()])
        return self.table[torch.from_numpy(rows)]


class ScoringBatches:
    """The images in their order, each with the noise that belongs to its pixels.

    Parameters
    ----------
    dataset : ImageDataset

    noise : PixelNoise

    device : str
    """

    def __init__(self, dataset, noise, device):
        self.dataset = dataset
        self.noise = noise
        self.device = device

    def __iter__(self):
        for part in self.dataset.passes():
            x = self.dataset[part]
            noise = self.noise(x)
            part = {"x": to_device(x, self.device), "noise": to_device(noise, self.device)}
            yield Batch(len(x), [part]), None
