"""Rows of X -> batches of image tensors and of noise (NumPy, torch)."""

import math
import zlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from ._augment import N_DRAWS, affine_maps, mapped
from ._devices import to_device

# Rows in the table of noise from which `PixelNoise` chooses.
NOISE_TABLE_SIZE = 2**14

# Largest number of numbers in it: with more than 4,096 components there are fewer rows.
MAX_NOISE_NUMBERS = 2**26

# Up to this many images, an epoch draws their order as a whole. Beyond it, blocks of neighbours are
# read one after another in random order, and images are mixed within a number of blocks.
MAX_SHUFFLED, BLOCK, N_BLOCKS_MIXED = 2**20, 2**10, 2**6

# Images from which statistics of a set are computed: the largest number of images, and of numbers
# in them if they are more than the smallest number of images.
MAX_SUBSAMPLE, MIN_SUBSAMPLE, MAX_SUBSAMPLE_NUMBERS = 2_048, 64, 2**27

# Largest number of images in a pass through a network, and of numbers in them. A network takes
# some hundred bytes of memory for each number.
MAX_PASS_IMAGES, MAX_PASS_NUMBERS = 128, 2**22

# Labelled images that a step sees in addition, if less than half of the images are labelled.
N_LABELLED = 64

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


def scarce(labels):
    """Whether fewer than half of the images have a label; -1 stands for none."""
    return bool(2 * np.sum(labels >= 0) < len(labels))


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

    labels : ndarray of int of shape (n,), default=None
        Class of each row, from 0; -1: not known. None: there are no classes.
    """

    def __init__(self, rows, image_format, indices=None, binarize_seed=None, labels=None):
        self.rows = rows
        self.image_format = image_format
        self.indices = indices
        self.binarize_seed = binarize_seed
        self.labels = labels

    def __len__(self):
        return len(self.rows if self.indices is None else self.indices)

    def __getitem__(self, positions):
        """The images x of shape (n, C, H, W) in [0, 1] at an array or a slice of positions."""
        if self.indices is not None:
            positions = self.indices[positions]
        x = torch.from_numpy(self.image_format.to_unit(self.rows[positions]))
        if self.binarize_seed is not None:
            for i, image in enumerate(x):
                generator = generator_for(self.binarize_seed, BINARIZE, checksum(image.numpy()))
                x[i] = binary_draw(image, uniform_draws(image.shape, generator))
        return x

    @property
    def y(self):
        """The class of each image, as an ndarray; None if there are no classes."""
        if self.labels is None or self.indices is None:
            return self.labels
        return self.labels[self.indices[:]]

    @property
    def pass_size(self):
        """Images that go through a network at once; see the function `pass_size`."""
        return pass_size(self.image_format.channels_first_shape)

    def passes(self):
        """Slices of the positions, one for each pass; the last one may be shorter."""
        return slices(len(self), self.pass_size)

    def at(self, positions):
        """The subset at an array or a slice of positions."""
        if self.indices is not None:
            positions = self.indices[positions]
        elif isinstance(positions, slice):
            positions = np.arange(*positions.indices(len(self)))
        return self._with(indices=positions)

    def without(self, positions):
        """The subset of all images but those at an array of positions."""
        return self._with(indices=AllBut(len(self), positions))

    def subsample(self):
        """At most 2,048 of the images, or fewer if they are large, spread evenly over the set."""
        most = max(MIN_SUBSAMPLE, MAX_SUBSAMPLE_NUMBERS // self.image_format.n_features)
        return self.at(slice(None, None, math.ceil(len(self) / min(MAX_SUBSAMPLE, most))))

    def binarized(self, seed):
        """The same set with each image replaced by one draw of 0/1 pixels."""
        return self._with(binarize_seed=seed)

    def _with(self, **changes):
        return ImageDataset(**{**vars(self), **changes})


class AllBut:
    """The places from 0 to n - 1 but some, in order, computed when asked for.

    Parameters
    ----------
    n : int

    left_out : ndarray of int
    """

    def __init__(self, n, left_out):
        # Number of kept places below each place that is left out.
        self.n_below = np.sort(left_out) - np.arange(len(left_out))
        self.n_places = n - len(left_out)

    def __len__(self):
        return self.n_places

    def __getitem__(self, positions):
        if isinstance(positions, slice):
            positions = np.arange(*positions.indices(len(self)))
        return positions + np.searchsorted(self.n_below, positions, side="right")


def pass_size(image_shape):
    """Number of images that go through a network at once: 128, or 64, 32 … if they are large.

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
    n_images = MAX_PASS_IMAGES
    while n_images > 1 and n_images * math.prod(image_shape) > MAX_PASS_NUMBERS:
        n_images //= 2
    return n_images


