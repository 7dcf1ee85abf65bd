"""Handwritten digits for the examples: bundled, from a folder of IDX files, or from OpenML."""

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.datasets import fetch_openml, load_digits
from sklearn.model_selection import train_test_split

BUNDLED = Path(__file__).with_name("mnist")


class Digits(NamedTuple):
    """Images of shape (n, H, W) and their classes, for training and for testing."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load(source):
    """Load a data set by the value of ``--data``.

    Parameters
    ----------
    source : str
        "mnist" (10,000 training and 2,000 test images of MNIST, which lie beside this file),
        "digits" (1,797 images of 8 x 8, bundled with scikit-learn), "openml" (all of MNIST,
        fetched once and cached), or a folder with the four IDX files of MNIST, packed or not.

    Returns
    -------
    digits : Digits
    """
    if source == "digits":
        bunch = load_digits()
        images, labels = bunch.images.astype(np.uint8), bunch.target
        parts = train_test_split(images, labels, test_size=1 / 3, stratify=labels, random_state=0)
        return Digits("digits", parts[0], parts[2], parts[1], parts[3])
    if source == "openml":
        pixels, labels = fetch_openml("mnist_784", version=1, as_frame=False, return_X_y=True)
        images, labels = pixels.astype(np.uint8).reshape(-1, 28, 28), labels.astype(np.int64)
        return Digits("MNIST", images[:60_000], labels[:60_000], images[60_000:], labels[60_000:])
    folder = BUNDLED if source == "mnist" else Path(source)
    return Digits(
        "MNIST",
        read_idx(folder / "train-images-idx3-ubyte"),
        read_idx(folder / "train-labels-idx1-ubyte"),
        read_idx(folder / "t10k-images-idx3-ubyte"),
        read_idx(folder / "t10k-labels-idx1-ubyte"),
    )


def read_idx(path):
    """Array of bytes in an IDX file, or in the same file packed by gzip.

    Parameters
    ----------
    path : Path
        Without the ending ``.gz``.

    Returns
    -------
    array : ndarray of uint8

    Raises
    ------
    ValueError
        If the file is not an IDX file of unsigned bytes, or is cut.
    """
    packed = path.with_name(path.name + ".gz")
    data = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    n_axes = data[3] if len(data) > 3 and data[:3] == b"\0\0\x08" else 0
    header = 4 + 4 * n_axes
    shape = np.frombuffer(data, ">u4", n_axes, 4) if n_axes and len(data) >= header else None
    if shape is None or len(data) != header + shape.prod(dtype=np.int64):
        raise ValueError(f"{path} is not a whole IDX file of unsigned bytes.")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
