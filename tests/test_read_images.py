"""`read_images` gives the pixels that the files hold, in order, or names the file that does not."""

import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from skvae import ConvVAETransformer, _read_images, read_images

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 6, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (4, 6, 7, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (3, 6, 7), dtype=np.uint16)


def write(folder, images, ending=".png", **options):
    """The paths of files of images, one for each."""
    paths = [folder / f"img{i}{ending}" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path, **options)
    return paths


def png(samples, bits, colour_type, extra=b""):
    """A PNG with samples of shape (H, W, C), of 8 or 16 bits, written by hand."""

    def chunk(name, data):
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in samples.astype(f">u{bits // 8}"))
    header = struct.pack(">2I5B", width, height, bits, colour_type, 0, 0, 0)
    parts = chunk(b"IHDR", header), extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(samples, byte_order="<"):
    """A TIFF with samples of shape (H, W, C) of 16 bits, written by hand."""
    height, width, channels = samples.shape
    data = samples.astype(f"{byte_order}u2").tobytes()
    bits_at = 8 + 2 + 9 * 12 + 4
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, bits_at if channels > 2 else 16),
        (259, 3, 1, 1),
        (262, 3, 1, 2 if channels == 3 else 1),
        (273, 4, 1, bits_at + 2 * channels),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
    ]
    entries = b"".join(
        struct.pack(
            byte_order + ("HHIHxx" if kind == 3 and count == 1 else "HHII"), tag, kind, count, value
        )
        for tag, kind, count, value in tags
    )
    start = (b"II" if byte_order == "<" else b"MM") + struct.pack(byte_order + "HI", 42, 8)
    bits = struct.pack(byte_order + f"{channels}H", *[16] * channels)
    return start + struct.pack(byte_order + "H", 9) + entries + bytes(4) + bits + data


# What the files hold


@pytest.mark.parametrize("mode", ["L", None])
@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".pgm"])
def test_grey(tmp_path, ending, mode):
    write(tmp_path, GREY, ending)
    images = read_images(tmp_path, mode=mode)
    assert_array_equal(images, GREY)
    assert images.dtype == np.uint8


@pytest.mark.parametrize("mode", ["RGB", None])
@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".ppm", ".webp"])
def test_colour(tmp_path, ending, mode):
    write(tmp_path, COLOUR, ending, **({"lossless": True} if ending == ".webp" else {}))
    images = read_images(tmp_path, mode=mode)
    assert_array_equal(images, COLOUR)
    assert images.dtype == np.uint8


def test_colour_becomes_grey_and_grey_colour(tmp_path):
    write(tmp_path, COLOUR)
    luma = COLOUR @ [0.299, 0.587, 0.114]
    assert np.abs(read_images(tmp_path) - luma).max() <= 0.51
    write(tmp_path, GREY)
    assert_array_equal(read_images(tmp_path, mode="RGB"), np.stack([GREY] * 3, axis=-1))


@pytest.mark.parametrize("mode", ["L", None])
@pytest.mark.parametrize(
    ("ending", "options"),
    [
        (".png", {}),
        (".tif", {}),
        (".tif", {"compression": "tiff_lzw"}),
        (".pgm", {}),
    ],
)
def test_16_bits_are_kept(tmp_path, ending, options, mode):
    write(tmp_path, DEEP, ending, **options)
    images = read_images(tmp_path, mode=mode)
    assert_array_equal(images, DEEP)
    assert images.dtype == np.dtype("uint16")


