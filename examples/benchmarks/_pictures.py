"""Image sets of many kinds, each split into training and test images (NumPy, scikit-learn).

Every function returns a `PictureSet`; the same arguments always give the same images.

>>> images = grey_patches(seed=0)
>>> images.train.shape, images.train.dtype
((6000, 16, 16), dtype('uint8'))
"""

import gzip
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits, load_sample_images
from sklearn.model_selection import train_test_split


class PictureSet(NamedTuple):
    """Training and test images.

    Parameters
    ----------
    train, test : ndarray of shape (n, H, W) or (n, H, W, C)
        Images.

    train_labels, test_labels : ndarray of shape (n,) or None
        Their classes, where they have any.
    """

    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None


def digits(seed=0):
    """Handwritten digits of scikit-learn: 1,347 and 450 of 8 x 8, whole numbers 0 to 16."""
    bunch = load_digits()
    train, test, train_labels, test_labels = train_test_split(
        bunch.images, bunch.target, stratify=bunch.target, random_state=seed
    )
    return PictureSet(train, test, train_labels, test_labels)


def idx_files(folder):
    """MNIST, or a set in its format: 60,000 and 10,000 of 28 x 28, uint8.

    Parameters
    ----------
    folder : path
        Where the four files are, such as ``train-images-idx3-ubyte.gz``.
    """
    names = [f"{p}-{kind}" for kind in ("images-idx3", "labels-idx1") for p in ("train", "t10k")]
    return PictureSet(*(_read_idx(Path(folder) / f"{name}-ubyte.gz") for name in names))


def _read_idx(path):
    data = gzip.decompress(path.read_bytes())
    n_axes = data[3]
    shape = np.frombuffer(data, ">u4", n_axes, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * n_axes).reshape(shape)


def colour_patches(seed=0, *, within=False, n_train=6_000, n_test=2_000):
    """Patches of photographs: (n, 32, 32, 3), uint8.

    Parameters
    ----------
    seed : int

    within : bool, default=False
        Whether training and test patches come from the left and the right part of the same
        photographs; else from one photograph (China) and another (a flower).

    n_train, n_test : int
    """
    return _patches(load_sample_images().images, 32, seed, within, n_train, n_test)


def grey_patches(seed=0, *, within=False, n_train=6_000, n_test=2_000):
    """As `colour_patches`, in grey and smaller: (n, 16, 16), uint8."""
    photographs = [image.mean(2).astype(np.uint8) for image in load_sample_images().images]
    return _patches(photographs, 16, seed, within, n_train, n_test)


