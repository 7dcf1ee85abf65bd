"""`read_images` reads the files that are meant, in order, into one array or one file."""

import io
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from pictures import COLOUR, DEEP, GREY, RNG, write
from PIL import Image

from skvae import ConvVAETransformer, read_images
from skvae._data import read as reader

# Which files, in which order


def test_natural_order(tmp_path):
    names = ["img1", "img2", "img02b", "img10", "img100", "img0200", "img" + "9" * 100, "imga"]
    for i in RNG.permutation(len(names)):
        Image.fromarray(np.full((1, 1), i, np.uint8)).save(tmp_path / f"{names[i]}.png")
    assert read_images(tmp_path).ravel().tolist() == list(range(len(names)))
    assert read_images(f"{tmp_path}/*.png").ravel().tolist() == list(range(len(names)))


def test_natural_order_of_folders(tmp_path):
    names = ["a/img9", "a/img10", "a-b/img1", "a2/img1", "a10/img1"]
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((1, 1), i, np.uint8)).save(tmp_path / f"{name}.png")
    assert read_images(f"{tmp_path}/**/*.png").ravel().tolist() == list(range(len(names)))
    assert read_images(tmp_path / "*" / "img1.png").ravel().tolist() == [2, 3, 4]


def test_an_iterable_keeps_its_order(tmp_path):
    paths = write(tmp_path, GREY)
    order = [3, 0, 4, 0]
    expected = GREY[order]
    assert_array_equal(read_images([paths[i] for i in order]), expected)
    assert_array_equal(read_images(str(paths[i]) for i in order), expected)
    assert_array_equal(read_images(np.array([str(paths[i]) for i in order])), expected)
    assert_array_equal(read_images(os.fsencode(tmp_path)), GREY)


def test_other_files_of_a_folder_are_left_out(tmp_path):
    write(tmp_path, GREY[:2])
    (tmp_path / "img0.png").rename(tmp_path / "IMG0.PNG")
    for name in ("labels.csv", ".hidden.png", "Thumbs.db"):
        (tmp_path / name).write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    assert_array_equal(read_images(tmp_path), GREY[:2])


