"""Header and arrays <-> file: JSON and plain arrays in one zip archive (NumPy).

docs/file-format.md describes the file. The header and the arrays determine every byte of it. So
`read` parses only the JSON of an untrusted file: it then knows what the rest of the archive's
structure must be, and compares. `zipfile` and `numpy.save` are not used, because the bytes that
they write depend on their version.
"""

import hashlib
import json
import math
import os
import re
import struct
import zlib

import numpy as np

from .._atomic import replacing

FORMAT, VERSION = "skvae", 1

# Below 4 GiB all sizes and offsets have the 32 bits of a plain zip archive.
MAX_FILE_BYTES = 2**32 - 1

# Parsing a hostile text takes up to 100 times its length in memory: 0.4 GB.
MAX_JSON_BYTES = 4 * 2**20

MAX_ARRAYS = 10_000
MAX_DIMENSIONS = 32
DTYPES = ("|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
JSON_MEMBER = "skvae.json"

# In both headers of a member: version 2.0, no flags, stored, midnight of 1 January 1980.
_ZIP_COMMON = struct.pack("<5H", 20, 0, 0, 0, 0x21)

# Made on Unix by version 2.0; a member that somebody unpacks gets the mode 0o600.
_ZIP_MADE_BY, _ZIP_ATTRIBUTES = 3 << 8 | 20, 0o600 << 16


class InvalidFileError(ValueError):
    """The file is damaged, or was not written by this version of skvae's file format."""


def write(path, header, arrays):
    """Write a header of plain Python values, and arrays by name; limits raise a ValueError."""
    arrays = {name: np.asarray(array, order="C") for name, array in sorted(arrays.items())}
    npy_headers = _npy_headers({name: (a.shape, a.dtype.str) for name, a in arrays.items()})
    contents = [(JSON_MEMBER, _skvae_json(header, arrays), b"")]
    contents += [(_member(name), npy_headers[name], _raw(arrays[name])) for name in arrays]
    _file_size([(member, len(start) + len(data)) for member, start, data in contents])
    entries = []
    with replacing(path) as file:
        for member, start, data in contents:
            checksum = zlib.crc32(data, zlib.crc32(start))
            entries.append((member, len(start) + len(data), checksum))
            for part in (_local_header(*entries[-1]), start, data):
                file.write(part)
        file.write(_directory(entries))


def read(path, expected):
    """Header and new arrays of a file that `write` wrote; else `InvalidFileError`.

    The file need not be trusted. ``expected(header)`` gives the shape and dtype of each array, by
    name; any exception means that the header is not valid. Arrays are allocated only after the
    size of the file was found to be exactly theirs.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        try:
            return _read(file, expected)
        except (ValueError, RecursionError) as error:
            raise InvalidFileError(f"{path!r} cannot be loaded: {error}") from error


def _read(file, expected):
    text, entry = _read_json(file)
    header, names = _parse(text)
    try:
        specs = {
            name: (tuple(shape), np.dtype(dtype).str)
            for name, (shape, dtype) in sorted(expected(header).items())
        }
    except Exception as error:
        raise ValueError(f"its header is not valid ({error!r:.200}).") from error
    if specs.keys() != names:
        some = ", ".join(sorted(f"{name!r:.100}" for name in specs.keys() ^ names)[:3])
        raise ValueError(f"its arrays are not those of its header; they differ in {some}.")
    npy_headers = _npy_headers(specs)
    sizes = {
        name: len(npy_headers[name]) + math.prod(shape) * np.dtype(dtype).itemsize
        for name, (shape, dtype) in specs.items()
    }
    wanted = _file_size([entry[:2], *((_member(name), size) for name, size in sizes.items())])
    found = os.fstat(file.fileno()).st_size
    if found != wanted:
        raise ValueError(f"it has {found:,} bytes where its header asks for {wanted:,}.")

    arrays, entries = {}, [entry]
    for name, spec in specs.items():
        arrays[name], checksum = _read_array(file, _member(name), npy_headers[name], *spec)
        entries.append((_member(name), sizes[name], checksum))
    directory = _directory(entries)
    if file.read(len(directory)) != directory:
        raise ValueError("the zip directory at its end is damaged.")
    if _skvae_json(header, arrays) != text:
        raise ValueError(
            f"{JSON_MEMBER} does not match the header and the arrays: a SHA-256, dtype or shape is "
            "wrong, or the text is formatted in another way."
        )
    return header, arrays


def _read_json(file):
    """Text of the first member, and its (member, size, checksum)."""
    local_header = file.read(len(_local_header(JSON_MEMBER, 0, 0)))
    # Padded, because the file may be shorter.
    checksum, size = struct.unpack_from("<2L", local_header.ljust(22, b"\0"), 14)
    entry = JSON_MEMBER, size, checksum
    if local_header != _local_header(*entry):
        raise ValueError(f"it is not a zip archive that begins with a stored {JSON_MEMBER}.")
    if size > MAX_JSON_BYTES:
        raise ValueError(f"{JSON_MEMBER} has {size:,} bytes, over {MAX_JSON_BYTES:,}.")
    text = file.read(size)
    if len(text) != size or zlib.crc32(text) != checksum:
        raise ValueError(f"{JSON_MEMBER} is damaged.")
    return text, entry


def _read_array(file, member, npy_header, shape, dtype):
    """The array of the next member, and the checksum of the member."""
    local_header = file.read(len(_local_header(member, 0, 0)))
    if file.read(len(npy_header)) != npy_header:
        raise ValueError(f"{member} does not begin like an array of {dtype} and shape {shape}.")
    array = np.empty(shape, dtype)
    data = _raw(array)
    complete = file.readinto(data) == len(data)
    checksum = zlib.crc32(data, zlib.crc32(npy_header))
    if not complete or local_header != _local_header(member, len(npy_header) + len(data), checksum):
        raise ValueError(f"{member} is damaged.")
    return array, checksum


def _parse(text):
    """Header and names of the arrays. `_read` compares the rest of the text at the end."""
    try:
        document = json.loads(text, object_hook=_decode_float)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{JSON_MEMBER} is not valid JSON ({error!s:.200}).") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{JSON_MEMBER} does not name the format {FORMAT!r}.")
    if document.get("version") != VERSION:
        version = document.get("version")
        raise ValueError(f"its format has version {version!r:.20}; this skvae reads {VERSION}.")
    header, arrays = document.get("header"), document.get("arrays")
    if not isinstance(header, dict) or not isinstance(arrays, dict):
        raise ValueError(f"{JSON_MEMBER} has no header or no arrays.")
    return header, arrays.keys()


def _skvae_json(header, arrays):
    """The text of the JSON for a header and C-contiguous arrays in the order of their names."""
    records = {
        name: {
            "dtype": array.dtype.str,
            "shape": array.shape,
            "sha256": hashlib.sha256(_raw(array)).hexdigest(),
        }
        for name, array in arrays.items()
    }
    document = {"format": FORMAT, "version": VERSION, "header": _encode(header), "arrays": records}
    text = json.dumps(document, separators=(",", ":")).encode("ascii")
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"{JSON_MEMBER} of {len(text):,} bytes is over {MAX_JSON_BYTES:,}.")
    return text


def _encode(value):
    """A value for JSON. Floats that JSON lacks become ``{"$float": "nan"}`` and so on."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if kind in (list, tuple):
        return [_encode(item) for item in value]
    if kind is dict and "$float" not in value and all(type(key) is str for key in value):
        return {key: _encode(item) for key, item in value.items()}
    raise TypeError(f"The header must hold plain Python values only. Got {value!r:.200} ({kind}).")


def _decode_float(value):
    return float(str(value["$float"])) if "$float" in value else value


def _npy_headers(specs):
    """What precedes the data of each array in NumPy's format 1.0, from its (shape, dtype)."""
    if len(specs) > MAX_ARRAYS:
        raise ValueError(f"{len(specs):,} arrays are more than {MAX_ARRAYS:,}.")
    npy_headers = {}
    for name, (shape, dtype) in specs.items():
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name):
            raise ValueError(f"{name!r:.120} cannot be the name of an array.")
        if dtype not in DTYPES:
            raise ValueError(f"array {name!r} has dtype {dtype!r:.20}, not one of {DTYPES}.")
        if len(shape) > MAX_DIMENSIONS or not all(
            type(side) is int and 0 <= side <= MAX_FILE_BYTES for side in shape
        ):
            raise ValueError(f"array {name!r} cannot have the shape {shape!r:.100}.")
        text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
        # Magic, version, length and text together fill a multiple of 64 bytes.
        text += " " * (-(10 + len(text) + 1) % 64) + "\n"
        npy_headers[name] = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode("ascii")
    return npy_headers


