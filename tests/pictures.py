"""Pictures, and files of them, that the tests of reading share."""

import struct
import zlib

import numpy as np
from PIL import Image

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


def tiff(samples, byte_order="<", *, photometric=None, extra=()):
    """A TIFF with samples of shape (H, W, C) of any dtype, written by hand.

    `photometric` is 2 for RGB, 1 for grey, 0 for grey of which 0 is white; `extra` says what the
    channels beside the colours are: 0 for unspecified.
    """
    height, width, channels = samples.shape
    data = samples.astype(samples.dtype.newbyteorder(byte_order)).tobytes()
    if photometric is None:
        photometric = 2 if channels == 3 else 1
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    tags = [
        (256, "I", [width]),
        (257, "I", [height]),
        (258, "H", [8 * samples.itemsize] * channels),
        (259, "H", [1]),
        (262, "H", [photometric]),
        (273, "I", [0]),  # the place of the data, filled in below
        (277, "H", [channels]),
        (278, "I", [height]),
        (279, "I", [len(data)]),
        *([(338, "H", extra)] if extra else []),
        (339, "H", [kind] * channels),
    ]
    place = 8 + 2 + 12 * len(tags) + 4  # of the values that do not fit into their entries
    entries, values = b"", b""
    data_at = place + sum(8 for _, code, numbers in tags if code == "H" and len(numbers) > 2)
    for tag, code, numbers in tags:
        numbers = [data_at] if tag == 273 else numbers
        packed = struct.pack(f"{byte_order}{len(numbers)}{code}", *numbers)
        if len(packed) > 4:
            packed, values = (
                struct.pack(f"{byte_order}I", place + len(values)),
                (values + packed.ljust(8, b"\0")),
            )
        entries += struct.pack(f"{byte_order}HHI", tag, 3 if code == "H" else 4, len(numbers))
        entries += packed.ljust(4, b"\0")
    start = (b"II" if byte_order == "<" else b"MM") + struct.pack(byte_order + "HI", 42, 8)
    count = struct.pack(byte_order + "H", len(tags))
    return start + count + entries + bytes(4) + values + data