class Batch:
    """The images of one step, in parts that memory can hold.

    If several processes train together, the numbers of images are those of all processes, and the
    parts hold the share of this one, which may be empty.

    Parameters
    ----------
    n_images : int

    parts : sequence of dict
        Each has ``x`` of shape (n, C, H, W) and ``noise`` of shape (n, K), on the device. If there
        are classes, also ``y`` of shape (n,). They can be read more than once.

    n_labelled : int, default=0
        Images whose class is known.

    labelled : sequence of dict, default=()
        Each has ``x`` and ``y`` of further images, of which only the classes are trained on.
    """

    def __init__(self, n_images, parts, n_labelled=0, labelled=()):
        self.n_images = n_images
        self.parts = parts
        self.n_labelled = n_labelled
        self.labelled = labelled

    def __len__(self):
        return self.n_images

    def __iter__(self):
        return iter(self.parts)


class Parts(Sequence):
    """The parts of a batch, each of which is made whenever it is read: memory need hold only one.

    Parameters
    ----------
    make : callable
        ``make(i)`` returns the part at place i, the same one in each call.

    n_parts : int
    """

    def __init__(self, make, n_parts):
        self.make = make
        self.n_parts = n_parts

    def __len__(self):
        return self.n_parts

    def __getitem__(self, i):
        return self.make(range(self.n_parts)[i])


