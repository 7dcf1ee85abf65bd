"""Random numbers: a generator for each use of a seed, and the noise of scores (torch)."""

import zlib
from functools import cached_property

import numpy as np
import torch

# Rows in the table of noise from which `PixelNoise` chooses.
NOISE_TABLE_SIZE = 2**14

# Largest number of numbers in it: with more than 4,096 components there are fewer rows.
MAX_NOISE_NUMBERS = 2**26

# Uses of a seed. Each has its own generator.
WEIGHTS, EPOCH, SCORE, BINARIZE, DRAWS, CLUSTERS = range(6)


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


def uniform_draws(shape, generator):
    """Draws from the uniform distribution on [0, 1), in float32 on the CPU."""
    return torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu")


class PixelNoise:
    """A fixed table of draws from N(0, I), from which each image gets a row by its checksum.

    So the estimate for an image does not depend on the other images, their number or their order.
    Errors average out over images that get different rows. With one draw shared by all images,
    errors would add up.
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
