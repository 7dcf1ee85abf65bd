"""Batches of images and of noise for training and for scores (NumPy, torch)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .._data import ImageDataset, binary_draw
from .._model import PixelNoise, normal_draws, part_size, slices, to_device, uniform_draws
from .augment import N_COVER_DRAWS, N_DRAWS, affine_maps, covered, mapped
from .processes import Processes

# Up to this many images, an epoch draws their order as a whole. Beyond it, blocks of neighbours are
# read one after another in random order, and images are mixed within a number of blocks.
MAX_SHUFFLED, BLOCK, N_BLOCKS_MIXED = 2**20, 2**10, 2**6

# Labelled images that a step sees in addition, if less than half of the images are labelled. With
# maps, the first ones stay as they are.
N_LABELLED, N_PLAIN = 64, 16

# How much stronger the maps of these labelled images are than those of all images.
STRONGER = 2.0


@dataclass(eq=False)
class Batch:
    """The images of one step, in parts that memory can hold, which can be read more than once.

    If several processes train together, the numbers of images are those of all processes, and the
    parts hold the share of this one, which may be empty.
    """

    n_images: int
    # Dicts of ``x``, (n, C, H, W), and ``noise``, (n, K), on the device. If there are classes, also
    # ``y``, (n,), and maybe ``mapped``: x under small affine maps.
    parts: Sequence
    n_labelled: int = 0  # images whose class is known
    # Dicts of ``x`` and ``y`` of further images, of which only the classes are trained on.
    labelled: Sequence = ()

    def __len__(self):
        return self.n_images

    def __iter__(self):
        return iter(self.parts)


@dataclass(eq=False)
class Parts(Sequence):
    """The parts of a batch, each of which is made whenever it is read: memory need hold only one.

    ``make(i)`` returns the part at place i, the same one in each call.
    """

    make: Callable
    n_parts: int

    def __len__(self):
        return self.n_parts

    def __getitem__(self, i):
        return self.make(range(self.n_parts)[i])


@dataclass(eq=False)
class EpochBatches:
    """Batches of one epoch of training: each image once, in random order, with new noise.

    With `few_labels`, each batch also brings 64 labelled images, if there are any. They are drawn
    with replacement, and each class is equally frequent among them. A quarter of their ``mapped``
    images are as they are, and the maps of the others have twice the strength `consistency`.
    """

    dataset: ImageDataset
    batch_size: int
    n_components: int
    generator: torch.Generator  # of the order, the noise and the binarisation of the epoch
    binarize: bool  # whether to draw 0/1 pixels
    augment: float  # strength of random affine maps of the images; 0: none
    device: str
    # Each trains on its share of every batch. Order and draws are the same in all of them.
    processes: Processes
    few_labels: bool = False
    # Strength of the maps under which the classes should stay, and with `few_labels` also the
    # largest share of a side that is covered; 0: neither.
    consistency: float = 0.0

    def __post_init__(self):
        self.y = self.dataset.y
        self.holes = self.dataset.image_format.missing_values is not None
        self.members = []  # positions of the images of each class, if few have a label
        if self.few_labels:
            classes = np.unique(self.y[self.y >= 0])
            self.members = [np.flatnonzero(self.y == label) for label in classes]

    def __iter__(self):
        order = random_order(len(self.dataset), self.generator)
        for positions in batches_of(order, self.batch_size):
            parts = self._parts(positions)
            n_labelled = n_known(self.y, positions)
            yield Batch(len(positions), parts, n_labelled, self._labelled()), None

    def _parts(self, positions, *, of_labelled=False):
        """The parts of the images at these positions, or of further labelled ones, without noise.

        The draws are those of all images of all processes, in order. So they depend neither on how
        the images are divided, nor on when and how often a part is read.
        """
        shape = self.dataset.image_format.channels_first_shape
        size = part_size(shape) * self.processes.size
        some = slices(len(positions), size)
        single = len(some) == 1
        if self.binarize:
            draws = [self._pixel_draws(len(positions[part]), kept=single) for part in some]
        noise = None
        if not of_labelled:
            noise = normal_draws(len(positions), self.n_components, self.generator)
        maps = self._maps(len(positions), self.augment)
        changed = self._changes(len(positions), of_labelled=of_labelled)
        share = self.processes.share

        def part(i):
            places = np.arange(some[i].start, some[i].stop)[share]
            own = positions[places]
            tensors = {"x": self.dataset[own]}
            if maps is not None:
                tensors["x"] = mapped(tensors["x"], maps[places], holes=self.holes)
            if changed is not None:
                tensors["mapped"] = changed(tensors["x"], places)
            if self.binarize:
                tensors["x"] = binary_draw(tensors["x"], draws[i]()[share])
            if noise is not None:
                tensors["noise"] = noise[places]
            return part_on(self.device, tensors, self.y, own)

        # A single part is kept, as callbacks may read it too.
        return [part(0)] if single else Parts(part, len(some))

    def _changes(self, n_images, *, of_labelled):
        """A function that changes some of n images, given their places, as `consistency` says.

        None if nothing is changed.
        """
        if not self.consistency:
            return None
        maps = self._maps(n_images, self.consistency * (STRONGER if of_labelled else 1.0))
        covers = None
        if self.few_labels:
            covers = uniform_draws((n_images, N_COVER_DRAWS), self.generator)

        def changed(x, places):
            images = mapped(x, maps[places], holes=self.holes)
            if covers is not None:
                images = covered(images, covers[places], self.consistency)
            if of_labelled:
                plain = places < N_PLAIN
                images[plain] = x[plain]
            return images

        return changed

    def _maps(self, n_images, strength):
        """Affine maps for n images, (n, 2, 3); None at strength 0, which draws nothing."""
        if not strength:
            return None
        draws = uniform_draws((n_images, N_DRAWS), self.generator)
        return affine_maps(draws, strength, self.dataset.image_format.channels_first_shape)

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
        return self._parts(np.array(places), of_labelled=True)


def random_order(n, generator):
    """The positions from 0 to n - 1 in random order, as arrays.

    Beyond 2^20 positions, those near each other come near each other: the order is that of blocks
    of 1,024 neighbours, and positions are mixed within windows of 64 blocks. So the order takes
    little memory, and images that are read at about the same time lie together on the disk.
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
    """The numbers of all arrays, in arrays of one size; the last one may be shorter."""
    rest = np.empty(0, np.int64)
    for array in arrays:
        rest = np.concatenate([rest, array])
        n_whole = len(rest) // size * size
        yield from (rest[some] for some in slices(n_whole, size))
        rest = rest[n_whole:]
    if len(rest):
        yield rest


def n_known(y, positions):
    """How many of the images at these positions have a class in y; None: there are no classes."""
    return 0 if y is None else int(np.sum(y[positions] >= 0))


def part_on(device, tensors, y, positions):
    """A part of a batch on a device: the tensors, and the classes, if there are any."""
    if y is not None:
        tensors["y"] = torch.from_numpy(np.asarray(y[positions], dtype=np.int64))
    return {name: to_device(tensor, device) for name, tensor in tensors.items()}


@dataclass(eq=False)
class ScoringBatches:
    """Batches for scores and validation: the images in order, with the noise of a `PixelNoise`.

    Each of the `Processes` gets its share of every batch.
    """

    dataset: ImageDataset
    noise: PixelNoise
    device: str
    processes: Processes

    def __iter__(self):
        y = self.dataset.y
        for some in self.dataset.passes():
            positions = np.arange(some.start, some.stop)
            own = positions[self.processes.share]
            x = self.dataset[own]
            part = part_on(self.device, {"x": x, "noise": self.noise(x)}, y, own)
            yield Batch(len(positions), [part], n_known(y, positions)), None