def test_white_of_a_pnm(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5\n2 1\n4095\n" + struct.pack(">2H", 0, 4095))
    assert read_images(tmp_path).tolist() == [[[0, 65535]]]
    (tmp_path / "a.pgm").write_bytes(b"P5\n2 1\n100\n" + bytes([0, 100]))
    assert read_images(tmp_path).tolist() == [[[0, 255]]]


def test_16_bits_of_the_other_byte_order(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(DEEP[0][..., None], ">"))
    images = read_images(tmp_path)
    assert_array_equal(images[0], DEEP[0])
    assert images.dtype == np.dtype("uint16")


@pytest.mark.parametrize("mode", ["L", None])
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bits_are_kept(tmp_path, dtype, mode):
    pixels = (RNG.normal(size=(2, 6, 7)) * 1e6).astype(dtype)
    write(tmp_path, pixels, ".tif")
    images = read_images(tmp_path, mode=mode)
    assert_array_equal(images, pixels)
    assert images.dtype == dtype


@pytest.mark.parametrize("mode", ["L", "RGB", None])
@pytest.mark.parametrize(
    "content",
    [
        png(RNG.integers(0, 65536, (2, 3, 3)), 16, 2),
        png(RNG.integers(0, 65536, (2, 3, 2)), 16, 4),
        png(RNG.integers(0, 65536, (2, 3, 4)), 16, 6),
        tiff(RNG.integers(0, 65536, (2, 3, 3))),
        b"P6\n1 1\n65535\n\1\2\3\4\5\6",
    ],
    ids=["PNG RGB", "PNG grey and alpha", "PNG RGBA", "TIFF RGB", "PPM"],
)
def test_16_bits_in_each_colour_are_refused(tmp_path, content, mode):
    (tmp_path / "deep.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"deep\.png' cannot be read: it has 16 bits in each"):
        read_images(tmp_path, mode=mode)


def test_deep_grey_does_not_become_colour(tmp_path):
    write(tmp_path, DEEP)
    with pytest.raises(ValueError, match=r'img0\.png.*more than 8 bits.*Use "L"'):
        read_images(tmp_path, mode="RGB")


def test_1_bit(tmp_path):
    bits = GREY > 127
    write(tmp_path, bits)
    images = read_images(tmp_path, mode=None)
    assert_array_equal(images, bits)
    assert images.dtype == bool
    images = read_images(tmp_path)
    assert_array_equal(images, bits * 255)
    assert images.dtype == np.uint8


def test_alpha_is_kept_or_laid_on_white(tmp_path):
    rgba = np.concatenate([COLOUR, GREY[:4, ..., None]], axis=-1)
    write(tmp_path, rgba)
    assert_array_equal(read_images(tmp_path, mode=None), rgba)
    alpha = rgba[..., 3:] / 255
    on_white = COLOUR * alpha + 255 * (1 - alpha)
    assert np.abs(read_images(tmp_path, mode="RGB") - on_white).max() <= 1
    assert np.abs(read_images(tmp_path) - on_white @ [0.299, 0.587, 0.114]).max() <= 1.6


def test_grey_with_alpha(tmp_path):
    grey_alpha = np.stack([GREY[0], GREY[1]], axis=-1)
    (tmp_path / "a.png").write_bytes(png(grey_alpha, 8, 4))
    assert_array_equal(read_images(tmp_path, mode=None)[0], grey_alpha)
    alpha = GREY[1] / 255
    assert np.abs(read_images(tmp_path)[0] - (GREY[0] * alpha + 255 * (1 - alpha))).max() <= 1


def test_one_transparent_value(tmp_path):
    grey = np.array([[10, 20], [30, 40]], dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png", transparency=20)
    assert_array_equal(read_images(tmp_path)[0], [[10, 255], [30, 40]])


def test_palettes(tmp_path):
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)
    indices = RNG.integers(0, 3, (6, 7)).astype(np.uint8)
    for ending in (".png", ".gif", ".tif"):
        image = Image.fromarray(indices)
        image.putpalette(colours.tobytes())
        image.save(tmp_path / f"palette{ending}")
    images = read_images(tmp_path, mode="RGB")
    assert_array_equal(images, [colours[indices]] * 3)
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ValueError, match=rf"{path.name}.*'P' \(P is a palette\).*mode=\"RGB\""):
            read_images(path, mode=None)


def test_transparent_palette(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    image.putpalette(bytes([10, 20, 30, 40, 50, 60]))
    image.save(tmp_path / "a.png", transparency=0)
    assert_array_equal(read_images(tmp_path, mode="RGB")[0], [[[255] * 3, [40, 50, 60]]])


def test_cmyk(tmp_path):
    Image.new("CMYK", (3, 2), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert_array_equal(read_images(tmp_path, mode="RGB")[0], np.full((2, 3, 3), [255, 0, 0]))
    with pytest.raises(ValueError, match=r"a\.tif.*'CMYK'.*mode=\"RGB\""):
        read_images(tmp_path, mode=None)


# Orientation and size

UPRIGHT = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_stand_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    coarse = np.kron([[0, 80, 160], [250, 200, 40]], np.ones((8, 8))).astype(np.uint8)
    Image.fromarray(coarse).save(tmp_path / "a.jpg", exif=exif, quality=100)
    image = read_images(tmp_path)[0].astype(int)
    expected = UPRIGHT[orientation](coarse)
    assert image.shape == expected.shape
    assert np.abs(image - expected).max() <= 2
    Image.fromarray(DEEP[0]).save(tmp_path / "b.png", exif=exif)
    assert_array_equal(read_images(tmp_path / "b.png")[0], UPRIGHT[orientation](DEEP[0]))
    for compression in ("raw", "tiff_lzw"):
        options = {"tiffinfo": {274: orientation}, "compression": compression}
        Image.fromarray(DEEP[0]).save(tmp_path / "c.tif", **options)
        assert_array_equal(read_images(tmp_path / "c.tif")[0], UPRIGHT[orientation](DEEP[0]))


@pytest.mark.parametrize("images", [GREY[:2], COLOUR[:2], DEEP[:2]], ids=["8", "RGB", "16"])
def test_size_is_height_and_width(tmp_path, images):
    write(tmp_path, images.repeat(4, axis=1).repeat(3, axis=2), ".png")
    resized = read_images(tmp_path, mode=None, size=(12, 14))
    assert resized.shape == (2, 12, 14, *images.shape[3:])
    assert resized.dtype == images.dtype
    assert resized.min() >= images.min()
    assert resized.max() <= images.max()
    means = resized.mean((1, 2)), images.mean((1, 2))
    assert np.abs(np.subtract(*means)).max() < 0.05 * np.iinfo(images.dtype).max


def test_resizing_keeps_all_16_bits(tmp_path):
    write(tmp_path, np.full((1, 8, 9), 40_001, np.uint16))
    assert_array_equal(read_images(tmp_path, size=(3, 20)), np.full((1, 3, 20), 40_001))


def test_size_makes_shapes_agree(tmp_path):
    for i, shape in enumerate([(6, 7), (9, 4)]):
        Image.fromarray(np.full(shape, 10 * i, np.uint8)).save(tmp_path / f"{i}.png")
    assert_array_equal(read_images(tmp_path, size=(5, 5)), np.repeat([0, 10], 25).reshape(2, 5, 5))


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


def test_nothing_found(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(
        FileNotFoundError, match=rf"{tmp_path.name}.*holds no files that end in .*\.png"
    ):
        read_images(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nowhere/\*\.png"):
        read_images("nowhere/*.png")
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        read_images([tmp_path / "gone.png"])
    (tmp_path / "link.png").symlink_to("gone.png")
    with pytest.raises(FileNotFoundError, match=r"link\.png"):
        read_images(tmp_path)
    with pytest.raises(ValueError, match="paths is empty"):
        read_images([])


# Files that cannot be read


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".webp", ".gif", ".bmp"])
@pytest.mark.parametrize("share", [0, 0.1, 0.6, 0.9])
def test_truncated_files_are_named(tmp_path, ending, share):
    paths = write(tmp_path, [RNG.integers(0, 256, (40, 50), dtype=np.uint8)] * 2, ending)
    content = paths[1].read_bytes()
    paths[1].write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=rf"img1\{ending}' cannot be read"):
        read_images(tmp_path)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".webp", ".gif", ".bmp", ".pgm"])
