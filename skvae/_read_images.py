"""`skvae.read_images`: files of pictures -> one array (NumPy; Pillow inside functions)."""

import glob
import itertools
import os
import re
import warnings
from numbers import Integral

import numpy as np
from tqdm.auto import tqdm

from ._atomic import replacing

# Of a folder, the files with these endings are read.
EXTENSIONS = (
    ".bmp",
    ".gif",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)
# Not all formats of Pillow: for an EPS it starts another program, whatever the name of the file.
# JPEG 2000 is not among them, because nothing tells its colours of 16 bits from those of 8.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Modes of Pillow whose numbers an array holds as they are: grey, or colour, with or without alpha.
GREY, COLOUR, DEEP = ("1", "L", "LA"), ("RGB", "RGBA"), ("I;16", "I;16L", "I;16B", "I", "F")
BITS_PER_SAMPLE = 258  # a tag of TIFF


def read_images(paths, *, mode="L", size=None, out=None, verbose=0):
    """Read files of pictures into one array, which `fit` takes.

    Files may be BMP, GIF, JPEG, PNG, PNM, TIFF or WebP. What is in a file counts, not its name.
    Pictures are turned upright as their EXIF orientation says. They are not resized unless
    `size` is given.

    Parameters
    ----------
    paths : str, path-like, or iterable of these
        - A folder: its files with the endings .bmp, .gif, .jpeg, .jpg, .pbm, .pgm, .png, .pnm,
          .ppm, .tif, .tiff and .webp, in upper or lower case. Hidden files and sub-folders are
          left out.
        - A pattern of :mod:`glob`, such as ``"faces/**/*.png"``: all files that match.
        - One file.
        - An iterable of files, which keep their order.

        Files of a folder or a pattern come in natural order: ``img2.png`` before ``img10.png``.

    mode : {"L", "RGB"} or None, default="L"
        - "L": grey. Files of 16 bits keep them, and files of 32 bits too. All others become 8
          bits, and 1 bit becomes 0 and 255. Colours become 0.299 R + 0.587 G + 0.114 B.
        - "RGB": colours of 8 bits. Grey of more than 8 bits is refused.
        - None: what the files hold. All files must agree. Palettes, CMYK and other colours than
          RGB are refused.

        With a mode, transparent pictures are laid on white.

    size : tuple of int, default=None
        ``(H, W)``, to which each picture is resized, by interpolation that is linear and averages
        when it shrinks, so that no value leaves the range of the picture. Pixels of 1 bit take
        the nearest. The proportions are not kept. None: no resizing.

    out : str or path-like, default=None
        A ``.npy`` file to write, so that the pictures need not fit into memory. It is written
        beside `out` and then moved into place, so a failure leaves an old file intact. None: the
        result is in memory.

    verbose : int, default=0
        0: silent. 1: a progress bar over the files.

    Returns
    -------
    images : ndarray of shape (n, H, W) or (n, H, W, C)
        Grey, or with C channels: 3 for RGB, 4 for RGB and alpha, 2 for grey and alpha. The dtype
        is uint8, bool for 1 bit, uint16 for 16 bits, int32 or float32 for 32 bits and for signed
        numbers. With `out`, a read-only memory map of the file.

    Raises
    ------
    ValueError
        If a file is no picture, is damaged or truncated, holds several pictures (an animation, a
        TIFF of many pages), has 16 bits in each colour, which Pillow cannot keep, has more than
        ``PIL.Image.MAX_IMAGE_PIXELS`` pixels, or differs from the first one in shape or dtype. The
        message names the file. Also if `paths` is an empty iterable, or if a parameter is wrong.

    FileNotFoundError
        If there is no such file, or if a folder has no pictures, or if nothing matches a pattern.

    OSError
        If `out` cannot be written.

    Notes
    -----
    Labels that stand in names go with an iterable::

        paths = sorted(Path("flowers").glob("*/*.jpg"))  # flowers/rose/1.jpg
        images = read_images(paths, mode="RGB", size=(64, 64))
        labels = [path.parent.name for path in paths]

    Of pictures that a phone stores together in one JPEG, the first is read. The values of a PNM
    are scaled so that white is 255 or 65,535. Colour profiles are not applied.

    TIFF stacks, 16 bits in each colour and more than four channels are for tifffile. It gives
    arrays that `fit` takes as they are, and so does zarr::

        images = tifffile.imread("stack.tif")  # (pages, H, W)
        images = np.stack([tifffile.imread(path) for path in paths])
        images = tifffile.memmap("stack.tif", mode="r")  # not compressed: needs no memory
        images = zarr.open("plates.zarr", mode="r")["images"][:]

    Channels that come first, as (n, C, H, W), need ``ConvVAETransformer(channel_axis=0)``.

    Examples
    --------
    >>> import os, tempfile
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from skvae import read_images
    >>> pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 20, 3), dtype=np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for i in range(12):
    ...         plt.imsave(os.path.join(folder, f"img{i}.png"), pixels[i])
    ...     images = read_images(folder, mode="RGB")
    >>> images.shape, images.dtype
    ((12, 16, 20, 3), dtype('uint8'))
    >>> bool((images == pixels).all())
    True
    """
    if mode not in ("L", "RGB", None):
        raise ValueError(f'mode must be "L", "RGB" or None. Got {mode!r}.')
    if size is not None and not _is_size(size):
        raise ValueError(f"size must be (H, W), two whole numbers above 0. Got {size!r}.")
    paths = _listed(paths)
    bar = tqdm(paths, desc="read_images", unit="file", disable=not verbose)
    images = _of_one_shape(paths[0], ((path, _read(path, mode, size)) for path in bar))
    first = next(images)
    shape = (len(paths), *first.shape)
    images = itertools.chain([first], images)
    if out is not None:
        return _write(os.fsdecode(out), images, shape, first.dtype)
    result = np.empty(shape, first.dtype)
    for i, image in enumerate(images):
        result[i] = image
    return result


