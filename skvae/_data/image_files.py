"""One file of an image -> its pixels (NumPy; Pillow inside functions)."""

import contextlib

import numpy as np

# Not all formats of Pillow: for an EPS it starts another program, whatever the name of the file.
# JPEG 2000 is not among them, because nothing tells its colours of 16 bits from those of 8.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

# Modes of Pillow whose numbers an array holds as they are: grey, or colour, with or without alpha.
GREY, COLOUR, DEEP = ("1", "L", "LA"), ("RGB", "RGBA"), ("I;16", "I;16L", "I;16B", "I", "F")

# Tags of TIFF, and the names of their values.
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLES_PER_PIXEL = 258, 262, 277
EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339
SAMPLE_FORMATS = {1: "uint", 2: "int", 3: "float", 5: "complex int", 6: "complex"}


def read_pixels(file, name, mode, size):
    """The pixels of one file, a path or a binary file, upright: (H, W) or (H, W, C).

    Messages call it `name`. A ValueError if it is no image, is damaged, or holds what an array
    cannot keep.
    """
    from PIL import Image, UnidentifiedImageError

    with contextlib.ExitStack() as stack:
        try:
            # Not by name: Pillow then maps a TIFF into memory, and turns those that lie on a side
            # wrongly.
            if isinstance(file, str):
                file = stack.enter_context(open(file, "rb"))
            try:
                image = stack.enter_context(Image.open(file, formats=FORMATS))
            except UnidentifiedImageError as error:
                raise ValueError(_why_unknown(file)) from error
            return _pixels(image, mode, size)
        except (FileNotFoundError, MemoryError):
            raise
        except Exception as error:  # of many kinds, from the decoders of Pillow
            raise ValueError(f"{name} cannot be read: {str(error) or repr(error)}") from error


def is_pillow(image):
    """Whether something is an image of Pillow."""
    # Of the class: the attribute of an image would decode it.
    return hasattr(type(image), "getbands") and hasattr(type(image), "__array_interface__")


def pixels_of(image):
    """The pixels of an image of Pillow, upright, as `read_pixels` gives them of its file."""
    try:
        return _pixels(image, None, None)
    except (ValueError, OSError) as error:
        several = getattr(image, "n_frames", 1) > 1
        advice = " To take the current one, pass image.copy()." if several else ""
        raise ValueError(f"An image of Pillow in X cannot be used: {error}{advice}") from error


def _why_unknown(file):
    """What may be said of a file that Pillow does not know."""
    kind = _kind_of_tiff(file)
    if kind is None:
        known = ", ".join(FORMATS)
        return f"it is damaged, or no image of a format that read_images knows ({known})."
    return f"it is a TIFF of {kind}, which Pillow does not know; tifffile does. Or it is damaged."


def _kind_of_tiff(file):
    """The dtype and the channels of a TIFF, such as "float64 with 1 channel", or None."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    try:
        file.seek(0)
        header = file.read(8)
        directory = ImageFileDirectory_v2(header + file.read(8) if header[2] == 43 else header)
        file.seek(directory.next)
        directory.load(file)
        bits, sample_format = directory[BITS_PER_SAMPLE][0], directory.get(SAMPLE_FORMAT, (1,))[0]
    except Exception:  # no TIFF, or a damaged one
        return None
    channels = directory.get(SAMPLES_PER_PIXEL, 1)
    dtype = f"{SAMPLE_FORMATS.get(sample_format, 'unknown type, ')}{bits}"
    return f"{dtype} with {channels} channel{'s' if channels != 1 else ''}"


def _pixels(image, mode, size):
    """The pixels of an image of Pillow, upright, as `mode` and `size` ask."""
    from PIL import Image

    if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise ValueError(
            f"it has {image.width} x {image.height} pixels, more than PIL.Image.MAX_IMAGE_PIXELS "
            "allows. If you trust the file, raise that limit."
        )
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise ValueError(
            f"it holds {image.n_frames} images, and one is taken from each file. tifffile reads "
            "stacks of a TIFF (see the notes of help(read_images)), and imageio those of a GIF."
        )
    tags = getattr(image, "tag_v2", {})  # which an unpickled TIFF lacks
    if image.mode in DEEP or tags.get(SAMPLE_FORMAT, (1,))[0] == 2:
        return _deep_pixels(image, tags, mode, size)
    if _has_16_bits(image):
        raise ValueError(
            "it has 16 bits in each colour, of which Pillow would drop 8. tifffile or imageio "
            "keep them: np.stack([imageio.v3.imread(path) for path in paths])."
        )
    if mode is None and 0 in tags.get(EXTRA_SAMPLES, ()):
        raise ValueError(
            f"it has {tags[SAMPLES_PER_PIXEL]} channels, of which Pillow would drop some. tifffile "
            'keeps them. For its colours, give mode="RGB".'
        )
    image = _in_mode(image, mode)
    if size is not None:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image)


def _in_mode(image, mode):
    """An image of at most 8 bits in each channel, upright, in the mode "L", "RGB" or its own."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode == "La":  # grey that was multiplied by its alpha
        image = image.convert("LA")
    transparent = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    if mode is not None:
        if transparent:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert(mode)
    if image.mode in ("P", "PA", "RGB"):
        return image.convert("RGBA" if transparent else "RGB")
    if image.mode == "L" and transparent:
        return image.convert("LA")
    if image.mode not in GREY + COLOUR:
        raise ValueError(
            f"its colours are stored as {image.mode!r}. Say what they shall become: by "
            'mode="RGB" or mode="L" of read_images, or by image.convert("RGB").'
        )
    return image


def _deep_pixels(image, tags, mode, size):
    """Grey of more than 8 bits, or with a sign: uint16, int32 or float32 of shape (H, W)."""
    from PIL import Image, ImageOps

    if mode == "RGB":
        raise ValueError('it is grey of more than 8 bits, which mode="RGB" would drop. Use "L".')
    if "transparency" in image.info:
        raise ValueError("one of its values is transparent, which grey of 16 bits cannot keep.")
    # Without a sign, although some formats hand over 32 bits.
    short = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    unsigned = image.mode == "I" and tags.get(SAMPLE_FORMAT, (1,))[0] == 1
    pixels = np.asarray(ImageOps.exif_transpose(image))
    if pixels.dtype == np.uint8:  # Pillow takes int8 for it
        pixels = pixels.view(np.int8).astype(np.int32)
    if unsigned and pixels.min(initial=0) < 0:
        raise ValueError("it has numbers of 32 bits above 2,147,483,647, which tifffile keeps.")
    if tags.get(PHOTOMETRIC) == 0:  # 0 is white, which Pillow turns round for 8 bits only
        if not short:
            raise ValueError("it has 32 bits, of which 0 is white. tifffile reads it as it is.")
        pixels = 65535 - pixels
    if size is not None:
        # As float32, which holds 16 bits exactly.
        image = Image.fromarray(pixels.astype(np.float32) if short else pixels)
        pixels = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
    return np.rint(pixels).astype(np.uint16) if short else pixels


def _has_16_bits(image):
    """Whether the file has samples of more than 8 bits, although the mode of Pillow has 8."""
    if image.format == "TIFF":
        return np.max(getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, 1)) > 8
    if not getattr(image, "tile", None):  # decoded already, as one that was used before
        return False
    if image.format == "PNG":
        return str(image.tile[0][3]).endswith(";16B")
    if image.format == "PPM" and image.tile[0][0].startswith("ppm"):
        return image.tile[0][3][-1] > 255  # the value of white
    return False