def test_damaged_files_raise_value_errors_only(tmp_path, ending):
    path = write(tmp_path, [RNG.integers(0, 256, (16, 16), dtype=np.uint8)], ending)[0]
    content, rng, n_refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(200):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert read_images(path, mode=None).dtype.kind in "bufi"
        except ValueError as error:
            n_refused += "img0" in str(error)
    assert n_refused > 0


def test_a_text_named_png(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"a\.png' cannot be read: it is damaged, or no picture"):
        read_images(tmp_path)


def test_formats_that_run_programs_are_not_opened(tmp_path):
    eps = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n%%EndComments\nshowpage\n"
    (tmp_path / "a.png").write_text(eps)
    with pytest.raises(ValueError, match=r"a\.png' cannot be read: it is damaged, or no picture"):
        read_images(tmp_path)


@pytest.mark.parametrize("factor", [1.5, 3])  # Pillow warns of the first and refuses the second
def test_bombs_are_refused(tmp_path, factor):
    limit = Image.MAX_IMAGE_PIXELS
    side = int((factor * limit) ** 0.5)
    content = png(GREY[0][..., None], 8, 0)
    header = b"IHDR" + struct.pack(">2I", side, side) + content[24:29]
    bomb = content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(ValueError, match=r"bomb\.png' cannot be read: Image size .* exceeds limit"):
        read_images(tmp_path)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("ending", [".gif", ".tif", ".webp", ".png"])
