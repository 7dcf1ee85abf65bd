"""Rows of X -> batches of image tensors and of noise (NumPy, torch)."""

import math
import zlib

import numpy as np
import torch

# Rows of noise from which an image takes its own, by its pixels.
N_NOISE = 2**14

# What a seed is used for: each use has a generator of its own.
WEIGHTS, EPOCH, SCORE, BINARIZE, DRAWS = range(5)


def generator_for(seed, *use):
    """The torch generator for one use of a seed, such as ``(EPOCH, 3)``."""
    state = np.random.SeedSequence([seed, *use]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def checksum(pixels):
    """A number that tells images apart: CRC-32 of the pixels of one, an ndarray."""
    return zlib.crc32(pixels)


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

    def thinned(self):
        """At most 2,048 of the images, spread evenly over the set."""
        positions = slice(None, None, math.ceil(len(self) / 2_048))
        indices = np.arange(len(self)) if self.indices is None else self.indices
        return ImageDataset(self.rows, self.image_format, indices[positions], self.binarize_seed)

    def binarized(self, seed):
        """The same images, each as one draw of 0/1 pixels."""
        return ImageDataset(self.rows, self.image_format, self.indices, seed)


class EpochBatches:
    """Every image once, in a new order and with new noise in each epoch.

    Order and noise depend on the seed and on the number of the epoch alone.

    Parameters
    ----------
    dataset : ImageDataset

    batch_size : int

    n_components : int

    seed : int

    first_epoch : int
        Number of the epoch that the first iteration yields.

    binarize : bool
        Whether to draw 0/1 pixels anew at every showing.

    device : str
    """

    def __init__(self, dataset, batch_size, n_components, seed, first_epoch, binarize, device):
        self.dataset = dataset
        self.batch_size = batch_size
        self.n_components = n_components
        self.seed = seed
        self.epoch = first_epoch
        self.binarize = binarize
        self.device = device

    def __iter__(self):
        generator = generator_for(self.seed, EPOCH, self.epoch)
        self.epoch += 1
        order = torch.randperm(len(self.dataset), generator=generator).numpy()
        for start in range(0, len(order), self.batch_size):
            x = self.dataset[order[start : start + self.batch_size]]
            if self.binarize:
                x = torch.bernoulli(x, generator=generator)
            noise = torch.randn(len(x), self.n_components, generator=generator)
            yield {"x": x.to(self.device), "noise": noise.to(self.device)}, None


class PixelNoise:
    """Draws from N(0, I) for the posterior of an image, chosen by its pixels.

    So the estimate for an image does not depend on the other images, their number or their
    order, and still the errors of different images are independent: with one draw shared by
    all, they would add up instead of averaging out.

    Parameters
    ----------
    n_components : int

    seed : int
    """

    def __init__(self, n_components, seed):
        self.draws = torch.randn(N_NOISE, n_components, generator=generator_for(seed, SCORE))

    def __call__(self, x):
        """Noise of shape (n, K) for x of shape (n, C, H, W) on the CPU."""
        checksums = [checksum(pixels) for pixels in x.numpy()]
        return self.draws[torch.tensor(checksums) % N_NOISE]


class ScoringBatches:
    """The images in their order, each with the noise that belongs to its pixels.

    Parameters
    ----------
    dataset : ImageDataset

    batch_size : int

    noise : PixelNoise

    device : str
    """

    def __init__(self, dataset, batch_size, noise, device):
        self.dataset = dataset
        self.batch_size = batch_size
        self.noise = noise
        self.device = device

    def __iter__(self):
        for start in range(0, len(self.dataset), self.batch_size):
            x = self.dataset[slice(start, start + self.batch_size)]
            yield {"x": x.to(self.device), "noise": self.noise(x).to(self.device)}, None