class EpochBatches:
    """Batches of one epoch of training: each image once, in random order, with new noise.

    If some images are labelled, but less than half of them, each batch also brings 64 labelled
    images. They are drawn with replacement, and each class is equally frequent among them.

    Parameters
    ----------
    dataset : ImageDataset

    batch_size : int

    n_components : int

    generator : torch.Generator
        Determines the order, the noise and the binarisation of the epoch.

    binarize : bool
        Whether to draw 0/1 pixels.

    augment : float
        Strength of random affine maps of the images; 0: none.

    device : str

    processes : Processes
        Each trains on its share of every batch. Order and draws are the same in all of them.
    """

    def __init__(
        self, dataset, batch_size, n_components, generator, binarize, augment, device, processes
    ):
        self.dataset = dataset
        self.batch_size = batch_size
        self.n_components = n_components
        self.generator = generator
        self.binarize = binarize
        self.augment = augment
        self.device = device
        self.processes = processes
        self.y = dataset.y
        self.members = []  # positions of the images of each class, if labels are scarce
        if self.y is not None and scarce(self.y):
            classes = np.unique(self.y[self.y >= 0])
            self.members = [np.flatnonzero(self.y == label) for label in classes]

    def __iter__(self):
        order = random_order(len(self.dataset), self.generator)
        for positions in batches_of(order, self.batch_size):
            parts = self._parts(positions, noisy=True)
            n_labelled = 0 if self.y is None else int(np.sum(self.y[positions] >= 0))
            yield Batch(len(positions), parts, n_labelled, self._labelled()), None

    def _parts(self, positions, *, noisy):
        """The parts of the images at these positions, with noise or without.

        The draws are those of all images of all processes, in order. So they depend neither on how
        the images are divided, nor on when and how often a part is read.
        """
        n_features = self.dataset.image_format.n_features
        size = max(self.dataset.pass_size, MAX_PASS_NUMBERS // n_features) * self.processes.size
        some = slices(len(positions), size)
        single = len(some) == 1
        if self.binarize:
            draws = [self._pixel_draws(len(positions[part]), kept=single) for part in some]
        noise = normal_draws(len(positions), self.n_components, self.generator) if noisy else None
        if self.augment:
            maps = self._maps(len(positions))
        share = self.processes.share

        def part(i):
            own = positions[some[i]][share]
            tensors = {"x": self.dataset[own]}
            if self.augment:
                tensors["x"] = mapped(tensors["x"], maps[some[i]][share])
            if self.binarize:
                tensors["x"] = binary_draw(tensors["x"], draws[i]()[share])
            if noisy:
                tensors["noise"] = noise[some[i]][share]
            return part_on(self.device, tensors, None if self.y is None else self.y[own])

        # A single part is kept, as callbacks may read it too.
        return [part(0)] if single else Parts(part, len(some))

    def _maps(self, n_images):
        """Affine maps for n images: (n, 2, 3)."""
        draws = uniform_draws((n_images, N_DRAWS), self.generator)
        return affine_maps(draws, self.augment, self.dataset.image_format.channels_first_shape)

    def _pixel_draws(self, n_images, *, kept):
        """A function that returns uniform draws for the pixels of n images, the same in each call.

        They are kept, or made anew from the state that the generator has now.
        """
        shape = (n_images, *self.dataset.image_format.channels_first_shape)
        state = self.generator.get_state()
        draws = uniform_draws(shape, self.generator)
        if kept:
            return lambda: draws
        return lambda: uniform_draws(shape, torch.Generator("cpu").set_state(state))

    def _labelled(self):
        """Parts of further labelled images, as many of each class."""
        if not self.members:
            return ()
        n_classes = len(self.members)
        classes = torch.randperm(n_classes, generator=self.generator, device="cpu").numpy()
        shares = torch.rand(N_LABELLED, generator=self.generator, device="cpu").double().numpy()
        some = [self.members[c] for c in np.resize(classes, N_LABELLED)]
        places = [members[int(s * len(members))] for members, s in zip(some, shares, strict=True)]
        return self._parts(np.array(places), noisy=False)


def random_order(n, generator):
    """The positions from 0 to n - 1 in random order, as arrays.

    Beyond 2^20 positions, those near each other come near each other: the order is that of blocks
    of 1,024 neighbours, and positions are mixed within windows of 64 blocks. So the order takes
    little memory, and images that are read at about the same time lie together on the disk.

    Parameters
    ----------
    n : int

    generator : torch.Generator

    Yields
    ------
    positions : ndarray of int
    """

    def permutation(n):
        return torch.randperm(n, generator=generator, device="cpu").numpy()

    if n <= MAX_SHUFFLED:
        yield permutation(n)
        return
    blocks = permutation(math.ceil(n / BLOCK))
    for some in slices(len(blocks), N_BLOCKS_MIXED):
        positions = (BLOCK * blocks[some, np.newaxis] + np.arange(BLOCK)).ravel()
        positions = positions[positions < n]
        yield positions[permutation(len(positions))]


def batches_of(arrays, size):
    """The numbers of all arrays, in arrays of one size; the last one may be shorter.

    Parameters
    ----------
    arrays : iterable of ndarray

    size : int

    Yields
    ------
    batch : ndarray
    """
    rest = np.empty(0, np.int64)
    for array in arrays:
        rest = np.concatenate([rest, array])
        n_whole = len(rest) // size * size
        yield from (rest[some] for some in slices(n_whole, size))
        rest = rest[n_whole:]
    if len(rest):
        yield rest


def uniform_draws(shape, generator):
    """Draws from the uniform distribution on [0, 1), in float32 on the CPU."""
    return torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu")


def binary_draw(x, draws):
    """0/1 pixels with x as probabilities, from uniform draws; missing pixels stay NaN."""
    return (draws < x).to(x.dtype).where(~x.isnan(), torch.nan)


def part_on(device, tensors, y):
    """A part of a batch on a device: the tensors, and ``y`` unless it is None."""
    if y is not None:
        tensors["y"] = torch.from_numpy(np.asarray(y, dtype=np.int64))
    return {name: to_device(tensor, device) for name, tensor in tensors.items()}


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
        self.n_rows = max(1, min(NOISE_TABLE_SIZE, MAX_NOISE_NUMBERS // n_components))
        self.n_components, self.seed = n_components, seed

    @cached_property
    def table(self):
        """The table, of shape (n_rows, K): drawn when a score needs it, and not on loading."""
        with torch.inference_mode(False):  # whatever the mode of the first call is
            return normal_draws(self.n_rows, self.n_components, generator_for(self.seed, SCORE))

    def __call__(self, x):
        """Noise of shape (n, K) for x of shape (n, C, H, W) on the CPU."""
        rows = [checksum(pixels) % self.n_rows for pixels in x.numpy()]
        return self.table[torch.tensor(rows, dtype=torch.int64, device="cpu")]


class ScoringBatches:
    """Batches for scores and validation: the images in order, with the noise of `PixelNoise`.

    Parameters
    ----------
    dataset : ImageDataset

    noise : PixelNoise

    device : str

    processes : Processes
        Each gets its share of every batch.
    """

    def __init__(self, dataset, noise, device, processes):
        self.dataset = dataset
        self.noise = noise
        self.device = device
        self.processes = processes

    def __iter__(self):
        y = self.dataset.y
        for some in self.dataset.passes():
            positions = np.arange(some.start, some.stop)
            own = positions[self.processes.share]
            x = self.dataset[own]
            part = part_on(
                self.device, {"x": x, "noise": self.noise(x)}, None if y is None else y[own]
            )
            n_labelled = 0 if y is None else int(np.sum(y[positions] >= 0))
            yield Batch(len(positions), [part], n_labelled), None