def test_several_pictures_in_a_file_are_refused(tmp_path, ending):
    first, *others = (Image.fromarray(image) for image in GREY)
    first.save(tmp_path / f"a{ending}", save_all=True, append_images=others)
    with pytest.raises(
        ValueError, match=rf"a\{ending}' cannot be read: it holds 5 pictures.*tifffile"
    ):
        read_images(tmp_path)


def test_the_first_picture_of_a_phone(tmp_path):
    first, second = (Image.new("L", (8, 8), value) for value in (60, 200))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    assert_array_equal(read_images(tmp_path), np.full((1, 8, 8), 60))


def test_other_shapes_and_dtypes_are_named(tmp_path):
    first = write(tmp_path, GREY)[0]
    Image.fromarray(GREY[0].T).save(tmp_path / "img4.png")
    with pytest.raises(ValueError, match=r"img4\.png.*\(7, 6\).*img0\.png.*\(6, 7\)"):
        read_images(tmp_path)
    Image.fromarray(COLOUR[0]).save(tmp_path / "img4.png")
    with pytest.raises(ValueError, match=r"img4\.png.*\(6, 7, 3\).*img0\.png.*\(6, 7\)"):
        read_images(tmp_path, mode=None)
    Image.fromarray(DEEP[0]).save(tmp_path / "img4.png")
    with pytest.raises(ValueError, match=r"img4\.png.*uint16.*img0\.png.*uint8"):
        read_images([first, tmp_path / "img4.png"])


@pytest.mark.parametrize("mode", ["rgb", "1", 3, ["L"]])
def test_wrong_modes(tmp_path, mode):
    with pytest.raises(ValueError, match='mode must be "L", "RGB" or None'):
        read_images(tmp_path, mode=mode)


@pytest.mark.parametrize("size", [8, (8,), (8, 0), (8, 8.0), (8, 8, 3), "88"])
def test_wrong_sizes(tmp_path, size):
    with pytest.raises(ValueError, match=r"size must be \(H, W\)"):
        read_images(tmp_path, size=size)


def test_a_want_of_memory_is_not_the_fault_of_the_file(tmp_path):
    paths = write(tmp_path, GREY)
    with pytest.raises(MemoryError):
        read_images(paths, size=(2**30, 2**30))


def test_a_folder_among_files(tmp_path):
    with pytest.raises(ValueError, match=rf"{tmp_path.name}' cannot be read: .*directory"):
        read_images([tmp_path])


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
    paths, read = write(tmp_path, GREY), _read_images._read
    before = sorted(os.listdir(tmp_path))

    def interrupted(path, *args):
        if path == str(paths[3]):
            raise KeyboardInterrupt
        return read(path, *args)

    monkeypatch.setattr(_read_images, "_read", interrupted)
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
    with pytest.raises(IsADirectoryError, match="out must be a file"):
        read_images(paths, out=tmp_path)
    with pytest.raises(FileNotFoundError):
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
