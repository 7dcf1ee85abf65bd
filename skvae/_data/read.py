"""`skvae.read_images`: files of images -> one array (NumPy)."""

import glob
import itertools
import os
import re
from collections.abc import Iterable
from numbers import Integral

import numpy as np
from tqdm.auto import tqdm

from .._atomic import replacing
from .image_files import read_pixels
from .misreadings import is_path

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


def read_images(
    paths, *, mode=None, size=None, labels=False, on_error="raise", out=None, verbose=0
):
    """Read image files into one array, for `fit`.

    Files may be BMP, GIF, JPEG, PNG, PNM, TIFF or WebP, whatever their names.
    Images are turned upright as their EXIF orientation says. They are not resized unless
    `size` is given.

    Parameters
    ----------
    paths : str, path-like, binary file, or iterable of these
        - A folder: its files with the endings .bmp, .gif, .jpeg, .jpg, .pbm, .pgm, .png, .pnm,
          .ppm, .tif, .tiff and .webp, in upper or lower case. Hidden files and sub-folders are
          left out.
        - A pattern of :mod:`glob`, such as ``"faces/**/*.png"``: all files that match. The endings
          match in upper and lower case. Brackets in the name of a folder that exists are part of
          its name.
        - One file: a path, or a file that is open for reading bytes, such as a
          ``io.BytesIO``.
        - An iterable of files, which keep their order.

        A leading ``~`` is the home folder. Files of a folder or a pattern come in natural order:
        ``img2.png`` before ``img10.png``.

    mode : {"L", "RGB"} or None, default=None
        - None: as the files are. All files must agree. Palettes become RGB. One transparent
          colour becomes an alpha channel. CMYK and other colours than RGB are an error.
        - "L": grey. Files of 16 bits keep them, and files of 32 bits too. All others become 8
          bits, and 1 bit becomes 0 and 255. Colours become 0.299 R + 0.587 G + 0.114 B.
        - "RGB": colours of 8 bits. Grey of more than 8 bits is an error.

        With "L" and "RGB", transparent images are put on white.

    size : tuple of int, default=None
        ``(H, W)``, to which each image is resized. Interpolation is linear, with an average over
        pixels if the image shrinks, so that no value leaves the range of the image. Pixels of 1 bit
        take the value of the nearest pixel. The proportions are not kept. None: no resizing.

    labels : bool, default=False
        Whether to return the class of each image as well: the name of the folder in which its
        file lies. If `paths` is a folder, the images are then those of its sub-folders, as in
        ``drawings/arrow/1.png``. Hidden sub-folders are left out.

    on_error : {"raise", "skip"}, default="raise"
        What to do with a file that cannot be read. "raise": raise the error. "skip": leave the file
        out, and also return which files were left out. Images of different shapes or dtypes are an
        error in any case, because nothing says which of them are wrong.

    out : str or path-like, default=None
        A ``.npy`` file to write, so that the images need not fit into memory. It is written
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

    y : ndarray of str of shape (n,)
        The class of each image. Only with `labels`.

    skipped : dict
        Why each file that was left out cannot be read. Its keys are the paths, or the elements of
        `paths` if that is an iterable. Only with ``on_error="skip"``.

    Raises
    ------
    ValueError
        If a file is no image, is damaged or truncated, holds several images (an animation, a
        TIFF of many pages), has more than ``PIL.Image.MAX_IMAGE_PIXELS`` pixels, or differs from
        the first one in shape or dtype. If Pillow cannot keep its values: 16 bits in each colour,
        64 bits, floats of 16 bits, more channels than RGB and alpha. The message names the file.
        Also if `paths` is an empty iterable, if no file can be read, or if a parameter is wrong.

    FileNotFoundError
        If there is no such file, if a folder has no images, or if nothing matches a pattern.

    TypeError
        If `paths` holds anything but paths and binary files.

    OSError
        If `out` cannot be written.

    Notes
    -----
    If the labels are in a table, read the files in the order of the table::

        table = pandas.read_csv("drawings.csv")
        images = read_images(table["file"], size=(64, 64))
        y = table["kind"]

    With ``on_error="skip"``, leave out the labels of the skipped files::

        images, skipped = read_images(table["file"], size=(64, 64), on_error="skip")
        y = table["kind"][~table["file"].isin(list(skipped))]

    If a JPEG of a phone holds several images, the first is read. The values of a PNM are scaled so
    that white is 255 or 65,535. If a TIFF says that 0 is white, the values are inverted, so that 0
    is black. Colour profiles are not applied.

    For TIFF stacks, 16 bits in each colour, 64 bits or more than four channels, use tifffile. `fit`
    takes its arrays. An array of zarr must be read with ``[:]`` first::

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
    if on_error not in ("raise", "skip"):
        raise ValueError(f'on_error must be "raise" or "skip". Got {on_error!r}.')
    files, skipped = _listed(paths, labels), {}
    bar = tqdm(files, desc="read_images", unit="file", disable=not verbose)
    images = _read_each(bar, mode, size, skipped if on_error == "skip" else None)
    first = next(images, None)
    if first is None:
        reason = next(iter(skipped.values()))
        raise ValueError(f"None of the {len(files)} files can be read. The first: {reason}")
    images = itertools.chain([first], images)
    shape = (len(files), *first.shape)  # fewer, if files are skipped
    if out is None:
        images = _stacked(images, shape, first.dtype)
    else:
        images = _write(_path(out), images, shape, first.dtype)
    others = []
    if labels:
        others.append(np.array([_class_of(file) for file in files if file not in skipped]))
    if on_error == "skip":
        others.append(skipped)
    return (images, *others) if others else images


def _is_size(size):
    whole = isinstance(size, (tuple, list)) and all(isinstance(n, Integral) for n in size)
    return whole and len(size) == 2 and min(size) > 0


def _path(file):
    """A path as a str, whose ``~`` is the home folder."""
    return os.path.expanduser(os.fsdecode(file))


def _name(file, i):
    """A file as messages call it: its path, or its place among the files."""
    return repr(os.fsdecode(file)) if is_path(file) else f"file {i} ({type(file).__name__})"


def _class_of(file):
    """The name of the folder in which a file lies."""
    return os.path.basename(os.path.dirname(os.path.abspath(_path(file))))


def _listed(paths, labels):
    """The files that `paths` stands for: a list of str, or of the elements of `paths`."""
    if is_path(paths):
        path = _path(paths)
        if os.path.isdir(path):
            files = _of_classes(path) if labels else _of_folder(path)
        else:
            files = [path] if os.path.exists(path) else _matching(path)
        return sorted(sorted(files), key=_natural_key)
    if not hasattr(paths, "read") and not isinstance(paths, Iterable):
        raise TypeError(f"paths must be a path, or several. Got a {type(paths).__name__}.")
    files = [paths] if hasattr(paths, "read") else list(paths)
    if not files:
        raise ValueError("paths is empty. It must name at least one file.")
    for i, file in enumerate(files):
        if not (is_path(file) or (hasattr(file, "read") and not labels)):
            needed = "paths, whose folders are the labels" if labels else "paths or binary files"
            raise TypeError(f"paths must hold {needed}. Got a {type(file).__name__} at place {i}.")
    return files


def _of_folder(folder):
    """The images in a folder."""
    with os.scandir(folder) as entries:
        files = [
            entry.path
            for entry in entries
            if entry.name.lower().endswith(EXTENSIONS)
            and not entry.name.startswith(".")
            and not entry.is_dir()
        ]
    if not files:
        raise FileNotFoundError(
            f"The folder {folder!r} holds no files that end in {', '.join(EXTENSIONS)}. For those "
            "in its sub-folders, give a pattern such as 'folder/*/*.png', or labels=True if the "
            "sub-folders are classes."
        )
    return files


def _of_classes(folder):
    """The images in the sub-folders of a folder."""
    with os.scandir(folder) as entries:
        classes = [e.path for e in entries if e.is_dir() and not e.name.startswith(".")]
    if not classes:
        raise FileNotFoundError(
            f"The folder {folder!r} has no sub-folders, which are the classes with labels=True."
        )
    return [file for path in sorted(classes) for file in _of_folder(path)]


def _matching(pattern):
    """The files that match a pattern of glob. Folders that exist are no patterns."""
    folder = pattern
    while folder and not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    rest = os.path.relpath(pattern, folder or os.curdir)
    if glob.has_magic(rest) and rest.lower().endswith(EXTENSIONS):
        stem, ending = os.path.splitext(rest)
        rest = stem + "." + "".join(f"[{c.lower()}{c.upper()}]" for c in ending[1:])
    matches = glob.glob(os.path.join(glob.escape(folder), rest), recursive=True)
    files = [path for path in matches if not os.path.isdir(path)]
    if matches and not files:
        raise FileNotFoundError(f"Only folders match {pattern!r}. Their files are in '.../*'.")
    if not files:
        first = rest.split(os.sep)[0]
        missing = f", and no {os.path.join(folder, first)!r}"
        reason = "" if glob.has_magic(first) or first == rest else missing
        raise FileNotFoundError(f"There is no file or folder {pattern!r}{reason}.")
    return files


def _natural_key(path):
    """A text whose alphabetical order is the natural order of the paths."""
    # Each number is led by its length, and folders end before all other characters.
    numbered = re.sub("0*([0-9]+)", lambda number: f"{len(number[1]):04}{number[1]}", path)
    return numbered.replace(os.sep, "\0")


def _read_each(files, mode, size, skipped):
    """The image of each file; what cannot be read goes to `skipped`, if not None.

    An error where one differs from the first.
    """
    first = None
    for i, file in enumerate(files):
        name, source = _name(file, i), _path(file) if is_path(file) else file
        try:
            image = read_pixels(source, name, mode, size)
        except (ValueError, FileNotFoundError) as error:
            if skipped is None:
                raise
            skipped[file] = str(error)
            continue
        first = first or (name, image.shape, image.dtype)
        if (image.shape, image.dtype) != first[1:]:
            same_sides = image.shape[:2] == first[1][:2]
            if image.shape == first[1]:
                advice = "read those of each dtype apart, and bring their values to one scale"
            elif same_sides:
                advice = 'give mode="RGB" or mode="L"'
            else:
                advice = "give size=(H, W), or crop them"
            raise ValueError(
                f"{name} has the shape {image.shape} and the dtype {image.dtype}, but the first "
                f"file, {first[0]}, has {first[1]} and {first[2]}. All must agree: {advice}."
            )
        yield image


def _stacked(images, shape, dtype):
    """Images as one array of at most the length of `shape`."""
    result, count = np.empty(shape, dtype), 0
    for count, image in enumerate(images, 1):
        result[count - 1] = image
    return result[:count]


def _write(path, images, shape, dtype):
    """Images, as many as `shape` says at most, as a .npy file; a memory map of it."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    # Not through a memory map: on a full disk, that would kill the process.
    with replacing(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        count = 0
        for image in images:
            file.write(image.tobytes())
            count += 1
        # NumPy leaves room in the header: it has the same length for every number of images.
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (count, *shape[1:])})
    return np.load(path, mmap_mode="r")