def _file_size(sizes):
    """Size in bytes of a file with these (member, size)."""
    structure = sum(len(_local_header(member, 0, 0)) for member, _ in sizes)
    structure += len(_directory([(member, 0, 0) for member, _ in sizes]))
    n_bytes = structure + sum(size for _, size in sizes)
    if n_bytes > MAX_FILE_BYTES:
        raise ValueError(f"a file of {n_bytes:,} bytes is over {MAX_FILE_BYTES:,}.")
    return n_bytes


def _local_header(member, size, checksum):
    """What precedes the contents of a member in a zip archive."""
    fields = checksum, size, size, len(member), 0
    return struct.pack("<4s10s3L2H", b"PK\3\4", _ZIP_COMMON, *fields) + member.encode("ascii")


def _directory(entries):
    """What follows the members in a zip archive, from each (member, size, checksum)."""
    records, offset = bytearray(), 0
    for member, size, checksum in entries:
        fields = checksum, size, size, len(member), 0, 0, 0, 0, _ZIP_ATTRIBUTES, offset
        records += struct.pack("<4sH10s3L5H2L", b"PK\1\2", _ZIP_MADE_BY, _ZIP_COMMON, *fields)
        records += member.encode("ascii")
        offset += len(_local_header(member, size, checksum)) + size
    n = len(entries)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, n, n, len(records), offset, 0)
    return bytes(records) + end


def _member(name):
    return f"arrays/{name}.npy"


def _raw(array):
    """Bytes of a C-contiguous array, as a view of uint8."""
    return array.reshape(-1).view(np.uint8)