def _patches(photographs, side, seed, within, n_train, n_test):
    rng = np.random.default_rng(seed)
    if within:
        edge = int(0.7 * photographs[0].shape[1])
        halves = [[p[:, :edge] for p in photographs], [p[:, edge:] for p in photographs]]
    else:
        halves = [photographs[:1], photographs[1:]]
    parts = []
    for sources, n in zip(halves, (n_train, n_test), strict=True):
        cut = [_cut(image, side, n // len(sources), rng) for image in sources]
        parts.append(np.concatenate(cut))
    return PictureSet(*parts)


def _cut(image, side, n, rng):
    # The windows are views; only the chosen ones are copied.
    windows = np.lib.stride_tricks.sliding_window_view(image, (side, side), axis=(0, 1))
    row, column = (rng.integers(0, windows.shape[axis], n) for axis in (0, 1))
    chosen = windows[row, column]  # (n, side, side), or (n, C, side, side)
    return np.ascontiguousarray(np.moveaxis(chosen, 1, -1) if image.ndim == 3 else chosen)


def grey_ellipses(seed=0, *, side=64, n_train=1_500, n_test=500):
    """One soft ellipse each on black: (n, side, side), uint8."""
    rng = np.random.default_rng(seed)
    brightness = rng.uniform(128, 255, (n_train + n_test, 1, 1))
    pictures = (brightness * _ellipse_masks(n_train + n_test, side, rng)).astype(np.uint8)
    return PictureSet(pictures[:n_train], pictures[n_train:])


def colour_ellipses(seed=0, *, side=32, n_train=6_000, n_test=2_000):
    """One soft ellipse each, its colour and that of the ground at random: (n, side, side, 3)."""
    rng = np.random.default_rng(seed)
    n = n_train + n_test
    masks = _ellipse_masks(n, side, rng)[..., None]
    ellipse, ground = rng.uniform(0, 255, (2, n, 1, 1, 3))
    pictures = (masks * ellipse + (1 - masks) * ground).astype(np.uint8)
    return PictureSet(pictures[:n_train], pictures[n_train:])


def _ellipse_masks(n, side, rng):
    """Soft masks of ellipses of random place, size and angle: (n, side, side) in [0, 1]."""
    y, x = np.mgrid[:side, :side] / side
    centre, radii = rng.uniform(0.3, 0.7, (2, n, 1, 1)), rng.uniform(0.1, 0.4, (2, n, 1, 1))
    angle = rng.uniform(0, np.pi, (n, 1, 1))
    masks = np.empty((n, side, side), np.float32)
    for rows in np.array_split(np.arange(n), -(-n // 256)):
        dy, dx = y - centre[0, rows], x - centre[1, rows]
        sine, cosine = np.sin(angle[rows]), np.cos(angle[rows])
        along, across = cosine * dx + sine * dy, cosine * dy - sine * dx
        distance = (along / radii[0, rows]) ** 2 + (across / radii[1, rows]) ** 2
        masks[rows] = 1 / (1 + np.exp(np.minimum(8 * (distance - 1), 50)))
    return masks


def heartbeats(seed=0, *, length=256, n_train=4_000, n_test=1_000):
    """Signals like an electrocardiogram: (n, 1, length), float64 in millivolts.

    Each beat is a sum of five bumps (P, Q, R, S, T), repeated at the rate of its heart, on a
    wandering base line and with noise. Classes: 0 usual, 1 no P wave, 2 wide QRS.
    """
    rng = np.random.default_rng(seed)
    n = n_train + n_test
    labels = rng.integers(0, 3, n)
    # Rows are bumps: place (shares of a period), height (mV), width (samples).
    place = np.array([-0.18, -0.04, 0.0, 0.04, 0.28])
    height = np.array([0.15, -0.12, 1.1, -0.25, 0.3])
    width = np.array([5.0, 2.0, 2.5, 2.5, 9.0])
    heights = height * rng.normal(1, 0.2, (n, 5))
    heights[labels == 1, 0] = 0
    widths = width * rng.uniform(0.8, 1.25, (n, 5))
    widths[labels == 2, 1:4] *= 2.5
    period = rng.uniform(70, 130, (n, 1))
    start = rng.uniform(0, 1, (n, 1)) * period
    t = np.arange(length)
    signals = np.zeros((n, length))
    for beat in range(-1, length // 70 + 2):
        for bump in range(5):
            centre = start + (beat + place[bump]) * period
            distance = (t - centre) / widths[:, [bump]]
            signals += heights[:, [bump]] * np.exp(-0.5 * distance**2)
    phase, speed = rng.uniform(0, 2 * np.pi, (n, 1)), rng.uniform(0.5, 1.5, (n, 1))
    signals += 0.1 * np.sin(phase + 2 * np.pi * speed * t / length)
    signals += rng.normal(0, 0.03, signals.shape)
    signals = signals[:, None, :]
    return PictureSet(signals[:n_train], signals[n_train:], labels[:n_train], labels[n_train:])


def fluorescence(seed=0, *, side=32, n_train=4_000, n_test=1_000):
    """Cells in five stains whose ranges differ 100-fold: (n, side, side, 5), float32.

    A nucleus, its rim, a body around it, spots in the body, and a stain of the body that is
    stronger on one side, each of its own brightness, with noise of photons. Classes: few
    spots (0) or many (1).
    """
    rng = np.random.default_rng(seed)
    n = n_train + n_test
    labels = rng.integers(0, 2, n)
    y, x = np.mgrid[:side, :side] / side
    centre = rng.uniform(0.4, 0.6, (2, n, 1, 1))
    radius = rng.uniform(0.1, 0.18, (n, 1, 1))
    stretch, angle = rng.uniform(1, 1.6, (n, 1, 1)), rng.uniform(0, np.pi, (n, 1, 1))
    dy, dx = y - centre[0], x - centre[1]
    along = (np.cos(angle) * dx + np.sin(angle) * dy) / stretch
    across = (np.cos(angle) * dy - np.sin(angle) * dx) * stretch
    distance = np.sqrt(along**2 + across**2) / radius
    nucleus = 1 / (1 + np.exp(np.minimum(12 * (distance - 1), 50)))
    body = 1 / (1 + np.exp(np.minimum(8 * (distance - 2.2), 50)))
    rim = np.exp(-0.5 * ((distance - 1) / 0.15) ** 2)
    spots = np.zeros_like(body)
    for spot in range(8):
        away = rng.normal(0, 0.14, (2, n, 1, 1))
        strength = np.exp(-0.5 * ((dy - away[0]) ** 2 + (dx - away[1]) ** 2) / 0.025**2)
        spots += strength * ((labels == 1) | (spot < 2))[:, None, None]
    polar = body * (1 + np.tanh(6 * along)) / 2
    stains = np.stack([nucleus, rim, body, spots, polar], -1)
    stains *= rng.lognormal(0, 0.3, (n, 1, 1, 5))
    stains = rng.poisson(200 * (stains + 0.05)) / 200
    pictures = (stains * [1.0, 3.0, 10.0, 30.0, 100.0]).astype(np.float32)
    return PictureSet(pictures[:n_train], pictures[n_train:], labels[:n_train], labels[n_train:])


def hot_pixels(seed=0, *, side=32, n_train=3_000, n_test=1_000):
    """Blurred spots on a noisy camera: (n, side, side), uint16, with a few hot pixels.

    Nearly all values lie between 900 and 6,000; about one image in five has a pixel of
    40,000 to 65,535, at a random place.
    """
    rng = np.random.default_rng(seed)
    n = n_train + n_test
    y, x = np.mgrid[:side, :side] / side
    light = np.zeros((n, side, side))
    for _ in range(3):
        centre, width = rng.uniform(0.2, 0.8, (2, n, 1, 1)), rng.uniform(0.08, 0.15, (n, 1, 1))
        squared = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
        light += rng.uniform(800, 2_500, (n, 1, 1)) * np.exp(-0.5 * squared / width**2)
    pictures = 1_000 + rng.poisson(light) + rng.normal(0, 20, light.shape)
    hot = rng.random(n) < 0.2
    row, column = rng.integers(0, side, (2, n))
    pictures[hot, row[hot], column[hot]] = rng.uniform(40_000, 65_535, hot.sum())
    pictures = pictures.clip(0, 65_535).astype(np.uint16)
    return PictureSet(pictures[:n_train], pictures[n_train:])


def few_pictures(seed=0):
    """200 training images of `grey_ellipses`, 64 x 64, and 500 test images."""
    return grey_ellipses(seed, n_train=200, n_test=500)


def strokes(seed=0, *, side=105, n_train=600, n_test=300):
    """Characters of two curved strokes: (n, side, side), bool, as in Omniglot.

    Each stroke is a quadratic Bezier curve; its points lie near those of one of ten
    characters, which are the classes.
    """
    rng = np.random.default_rng(seed)
    n = n_train + n_test
    labels = rng.integers(0, 10, n)
    alphabet = rng.uniform(0.15, 0.85, (10, 2, 3, 2))  # characters, strokes, points, (y, x)
    points = alphabet[labels] + rng.normal(0, 0.04, (n, 2, 3, 2))
    t = np.linspace(0, 1, 4 * side)[:, None]
    weights = np.hstack([(1 - t) ** 2, 2 * t * (1 - t), t**2])  # (4 * side, 3)
    curves = np.einsum("tp,nspa->nsta", weights, points) * side
    pictures = np.zeros((n, side, side), bool)
    picture = np.arange(n)[:, None, None]
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            y = (curves[..., 0] + dy).astype(int).clip(0, side - 1)
            x = (curves[..., 1] + dx).astype(int).clip(0, side - 1)
            pictures[picture, y, x] = True
    return PictureSet(pictures[:n_train], pictures[n_train:], labels[:n_train], labels[n_train:])


# All sets that need no files, by name.
FIELD_SETS = {
    "digits": digits,
    "colour patches": colour_patches,
    "colour patches, within": partial(colour_patches, within=True),
    "grey patches": grey_patches,
    "grey patches, within": partial(grey_patches, within=True),
    "colour ellipses": colour_ellipses,
    "grey ellipses": grey_ellipses,
    "heartbeats": heartbeats,
    "fluorescence": fluorescence,
    "hot pixels": hot_pixels,
    "few images": few_pictures,
    "strokes": strokes,
}
