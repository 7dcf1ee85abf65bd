"""The pixels of a file are those that it holds, or the error names what it holds."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from pictures import COLOUR, DEEP, GREY, RNG, png, tiff, write
from PIL import Image, UnidentifiedImageError

from skvae import read_images

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
    assert np.abs(read_images(tmp_path, mode="L") - luma).max() <= 0.51
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


# Integers with and without a sign, and of which 0 is white


@pytest.mark.parametrize("mode", ["L", None])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
def test_signs_are_kept(tmp_path, dtype, byte_order, mode):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    pixels = np.array([[low, -4, 0], [3, high - 1, high]], dtype)
    (tmp_path / "a.tif").write_bytes(tiff(pixels[..., None], byte_order))
    images = read_images(tmp_path, mode=mode)
    assert_array_equal(images[0], pixels)
    assert images.dtype == np.int32


def test_resizing_keeps_signs(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(np.full((4, 4, 1), -4, np.int8)))
    assert_array_equal(read_images(tmp_path, size=(2, 3)), np.full((1, 2, 3), -4))


def test_32_bits_without_a_sign(tmp_path):
    pixels = np.array([[0, 70_000, 2**31 - 1]], np.uint32)
    (tmp_path / "a.tif").write_bytes(tiff(pixels[..., None]))
    images = read_images(tmp_path)
    assert_array_equal(images[0], pixels)
    assert images.dtype == np.int32
    pixels[0, 1] = 3_000_000_000
    (tmp_path / "a.tif").write_bytes(tiff(pixels[..., None]))
    with pytest.raises(ValueError, match=r"a\.tif' cannot be read: .* 32 bits above 2,147,483,647"):
        read_images(tmp_path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_where_0_is_white(tmp_path, dtype):
    white = np.iinfo(dtype).max
    pixels = np.array([[0, 1, white], [7, white // 2, white - 1]], dtype)
    (tmp_path / "a.tif").write_bytes(tiff(pixels[..., None], photometric=0))
    images = read_images(tmp_path)
    assert_array_equal(images[0], white - pixels.astype(int))
    assert images.dtype == dtype
    flat = np.full((4, 4, 1), 1, dtype)
    (tmp_path / "a.tif").write_bytes(tiff(flat, photometric=0))
    assert_array_equal(read_images(tmp_path, size=(2, 3)), np.full((1, 2, 3), white - 1))


def test_floats_of_which_0_is_white_are_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(np.ones((2, 3, 1), np.float32), photometric=0))
    with pytest.raises(ValueError, match=r"a\.tif' cannot be read: it has 32 bits, of which 0 is"):
        read_images(tmp_path)


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize(
    ("dtype", "channels"),
    [(np.float16, 1), (np.float64, 1), (np.uint64, 1), (np.float32, 3), (np.int16, 2)],
)
def test_what_pillow_does_not_know_is_named(tmp_path, dtype, channels, byte_order):
    (tmp_path / "a.tif").write_bytes(tiff(np.ones((2, 3, channels), dtype), byte_order))
    kind = f"{np.dtype(dtype)} with {channels} channel{'s' if channels > 1 else ''}"
    with pytest.raises(ValueError, match=rf"a\.tif' cannot be read: it is a TIFF of {kind}, which"):
        read_images(tmp_path)


def test_a_channel_beside_the_colours_is_not_dropped_unasked(tmp_path):
    four = np.concatenate([COLOUR[0], GREY[0][..., None]], axis=-1)
    (tmp_path / "a.tif").write_bytes(tiff(four, photometric=2, extra=[0]))
    with pytest.raises(ValueError, match=r"a\.tif' cannot be read: it has 4 channels"):
        read_images(tmp_path)
    assert_array_equal(read_images(tmp_path, mode="RGB"), COLOUR[:1])


@pytest.mark.parametrize("mode", ["L", "RGB", None])
@pytest.mark.parametrize(
    "content",
    [
        png(RNG.integers(0, 65536, (2, 3, 3)), 16, 2),
        png(RNG.integers(0, 65536, (2, 3, 2)), 16, 4),
        png(RNG.integers(0, 65536, (2, 3, 4)), 16, 6),
        tiff(RNG.integers(0, 65536, (2, 3, 3), dtype=np.uint16)),
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
    images = read_images(tmp_path, mode="L")
    assert_array_equal(images, bits * 255)
    assert images.dtype == np.uint8


def test_alpha_is_kept_or_laid_on_white(tmp_path):
    rgba = np.concatenate([COLOUR, GREY[:4, ..., None]], axis=-1)
    write(tmp_path, rgba)
    assert_array_equal(read_images(tmp_path, mode=None), rgba)
    alpha = rgba[..., 3:] / 255
    on_white = COLOUR * alpha + 255 * (1 - alpha)
    assert np.abs(read_images(tmp_path, mode="RGB") - on_white).max() <= 1
    assert np.abs(read_images(tmp_path, mode="L") - on_white @ [0.299, 0.587, 0.114]).max() <= 1.6


def test_grey_with_alpha(tmp_path):
    grey_alpha = np.stack([GREY[0], GREY[1]], axis=-1)
    (tmp_path / "a.png").write_bytes(png(grey_alpha, 8, 4))
    assert_array_equal(read_images(tmp_path, mode=None)[0], grey_alpha)
    alpha = GREY[1] / 255
    grey = read_images(tmp_path, mode="L")[0]
    assert np.abs(grey - (GREY[0] * alpha + 255 * (1 - alpha))).max() <= 1


def test_grey_that_was_multiplied_by_its_alpha(tmp_path):
    pixels = np.array([[[50, 100], [0, 0], [255, 255]]], np.uint8)
    (tmp_path / "a.tif").write_bytes(tiff(pixels, photometric=1, extra=[1]))
    try:
        Image.open(tmp_path / "a.tif").close()
    except UnidentifiedImageError:  # as Pillow 11.0 has it
        with pytest.raises(ValueError, match="2 channels, which Pillow does not know"):
            read_images(tmp_path)
        return
    grey_alpha = read_images(tmp_path)[0]
    assert_array_equal(grey_alpha[..., 1], pixels[..., 1])
    assert np.abs(grey_alpha[0, [0, 2], 0] - np.array([127.5, 255])).max() <= 0.5
    on_white = read_images(tmp_path, mode="L")[0, 0]
    assert np.abs(on_white - np.array([50 + 155, 255, 255])).max() <= 1


def test_one_transparent_value(tmp_path):
    grey = np.array([[10, 20], [30, 40]], dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png", transparency=20)
    assert_array_equal(read_images(tmp_path, mode="L")[0], [[10, 255], [30, 40]])
    alpha = np.array([[255, 0], [255, 255]])
    assert_array_equal(read_images(tmp_path)[0], np.stack([grey, alpha], axis=-1))
    Image.fromarray(COLOUR[0]).save(
        tmp_path / "a.png", transparency=tuple(COLOUR[0, 2, 3].tolist())
    )
    alpha = np.where((COLOUR[0] == COLOUR[0, 2, 3]).all(-1), 0, 255)[..., None]
    assert_array_equal(read_images(tmp_path)[0], np.concatenate([COLOUR[0], alpha], axis=-1))


@pytest.mark.parametrize("mode", ["L", None])
def test_a_transparent_value_of_16_bits_is_refused(tmp_path, mode):
    transparent = struct.pack(">I", 2) + b"tRNS" + struct.pack(">H", 7)
    transparent += struct.pack(">I", zlib.crc32(transparent[4:]))
    (tmp_path / "a.png").write_bytes(png(DEEP[0][..., None], 16, 0, transparent))
    with pytest.raises(ValueError, match=r"a\.png' cannot be read: one of its values is transp"):
        read_images(tmp_path, mode=mode)


def test_palettes(tmp_path):
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)
    indices = RNG.integers(0, 3, (6, 7)).astype(np.uint8)
    for ending in (".png", ".gif", ".tif"):
        image = Image.fromarray(indices)
        image.putpalette(colours.tobytes())
        image.save(tmp_path / f"palette{ending}")
    for mode in ("RGB", None):
        assert_array_equal(read_images(tmp_path, mode=mode), [colours[indices]] * 3)


def test_transparent_palette(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    image.putpalette(bytes([10, 20, 30, 40, 50, 60]))
    image.save(tmp_path / "a.png", transparency=0)
    assert_array_equal(read_images(tmp_path, mode="RGB")[0], [[[255] * 3, [40, 50, 60]]])
    assert_array_equal(read_images(tmp_path)[0], [[[10, 20, 30, 0], [40, 50, 60, 255]]])
    Image.fromarray(np.array([[[1, 2, 3, 4], [5, 6, 7, 8]]], np.uint8)).save(tmp_path / "b.png")
    assert read_images(tmp_path).shape == (2, 1, 2, 4)


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
    with pytest.raises(ValueError, match=r"a\.png' cannot be read: it is damaged, or no image"):
        read_images(tmp_path)


def test_formats_that_run_programs_are_not_opened(tmp_path):
    eps = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n%%EndComments\nshowpage\n"
    (tmp_path / "a.png").write_text(eps)
    with pytest.raises(ValueError, match=r"a\.png' cannot be read: it is damaged, or no image"):
        read_images(tmp_path)


def bomb(factor):
    """A PNG that says it has so many times as many pixels as Pillow allows."""
    side = int((factor * Image.MAX_IMAGE_PIXELS) ** 0.5)
    content = png(GREY[0][..., None], 8, 0)
    header = b"IHDR" + struct.pack(">2I", side, side) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


@pytest.mark.parametrize("factor", [1.5, 3])
def test_bombs_are_refused(tmp_path, factor):
    (tmp_path / "bomb.png").write_bytes(bomb(factor))
    with pytest.raises(ValueError, match=r"bomb\.png' cannot be read: Image size .* exceeds limit"):
        read_images(tmp_path)


def test_bombs_are_refused_where_warnings_are_no_errors(tmp_path):
    (tmp_path / "bomb.png").write_bytes(bomb(1.5))  # of which Pillow only warns
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(ValueError, match=r"bomb\.png' cannot be read: .*MAX_IMAGE_PIXELS"),
    ):
        read_images(tmp_path)


def test_reading_changes_no_global_state(tmp_path):
    # Pillow asks the file for bytes while it reads: what other threads would see.
    class File(io.BytesIO):
        def read(self, *args):
            states.append((list(warnings.filters), warnings.showwarning, Image.MAX_IMAGE_PIXELS))
            return super().read(*args)

    before = (list(warnings.filters), warnings.showwarning, Image.MAX_IMAGE_PIXELS)
    states = []
    path = write(tmp_path, GREY[:1])[0]
    assert_array_equal(read_images(File(path.read_bytes())), GREY[:1])
    assert states
    assert all(state == before for state in states)


@pytest.mark.parametrize("ending", [".gif", ".tif", ".webp", ".png"])
def test_several_pictures_in_a_file_are_refused(tmp_path, ending):
    first, *others = (Image.fromarray(image) for image in GREY)
    first.save(tmp_path / f"a{ending}", save_all=True, append_images=others)
    with pytest.raises(
        ValueError, match=rf"a\{ending}' cannot be read: it holds 5 images.*tifffile"
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