def _is_size(size):
    whole = isinstance(size, (tuple, list)) and all(isinstance(n, Integral) for n in size)
    return whole and len(size) == 2 and min(size) > 0


def _listed(paths):
    """The files that `paths` stands for, as a list of str."""
    if not isinstance(paths, (str, bytes, os.PathLike)):
        files = [os.fsdecode(path) for path in paths]
        if not files:
            raise ValueError("paths is empty. It must name at least one file.")
        return files
    path = os.fsdecode(paths)
    if os.path.isdir(path):
        with os.scandir(path) as entries:
            files = [
                entry.path
                for entry in entries
                if entry.name.lower().endswith(EXTENSIONS)
                and not entry.name.startswith(".")
                and not entry.is_dir()
            ]
        if not files:
            raise FileNotFoundError(
                f"The folder {path!r} holds no files that end in {', '.join(EXTENSIONS)}. For "
                "those in its sub-folders, give a pattern such as 'folder/*/*.png'."
            )
    elif os.path.exists(path):
        files = [path]
    else:
        files = [file for file in glob.glob(path, recursive=True) if not os.path.isdir(file)]
        if not files:
            raise FileNotFoundError(f"There is no file or folder {path!r}, and none matches it.")
    return sorted(sorted(files), key=_natural_key)


def _natural_key(path):
    """A text whose alphabetical order is the natural order of the paths."""
    # Each number is led by its length, and folders end before all other characters.
    numbered = re.sub("0*([0-9]+)", lambda number: f"{len(number[1]):04}{number[1]}", path)
    return numbered.replace(os.sep, "\0")


def _of_one_shape(first, pictures):
    """The images of pairs of a path and an image; an error where one differs from the first."""
    wanted = None
    for path, image in pictures:
        wanted = wanted or (image.shape, image.dtype)
        if (image.shape, image.dtype) != wanted:
            raise ValueError(
                f"{path!r} has the shape {image.shape} and the dtype {image.dtype}, but the first "
                f"file, {first!r}, has {wanted[0]} and {wanted[1]}. All must agree: crop them, "
                "or give size=(H, W) and a mode."
            )
        yield image


def _read(path, mode, size):
    """The pixels of one file, an array of shape (H, W) or (H, W, C)."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Not by name: Pillow then maps a TIFF into memory, and turns those that lie on a side
            # wrongly.
            with open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
                return _pixels(image, mode, size)
    except (FileNotFoundError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{path!r} cannot be read: it is damaged, or no picture of a format that read_images "
            f"knows ({', '.join(FORMATS)})."
        ) from error
    except Exception as error:  # of many kinds, from the decoders of Pillow
        raise ValueError(f"{path!r} cannot be read: {str(error) or repr(error)}") from error


def _pixels(image, mode, size):
    """The pixels of a picture of Pillow, upright, as `mode` and `size` ask."""
    from PIL import Image, ImageOps

    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise ValueError(
            f"it holds {image.n_frames} pictures, and read_images takes one from each file. "
            "tifffile reads stacks; see the notes of help(read_images)."
        )
    deep = image.mode in DEEP
    # Grey of 16 bits and without a sign, which some formats hand over as 32 bits.
    short = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if not deep and _has_16_bits(image):
        raise ValueError(
            "it has 16 bits in each colour, of which Pillow would drop 8. tifffile or imageio "
            "keep them: np.stack([imageio.v3.imread(path) for path in paths])."
        )
    if deep and mode == "RGB":
        raise ValueError('it is grey of more than 8 bits, which mode="RGB" would drop. Use "L".')
    if mode is None and image.mode not in GREY + COLOUR + DEEP:
        raise ValueError(
            f"its colours are stored as {image.mode!r} (P is a palette). Say what they shall "
            'become: mode="RGB" or mode="L".'
        )
    image = ImageOps.exif_transpose(image)
    if mode is not None and not deep:
        if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert(mode)
    if size is not None and short:  # as float32, which holds 16 bits exactly
        image = Image.fromarray(np.asarray(image).astype(np.float32))
    if size is not None:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    if short:
        return np.rint(pixels).astype(np.uint16)
    return pixels


def _has_16_bits(image):
    """Whether the file has samples of more than 8 bits, although the mode of Pillow has 8."""
    if image.format == "TIFF":
        return np.max(image.tag_v2.get(BITS_PER_SAMPLE, 1)) > 8
    if image.format == "PNG":
        return str(image.tile[0][3]).endswith(";16B")
    if image.format == "PPM" and image.tile[0][0].startswith("ppm"):
        return image.tile[0][3][-1] > 255  # the value of white
    return False


def _write(path, images, shape, dtype):
    """Write images to a .npy file, one after the other; a memory map of it."""
    if os.path.isdir(path):
        raise IsADirectoryError(f"out must be a file, but {path!r} is a folder.")
    descr = np.lib.format.dtype_to_descr(dtype)
    # Not through a memory map: on a full disk, that would kill the process.
    with replacing(path) as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": descr, "fortran_order": False, "shape": shape}
        )
        for image in images:
            file.write(image.tobytes())
    return np.load(path, mmap_mode="r")
