"""A set of images that are scaled when a batch asks for them (NumPy, torch)."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from .._model import BINARIZE, checksum, generator_for, pass_size, slices, uniform_draws
from .format import ImageFormat
from .pixel_range import is_hole

# Images from which statistics of a set are computed: the largest number of images, and of numbers
# in them if they are more than the smallest number of images.
MAX_SUBSAMPLE, MIN_SUBSAMPLE, MAX_SUBSAMPLE_NUMBERS = 2_048, 64, 2**27


@dataclass(eq=False)
class ImageDataset(torch.utils.data.Dataset):
    """A set of images, which are scaled only when a batch asks for them."""

    rows: np.ndarray  # (n, n_features) in any real dtype; it may be a memory map
    image_format: ImageFormat
    indices: np.ndarray | None = None  # the places in `rows` that make the set; None: all
    # With a seed, each image is one draw of 0/1 pixels, which depends on this seed and on the image
    # alone. Its scaled pixels are the probabilities.
    binarize_seed: int | None = None
    labels: np.ndarray | None = None  # the classes of all rows, from 0; -1: not known

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

    def values(self, positions):
        """Rows in the units of X at a slice of positions, as float64; missing pixels are NaN."""
        rows = self.rows[positions if self.indices is None else self.indices[positions]]
        values = rows.astype(np.float64)
        if self.image_format.missing_values is not None:
            values[is_hole(rows, self.image_format.missing_values)] = np.nan
        return values

    @property
    def y(self):
        """The class of each image, as an ndarray; None if there are no classes."""
        if self.labels is None or self.indices is None:
            return self.labels
        return self.labels[self.indices]

    def passes(self):
        """Slices of the positions, one for each pass; the last one may be shorter."""
        return slices(len(self), pass_size(self.image_format.channels_first_shape))

    def at(self, positions):
        """The subset at an array or a slice of positions."""
        if self.indices is not None:
            positions = self.indices[positions]
        elif isinstance(positions, slice):
            positions = np.arange(*positions.indices(len(self)))
        return replace(self, indices=positions)

    def without(self, positions):
        """The subset of all images but those at an array of positions."""
        return self.at(np.delete(np.arange(len(self)), positions))

    def thinned(self, n_images):
        """At most so many of the images, spread evenly over the set."""
        return self.at(slice(None, None, math.ceil(len(self) / n_images)))

    def subsample(self):
        """At most 2,048 of the images, or fewer if they are large, spread evenly over the set."""
        most = max(MIN_SUBSAMPLE, MAX_SUBSAMPLE_NUMBERS // self.image_format.n_features)
        return self.thinned(min(MAX_SUBSAMPLE, most))

    def binarized(self, seed):
        """The same set with each image replaced by one draw of 0/1 pixels."""
        return replace(self, binarize_seed=seed)


def binary_draw(x, draws):
    """0/1 pixels with x as probabilities, from uniform draws; missing pixels stay NaN."""
    return (draws < x).to(x.dtype).where(~x.isnan(), torch.nan)
