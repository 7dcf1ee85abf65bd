"""Batches of images and of noise for training and for scores (NumPy, torch)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from .._data import ImageDataset, binary_draw
from .._model import PixelNoise, normal_draws, part_size, slices, to_device, uniform_draws
from .augment import N_COVER_DRAWS, N_DRAWS, affine_maps, covered, mapped
from .processes import Processes
from .settings import TrainSettings

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


class Draws(NamedTuple):
    """The random numbers of the images of a step: those of all parts, and of all processes."""

    pixels: list  # functions that return uniform draws for the pixels of each part
    noise: torch.Tensor | None  # (n, K)
    maps: torch.Tensor | None  # (n, 2, 3), of the images
    changes: torch.Tensor | None  # (n, 2, 3), of their ``mapped``
    covers: torch.Tensor | None  # (n, `N_COVER_DRAWS`)


@dataclass(eq=False)
class EpochBatches:
    """Batches of one epoch of training: each image once, in random order, with new noise.

    With few labels, each batch also brings 64 labelled images, if there are any. They are drawn
    with replacement, and each class is equally frequent among them. A quarter of their ``mapped``
    images are as they are, and the maps of the others have twice the strength `consistency`.

    An image has a *position* in the dataset, and a *place* in its step. Each process trains on its
    *share* of every part of a step.
    """

    dataset: ImageDataset
    settings: TrainSettings
    n_components: int
    generator: torch.Generator  # of all that is random in the epoch
    processes: Processes

    def __post_init__(self):
        self.y = self.dataset.y
        self.holes = self.dataset.image_format.missing_values is not None
        self.members = []  # positions of the images of each class, if few have a label
        if self.settings.few_labels:
            classes = np.unique(self.y[self.y >= 0])
            self.members = [np.flatnonzero(self.y == label) for label in classes]

    def __iter__(self):
        order = random_order(len(self.dataset), self.generator)
        for positions in batches_of(order, self.settings.batch_size):
            parts = self._parts(positions)
            n_labelled = n_known(self.y, positions)
            yield Batch(len(positions), parts, n_labelled, self._labelled()), None

    def _parts(self, positions, *, of_labelled=False):
        """The parts of the images at these positions; those of labelled ones are without noise."""
        size = part_size(self.dataset.image_format.channels_first_shape) * self.processes.size
        some = slices(len(positions), size)
        draws = self._draws(some, of_labelled=of_labelled)

        def part(i):
            places = np.arange(some[i].start, some[i].stop)[self.processes.share]
            tensors = self._tensors(positions[places], places, draws, draws.pixels[i], of_labelled)
            return part_on(self.settings.device, tensors, self.y, positions[places])

        # A single part is kept, as callbacks may read it too.
        return [part(0)] if len(some) == 1 else Parts(part, len(some))

    def _draws(self, some, *, of_labelled):
        """The draws for all places of a step, in parts at these slices of them.

        They depend neither on how the images are divided, nor on when and how often a part is read.
        A fit depends on their order.
        """
        settings, n = self.settings, some[-1].stop
        pixels, noise, covers = [None] * len(some), None, None
        if settings.binarize:
            kept = len(some) == 1
            pixels = [self._pixel_draws(part.stop - part.start, kept=kept) for part in some]
        if not of_labelled:
            noise = normal_draws(n, self.n_components, self.generator)
        maps = self._maps(n, settings.augment)
        changes = self._maps(n, settings.consistency * (STRONGER if of_labelled else 1.0))
        if changes is not None and settings.few_labels:
            covers = uniform_draws((n, N_COVER_DRAWS), self.generator)
        return Draws(pixels, noise, maps, changes, covers)

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

    def _tensors(self, positions, places, draws, pixel_draws, of_labelled):
        """The images at these positions, and what was drawn for their places in the step."""
        x, tensors = self.dataset[positions], {}
        if draws.maps is not None:
            x = mapped(x, draws.maps[places], holes=self.holes)
        if draws.changes is not None:
            tensors["mapped"] = self._changed(x, places, draws, of_labelled)
        if pixel_draws is not None:
            x = binary_draw(x, pixel_draws()[self.processes.share])
        if draws.noise is not None:
            tensors["noise"] = draws.noise[places]
        return {"x": x, **tensors}

    def _changed(self, x, places, draws, of_labelled):
        """Images whose class should be that of x: mapped, with few labels also covered."""
        images = mapped(x, draws.changes[places], holes=self.holes)
        if draws.covers is not None:
            images = covered(images, draws.covers[places], self.settings.consistency)
        if of_labelled:
            plain = places < N_PLAIN
            images[plain] = x[plain]
        return images

    def _labelled(self):
        """Parts of further labelled images, as many of each class."""
        if not self.members:
            return ()
        n_classes = len(self.members)
        classes = torch.randperm(n_classes, generator=self.generator, device="cpu").numpy()
        shares = torch.rand(N_LABELLED, generator=self.generator, device="cpu").double().numpy()
        some = [self.members[c] for c in np.resize(classes, N_LABELLED)]
        drawn = [members[int(s * len(members))] for members, s in zip(some, shares, strict=True)]
        return self._parts(np.array(drawn), of_labelled=True)


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
