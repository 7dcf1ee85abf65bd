"""What is no array of images is named, with the line that makes one of it."""

import io
import re
from collections import UserList, deque
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_array
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from skvae._data.misreadings import refuse_misreadings

IMAGES = np.random.default_rng(0).uniform(size=(6, 8, 9))


@pytest.mark.parametrize(
    "X",
    [
        "folder",
        Path("folder"),
        b"folder",
        ["a.png", "b.png"],
        [Path("a.png")],
        ("a.png",),
        np.array(["a.png", "b.png"]),
        np.array([Path("a.png")], dtype=object),
        pd.Series(["a.png", "b.png"], index=[7, 8]),
        pd.Index(["a.png"]),
        pl.Series(["a.png", "b.png"]),
        {"a.png", "b.png"},
        {"a.png": 1}.keys(),
        io.BytesIO(b"a"),
        [io.BytesIO(b"a")],
    ],
    ids=lambda X: type(X).__name__,
)
def test_names_of_files(X):
    with pytest.raises(
        TypeError, match=r"X holds files or names of files\..*X = skvae\.read_images\(X\)"
    ):
        refuse_misreadings(X)


class Pairs(Dataset):
    """Images and labels, as torchvision gives them."""

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, i):
        if i >= len(self):
            raise IndexError
        return Image.fromarray((255 * IMAGES[i]).astype(np.uint8)), i


class Stream(IterableDataset):
    def __iter__(self):
        return ((image, 0) for image in IMAGES)


TENSORS = TensorDataset(torch.tensor(IMAGES), torch.arange(len(IMAGES)))


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (Pairs(), np.floor(255 * IMAGES)),
        (TENSORS, IMAGES),
        (Subset(TENSORS, range(3)), IMAGES[:3]),
        (Stream(), IMAGES),
        (DataLoader(TENSORS, batch_size=4), IMAGES),
        ((image for image in IMAGES), IMAGES),
        (map(np.asarray, IMAGES), IMAGES),
        (dict(enumerate(IMAGES)).values(), IMAGES),
    ],
    ids=lambda X: type(X).__name__,
)
def test_collections_come_with_the_line_that_makes_an_array(X, expected):
    with pytest.raises(TypeError, match=rf"X is a .*{type(X).__qualname__}\.") as raised:
        refuse_misreadings(X)
    message = str(raised.value)
    assert "partial_fit" in message
    line = re.split(r"\. To train|, or skvae", message.split("images: X = ")[1])[0]
    np.testing.assert_array_equal(eval(line, {"X": X, "np": np}), expected)


def test_iterators_may_give_names_of_files(tmp_path):
    with pytest.raises(TypeError, match=r"or skvae\.read_images\(X\) if it gives names of files"):
        refuse_misreadings(tmp_path.glob("*"))


def test_mappings_name_their_first_key(tmp_path):
    np.savez(tmp_path / "images.npz", train=IMAGES)
    with np.load(tmp_path / "images.npz") as arrays:
        for X in (arrays, {"train": IMAGES, "test": IMAGES}):
            with pytest.raises(TypeError, match=r"one of its values, such as X\['train'\]\. To"):
                refuse_misreadings(X)


def test_one_picture_of_pillow():
    picture = Image.fromarray(np.zeros((8, 9), np.uint8))
    for fitted in (None, (8, 9)):
        with pytest.raises(ValueError, match=r"X is one image\..*\[X\] holds this one"):
            refuse_misreadings(picture, fitted)


def test_lazy_tables():
    frame = pl.DataFrame(np.eye(9)).lazy()
    with pytest.raises(TypeError, match=r"LazyFrame.*X\.collect\(\)"):
        refuse_misreadings(frame)


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 1), (1, 8, 9)])
@pytest.mark.parametrize("fitted", [(8, 9), (8, 9, 1), (1, 8, 9)])
def test_one_image(shape, fitted):
    image = IMAGES[0].reshape(shape)
    if shape[0] == 1:  # which may be X with one image
        refuse_misreadings(image, fitted)
        return
    with pytest.raises(ValueError, match=r"X is one image, of shape \(8, 9.*X\[None\]"):
        refuse_misreadings(image, fitted)


def test_one_image_in_colours():
    with pytest.raises(ValueError, match=r"X is one image, of shape \(8, 9, 3\)"):
        refuse_misreadings(np.zeros((8, 9, 3)), (8, 9, 3))


@pytest.mark.parametrize(
    ("X", "image_shape"),
    [
        (IMAGES, None),
        (IMAGES[0], None),
        (IMAGES, (8, 9)),
        (IMAGES[:1], (8, 9)),
        (IMAGES.reshape(6, 72), (8, 9)),
        (np.zeros((1, 64)), (1, 64)),
        (np.zeros((64, 64)), (1, 64)),
        (np.zeros((2, 2, 2)), (2, 2)),
        (np.zeros((9, 8)), (8, 9)),  # another shape, which the shapes of messages tell
        (np.zeros(72), (8, 9)),
        (np.zeros((0, 8, 9)), (8, 9)),
        (list(IMAGES), (8, 9)),
        (IMAGES.tolist(), (8, 9)),
        (tuple(IMAGES), None),
        (UserList(IMAGES), None),
        (deque(IMAGES), None),
        ([], None),
        ([Image.fromarray(np.zeros((8, 9), np.uint8))], None),
        (torch.tensor(IMAGES), (8, 9)),
        (pd.DataFrame(IMAGES[0]), None),
        (pl.DataFrame(IMAGES[0]), None),
        (csr_array(np.eye(3)), None),
        (np.array(None), None),
        (np.array(["a.png"])[:0], None),
        (np.array([["a", "b"]]), None),  # a table of text, of which scikit-learn speaks
        (None, None),
        (3, None),
    ],
)
def test_what_may_hold_images_is_left_alone(X, image_shape):
    before = repr(X)
    refuse_misreadings(X, image_shape)  # no error
    assert repr(X) == before
