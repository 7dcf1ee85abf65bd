"""Rows of X -> batches of image tensors and of noise (NumPy, torch)."""

import math
import zlib

import numpy as np
import torch

from ._devices import to_device

# Rows in the table of noise from which `PixelNoise` chooses.
NOISE_TABLE_SIZE = 2**14

# Largest number of images from which statistics of a set are computed.
MAX_SUBSAMPLE = 2_048

# Largest number of images in a pass through a network, and of numbers in them. A network takes
# some hundred bytes of memory for each number.
MAX_PASS_IMAGES, MAX_PASS_NUMBERS = 128, 2**22

# Uses of a seed. Each has its own generator.
WEIGHTS, EPOCH, SCORE, BINARIZE, DRAWS = range(5)


def generator_for(seed, *use):
    """The torch generator for one use of a seed, such as ``(EPOCH, 3)``."""
    state = np.random.SeedSequence([seed, *use]).generate_state(1, np.uint64)[0]
    return torch.Generator("cpu").manual_seed(int(state >> np.uint64(1)))


def normal_draws(n, n_components, generator):
    """Draws from N(0, I) of shape (n, n_components), in float32 on the CPU."""
    return torch.randn(n, n_components, generator=generator, dtype=torch.float32, device="cpu")


def checksum(pixels):
    """CRC-32 of the pixels of an image, an ndarray."""
    return zlib.crc32(pixels)


def slices(n, size):
    """Slices of `size` positions that cover all n; the last one may be shorter."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


class ImageDataset(torch.utils.data.Dataset):
    """A set of images, which are scaled only when a batch asks for them.

    Parameters
    ----------
    rows : ndarray of shape (n, n_features)
        Any real dtype; may be read-only or a memory map.

    image_format : ImageFormat

    indices : ndarray of int, default=None
        Places of the rows that belong to the set. None: all.

    binarize_seed : int, default=None
        Replaces each image by 0/1 pixels, drawn with the scaled pixels as probabilities. The draw
        depends on this seed and on the image alone. None: images stay grey.
    """

    def __init__(self, rows, image_format, indices=None, binarize_seed=None):
        self.rows = rows
        self.image_format = image_format
        self.indices = indices
        self.binarize_seed = binarize_seed

    def __len__(self):
        return len(self.rows if self.indices is None else self.indices)

    def __getitem__(self, positions):
        """The images x of shape (n, C, H, W) in [0, 1] at an array or a slice of positions."""
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
        """Slices of the positions, one for each pass; the last one may be shorter."""
        return slices(len(self), self.pass_size)

    def at(self, positions):
        """The subset at an array or a slice of positions."""
        indices = np.arange(len(self)) if self.indices is None else self.indices
        return ImageDataset(self.rows, self.image_format, indices[positions], self.binarize_seed)

    def subsample(self):
        """At most 2,048 of the images, spread evenly over the set."""
        return self.at(slice(None, None, math.ceil(len(self) / MAX_SUBSAMPLE)))

    def binarized(self, seed):
        """The same set with each image replaced by one draw of 0/1 pixels."""
        return ImageDataset(self.rows, self.image_format, self.indices, seed)


def pass_size(image_shape):
    """Number of images that go through a network at once: 128, or fewer if they are large.

    The order of summation in matrix products depends on this number. It depends on the shape alone,
    so an image gives the same bits in every call.

    Parameters
    ----------
    image_shape : tuple of int
        ``(C, H, W)``.

    Returns
    -------
    n_images : int
    """
    return max(1, min(MAX_PASS_IMAGES, MAX_PASS_NUMBERS // math.prod(image_shape)))


class Batch:
    """The images of one step, in parts that memory can hold.

    Parameters
    ----------
    n_images : int

    parts : iterable of dict
        Each has ``x`` of shape (n, C, H, W) and ``noise`` of shape (n, K), on the device.
    """

    def __init__(self, n_images, parts):
        self.n_images = n_images
        self.parts = parts

    def __len__(self):
        return self.n_images

    def __iter__(self):
        return iter(self.parts)


class EpochBatches:
    """Batches of one epoch of training: each image once, in random order, with new noise.

    Parameters
    ----------
    dataset : ImageDataset

    batch_size : int

    n_components : int

    generator : torch.Generator
        Determines the order, the noise and the binarisation of the epoch.

    binarize : bool
        Whether to draw 0/1 pixels.

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
        step = max(self.dataset.pass_size, MAX_PASS_NUMBERS // self.dataset.image_format.n_features)
        for start in range(0, n, self.batch_size):
            positions = order[start : start + self.batch_size]
            parts = self._parts(positions, step)
            # Parts are made when they are due, but a single part is kept for callbacks to read.
            yield Batch(len(positions), list(parts) if len(positions) <= step else parts), None

    def _parts(self, positions, step):
        for start in range(0, len(positions), step):
            x = self.dataset[positions[start : start + step]]
            if self.binarize:
                x = torch.bernoulli(x, generator=self.generator)
            noise = normal_draws(len(x), self.n_components, self.generator)
            yield {"x": to_device(x, self.device), "noise": to_device(noise, self.device)}


class PixelNoise:
    """A fixed table of draws from N(0, I), from which each image gets a row by its checksum.

    So the estimate for an image does not depend on the other images, their number or their order.
    Errors average out over images that get different rows. With one draw shared by all images,
    errors would add up.

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
    """Batches for scores and validation: the images in order, with the noise of `PixelNoise`.

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