def test_names(tmp_path):
    names = ["a\nb.png", "c d'e.png", "f[1].png", "größe.png", "日本.png"]
    for name, image in zip(names, GREY, strict=True):
        Image.fromarray(image).save(tmp_path / name)
    assert_array_equal(read_images(tmp_path), GREY)
    for name, image in zip(names, GREY, strict=True):
        assert_array_equal(read_images(tmp_path / name), [image])
    (tmp_path / "a\nb.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"a\\nb\.png"):
        read_images(tmp_path)


@pytest.mark.parametrize("pattern", ["*.jpg", "*.JPG", "**/*.jPg", "?.jpg"])
def test_endings_of_a_pattern_in_any_case(tmp_path, pattern):
    for i, ending in enumerate(("jpg", "JPG", "Jpg")):
        Image.fromarray(np.full((8, 8), 40 * i, np.uint8)).save(tmp_path / f"{i}.{ending}", "JPEG")
    (tmp_path / "3.png").write_text("no picture")
    assert read_images(tmp_path / pattern)[:, 0, 0].tolist() == [0, 40, 80]


def test_a_file_that_is_named_is_that_file(tmp_path):
    write(tmp_path, GREY[:1], ".PNG")
    with pytest.raises(FileNotFoundError, match=r"img0\.png"):
        read_images(tmp_path / "img0.png")


def test_brackets_in_the_names_of_folders(tmp_path):
    folder = tmp_path / "photos [2024]" / "a[b]"
    folder.mkdir(parents=True)
    (tmp_path / "photos 2").mkdir()  # which the brackets would match as a pattern
    write(folder, GREY)
    write(tmp_path / "photos 2", GREY[:1])
    root = tmp_path / "photos [2024]"
    for paths in (folder, folder / "*.png", root / "*" / "*.png", root / "**" / "img[0-4].png"):
        assert_array_equal(read_images(paths), GREY)
    assert_array_equal(read_images(tmp_path / "photos [0-9]" / "*.png"), GREY[:1])


def test_relative_patterns(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    write(tmp_path / "a", GREY)
    monkeypatch.chdir(tmp_path)
    for pattern in ("a", "a/*.png", "*/*.png", "./a/*.png", "a/../a/*.png", "**/*.png"):
        assert_array_equal(read_images(pattern), GREY)


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(tmp_path, GREY)
    for paths in ("~", "~/*.png", Path("~"), [f"~/img{i}.png" for i in range(len(GREY))]):
        assert_array_equal(read_images(paths), GREY)
    mapped = read_images("~", out="~/x.npy")
    assert_array_equal(mapped, GREY)
    assert (tmp_path / "x.npy").exists()


def test_binary_files(tmp_path):
    paths = write(tmp_path, GREY)
    files = [io.BytesIO(path.read_bytes()) for path in paths]
    for _ in range(2):  # they are read from their beginning, and stay open
        assert_array_equal(read_images(files), GREY)
    assert_array_equal(read_images(files[2]), GREY[2:3])
    with open(paths[1], "rb") as file:
        assert_array_equal(read_images([files[0], file, paths[2]]), GREY[:3])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in paths:
            archive.write(path, path.name)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert_array_equal(read_images(archive.open(name) for name in archive.namelist()), GREY)
    with pytest.raises(ValueError, match=r"file 1 \(BytesIO\) cannot be read"):
        read_images([files[0], io.BytesIO(b"no picture")])


@pytest.mark.parametrize("other", [3, GREY[0], Image.fromarray(GREY[0]), None])
def test_what_is_no_file(other):
    with pytest.raises(TypeError, match=rf"binary files. Got a {type(other).__name__} at place 0"):
        read_images([other])


def test_nothing_found(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(
        FileNotFoundError, match=rf"{tmp_path.name}.*holds no files that end in .*\.png"
    ):
        read_images(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"'nowhere/\*\.png', and no 'nowhere'\."):
        read_images("nowhere/*.png")
    with pytest.raises(FileNotFoundError, match=r"no file or folder '.*\*\.jpg'\.$"):
        read_images(tmp_path / "*.jpg")
    with pytest.raises(FileNotFoundError, match="Only folders match"):
        read_images(tmp_path.parent / f"{tmp_path.name[:-1]}?")
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        read_images([tmp_path / "gone.png"])
    (tmp_path / "link.png").symlink_to("gone.png")
    with pytest.raises(FileNotFoundError, match=r"link\.png"):
        read_images(tmp_path)
    with pytest.raises(ValueError, match="paths is empty"):
        read_images([])


# Classes


def of_classes(folder):
    """A folder of two classes of files, and the images and their classes in order."""
    for name, images in (("rose", GREY[:2]), ("daisy 10", GREY[2:4]), ("daisy 9", GREY[4:])):
        (folder / name).mkdir()
        write(folder / name, images)
    return GREY[[4, 2, 3, 0, 1]], ["daisy 9", "daisy 10", "daisy 10", "rose", "rose"]


def test_sub_folders_are_classes(tmp_path):
    expected, classes = of_classes(tmp_path)
    (tmp_path / ".hidden").mkdir()
    write(tmp_path, GREY[:1])  # beside the classes
    for paths in (tmp_path, tmp_path / "*" / "*.png"):
        images, y = read_images(paths, labels=True)
        assert_array_equal(images, expected)
        assert y.tolist() == classes
        assert y.dtype.kind == "U"


def test_classes_of_an_iterable(tmp_path, monkeypatch):
    of_classes(tmp_path)
    images, y = read_images(
        [tmp_path / "rose/img1.png", tmp_path / "daisy 9/img0.png"], labels=True
    )
    assert_array_equal(images, GREY[[1, 4]])
    assert y.tolist() == ["rose", "daisy 9"]
    monkeypatch.chdir(tmp_path / "rose")
    assert read_images(["img0.png"], labels=True)[1].tolist() == ["rose"]
    with pytest.raises(TypeError, match=r"paths, whose folders are the labels\. Got a BytesIO"):
        read_images([io.BytesIO()], labels=True)


def test_a_class_without_pictures_is_named(tmp_path):
    of_classes(tmp_path)
    (tmp_path / "tulip" / "more").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"tulip' holds no files"):
        read_images(tmp_path, labels=True)
    with pytest.raises(FileNotFoundError, match=r"rose' has no sub-folders"):
        read_images(tmp_path / "rose", labels=True)


# Files that are left out


@pytest.mark.parametrize("to_disk", [False, True])
@pytest.mark.parametrize("bad", [[0], [1, 3], [0, 1, 2, 3]])
def test_skipped_files_are_named_and_all_others_read(tmp_path, bad, to_disk):
    paths, out = write(tmp_path, GREY), tmp_path / "x.npy" if to_disk else None
    for i in bad:
        paths[i].write_text("no picture")
    images, skipped = read_images(tmp_path, on_error="skip", out=out)
    kept = [i for i in range(len(GREY)) if i not in bad]
    assert_array_equal(images, GREY[kept])
    assert list(skipped) == [str(paths[i]) for i in bad]
    assert all(f"img{i}.png" in skipped[str(paths[i])] for i in bad)
    if to_disk:
        assert_array_equal(np.load(out), GREY[kept])
    with pytest.raises(ValueError, match=rf"img{bad[0]}\.png"):
        read_images(tmp_path, on_error="raise")


def test_nothing_to_skip(tmp_path):
    write(tmp_path, GREY)
    images, skipped = read_images(tmp_path, on_error="skip")
    assert_array_equal(images, GREY)
    assert skipped == {}


def test_skipped_elements_are_those_of_the_iterable(tmp_path):
    good, damaged = write(tmp_path, GREY)[0], io.BytesIO(b"no picture")
    paths = [good, tmp_path / "gone.png", damaged, str(good)]
    images, skipped = read_images(paths, on_error="skip")
    assert_array_equal(images, GREY[[0, 0]])
    assert list(skipped) == [paths[1], damaged]
    assert [path for path in paths if path not in skipped] == [good, str(good)]


def test_classes_of_the_files_that_are_left(tmp_path):
    expected, classes = of_classes(tmp_path)
    (tmp_path / "daisy 10" / "img0.png").write_text("no picture")
    images, y, skipped = read_images(tmp_path, labels=True, on_error="skip")
    assert_array_equal(images, np.delete(expected, 1, axis=0))
    assert y.tolist() == np.delete(classes, 1).tolist()
    assert len(skipped) == 1


def test_if_no_file_can_be_read(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"None of the 1 files can be read. The first: .*a\.png"):
        read_images(tmp_path, on_error="skip")


def test_other_shapes_are_not_skipped(tmp_path):
    write(tmp_path, [GREY[0], GREY[0].T])
    with pytest.raises(ValueError, match=r"img1\.png' has the shape \(7, 6\)"):
        read_images(tmp_path, on_error="skip")


@pytest.mark.parametrize("on_error", ["ignore", None, True])
def test_wrong_rules(tmp_path, on_error):
    with pytest.raises(ValueError, match='on_error must be "raise" or "skip"'):
        read_images(tmp_path, on_error=on_error)


# Memory maps and progress


@pytest.mark.parametrize("images", [GREY, COLOUR, DEEP, GREY > 127], ids=["8", "RGB", "16", "1"])
def test_the_memory_map_holds_what_the_array_holds(tmp_path, images):
    folder, out = tmp_path / "folder", tmp_path / "x.npy"
    folder.mkdir()
    write(folder, images)
    mapped = read_images(folder, mode=None, out=out)
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    assert mapped.dtype == images.dtype
    assert_array_equal(mapped, images)
    assert_array_equal(np.load(out, allow_pickle=False), images)
    assert sorted(os.listdir(tmp_path)) == ["folder", "x.npy"]


def test_an_estimator_takes_the_memory_map(tmp_path):
    write(tmp_path, GREY)
    mapped = read_images(tmp_path, out=tmp_path / "x.npy")
    vae = ConvVAETransformer(2, max_iter=1, hidden_units=8, random_state=0)
    assert_array_equal(vae.fit(mapped).transform(mapped), vae.fit(GREY).transform(GREY))


def test_a_failure_leaves_the_old_file(tmp_path):
    paths, out = write(tmp_path, GREY), tmp_path / "x.npy"
    out.write_text("old")
    paths[3].write_text("no picture")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ValueError, match=r"img3\.png"):
        read_images(tmp_path, out=out)
    assert out.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == before
    write(tmp_path, GREY)
    assert_array_equal(read_images(tmp_path, out=out), GREY)


def test_an_interruption_leaves_no_file(tmp_path, monkeypatch):
    paths, read = write(tmp_path, GREY), reader.read_pixels
    before = sorted(os.listdir(tmp_path))

    def interrupted(path, *args):
        if path == str(paths[3]):
            raise KeyboardInterrupt
        return read(path, *args)

    monkeypatch.setattr(reader, "read_pixels", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read_images(tmp_path, out=tmp_path / "x.npy")
    assert sorted(os.listdir(tmp_path)) == before


def test_pictures_on_the_way_to_a_file_need_no_memory(tmp_path):
    for i in range(64):
        Image.new("L", (256, 256), i).save(tmp_path / f"{i}.png")
    read_images(tmp_path / "0.png")  # what is imported on the way counts once
    tracemalloc.start()
    mapped = read_images(tmp_path, out=tmp_path / "x.npy")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < mapped.nbytes / 8
    assert_array_equal(mapped[:, 0, 0], np.arange(64))


def test_where_out_cannot_be_written(tmp_path):
    paths = write(tmp_path, GREY)
    with pytest.raises(IsADirectoryError, match=rf"{tmp_path.name}' is a folder"):
        read_images(paths, out=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no folder '.*nowhere' to write '.*x\.npy' to"):
        read_images(paths, out=tmp_path / "nowhere" / "x.npy")


def test_a_link_stays_a_link(tmp_path):
    paths = write(tmp_path, GREY)
    (tmp_path / "x.npy").symlink_to("y.npy")
    read_images(paths, out=tmp_path / "x.npy")
    assert Path(tmp_path / "x.npy").is_symlink()
    assert_array_equal(np.load(tmp_path / "y.npy"), GREY)


def test_progress(tmp_path, capfd):
    write(tmp_path, GREY)
    read_images(tmp_path)
    assert capfd.readouterr() == ("", "")
    read_images(tmp_path, verbose=1)
    out, err = capfd.readouterr()
    assert out == ""
    assert "read_images: 100%" in err
    assert "5/5" in err


def test_depths_that_differ_are_no_question_of_mode(tmp_path):
    write(tmp_path, [GREY[0], DEEP[0][: GREY[0].shape[0], : GREY[0].shape[1]]])
    for mode in (None, "L"):
        with pytest.raises(ValueError, match="All must agree: read those of each dtype apart"):
            read_images(tmp_path, mode=mode)


@pytest.mark.parametrize("paths", [None, 3])
def test_what_is_no_path(paths):
    with pytest.raises(TypeError, match=f"paths must be a path.* Got a {type(paths).__name__}"):
        read_images(paths)
