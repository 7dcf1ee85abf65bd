"""Header and arrays <-> file: what is written is read back, and nothing else is."""

import contextlib
import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from conftest import without_address
from mutate import members_of, mutants, pack, resealed
from nets import archive

from skvae._files.archive import DTYPES, InvalidFileError, read, write

HEADER = {"n": 3, "k": 2, "rate": 0.005, "tol": float("inf"), "names": ["a", "é"], "none": None}
# Bytes that reading a small file may allocate: the longest JSON that it can announce, and more.
PEAK = archive.MAX_JSON_BYTES + 2 * 2**20


def expected(header):
    n, k = header["n"], header["k"]
    if header["rate"] > 1:
        raise ValueError(f"rate must be at most 1. Got {header['rate']}.")
    return {
        "weight": ((n, k), "<f4"),
        "bias": ((n,), "<f4"),
        "scale": ((n,), "<f4"),
        "steps": ((), "<i8"),
    }


ARRAYS = {
    name: np.random.default_rng(len(name)).integers(0, 100, shape).astype(dtype)
    for name, (shape, dtype) in expected(HEADER).items()
}


@contextlib.contextmanager
def at_most(n_bytes):
    """Fails if Python and NumPy allocate more than that at a time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] <= n_bytes
    finally:
        tracemalloc.stop()


def specs_of(arrays):
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def assert_same_arrays(arrays, others):
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        assert array.dtype == others[name].dtype
        assert array.shape == others[name].shape
        assert array.tobytes() == others[name].tobytes()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The bytes of a small file."""
    path = tmp_path_factory.mktemp("data") / "model"
    write(path, HEADER, ARRAYS)
    return path.read_bytes()


def test_arrays_come_back_bit_by_bit(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for dtype in map(np.dtype, DTYPES):
        for shape in [(), (0,), (3, 0, 2), (5,), (2, 3, 4), (1,) * 32]:
            # Random bytes: NaNs of every kind are among the floats.
            n_bytes = int(np.prod(shape)) * dtype.itemsize
            array = np.frombuffer(rng.bytes(n_bytes), dtype).reshape(shape)
            arrays[f"{dtype.name}.{len(arrays)}"] = array
    path = tmp_path / "model"
    write(path, {}, arrays)
    header, back = read(path, lambda header: specs_of(arrays))
    assert header == {}
    assert_same_arrays(back, arrays)
    for array in back.values():
        assert type(array) is np.ndarray
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.flags.owndata


def test_arrays_may_lie_in_memory_in_any_way(tmp_path):
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    arrays = {"F": np.asfortranarray(base), "strided": base[::2, ::-3], "same": base, "T": base.T}
    path = tmp_path / "model"
    write(path, {}, arrays)
    assert_same_arrays(read(path, lambda header: specs_of(arrays))[1], arrays)


def test_no_arrays_are_a_file(tmp_path):
    write(tmp_path / "model", {"a": 1}, {})
    assert read(tmp_path / "model", lambda header: {}) == ({"a": 1}, {})


def test_header_comes_back(tmp_path):
    header = {
        "": None,
        "bool": [True, False],
        "int": [0, -1, 2**63, 10**100],
        "float": [0.1, -0.0, 5e-324, 1.7976931348623157e308, float("inf"), -float("inf")],
        "text": ["", "é ∑ 🙂", '"\\\n\x00\x7f', "\ud800"],
        "nested": {"a": [[], {}, [{"b": [1]}]]},
    }
    path = tmp_path / "model"
    write(path, {**header, "tuple": (1, (2,)), "nan": float("nan")}, {})
    back, _ = read(path, lambda header: {})
    assert np.isnan(back.pop("nan"))
    assert back.pop("tuple") == [1, [2]]
    assert list(back) == list(header)
    assert repr(back) == repr(header)


def test_bytes_depend_on_contents_only(tmp_path, data, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 2e9)
    write(tmp_path / "other", HEADER, dict(reversed(ARRAYS.items())))
    assert (tmp_path / "other").read_bytes() == data


def test_other_tools_can_open_it(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
    members = members_of(data)
    document = json.loads(members.pop("skvae.json"))
    assert document["arrays"].keys() == ARRAYS.keys()
    arrays = {name[7:-4]: np.load(io.BytesIO(npy)) for name, npy in members.items()}
    assert_same_arrays(arrays, dict(sorted(ARRAYS.items())))


@pytest.mark.parametrize(
    "value",
    [np.float64(1), np.int64(1), np.zeros(2), {1}, {1: 2}, b"a", 1j, object(), {"$float": "nan"}],
    ids=without_address,
)
def test_write_refuses_other_values(tmp_path, value):
    with pytest.raises(TypeError, match="plain Python values"):
        write(tmp_path / "model", {"a": [value]}, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("dtype", ["O", "U3", "S3", "?", "c8", ">f4", "M8[s]", "i4,f4", "V2"])
def test_write_refuses_other_dtypes(tmp_path, dtype):
    with pytest.raises(ValueError, match="array 'a' has dtype"):
        write(tmp_path / "model", {}, {"a": np.zeros(2, dtype)})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["", "../a", "/a", "a/b", "a\\b", "é", "a b", "a\n", "a" * 101])
def test_write_refuses_other_names(tmp_path, name):
    with pytest.raises(ValueError, match="cannot be the name of an array"):
        write(tmp_path / "model", {}, {name: np.zeros(2)})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("MAX_ARRAYS", 4),
        ("MAX_JSON_BYTES", 584),
        ("MAX_FILE_BYTES", 1702),
        ("MAX_DIMENSIONS", 2),
    ],
)
def test_limits_hold_for_both(tmp_path, data, monkeypatch, limit, value):
    path = tmp_path / "model"
    assert (len(ARRAYS), len(members_of(data)["skvae.json"]), len(data)) == (4, 584, 1702)
    monkeypatch.setattr(archive, limit, value)
    write(path, HEADER, ARRAYS)
    read(path, expected)

    monkeypatch.setattr(archive, limit, value - 1)
    with pytest.raises(ValueError, match=r"over|more than|cannot have the shape"):
        write(tmp_path / "other", HEADER, ARRAYS)
    assert os.listdir(tmp_path) == ["model"]
    with pytest.raises(InvalidFileError, match=r"over|more than|cannot have the shape"):
        read(path, expected)


@pytest.mark.parametrize("function", [lambda path: write(path, {}, {}), lambda p: read(p, dict)])
@pytest.mark.parametrize(
    ("path", "error"),
    [("no/model", FileNotFoundError), ("", (IsADirectoryError, PermissionError))],
)
def test_operating_system_errors_pass(tmp_path, function, path, error):
    with pytest.raises(error):
        function(tmp_path / path)
    assert os.listdir(tmp_path) == []


# Tampering: each function makes a bad file of a good one.


def test_pack_is_the_same_archive(data):
    # What the cases below change is then the only thing that is wrong.
    assert pack(members_of(data)) == data
    assert edit_document(data, lambda document: None) == data


def edit_text(data, change):
    """With `change` made to the text of the JSON, in a perfect zip."""
    members = members_of(data)
    members["skvae.json"] = change(members["skvae.json"])
    return pack(members)


def edit_document(data, change):
    """With `change` made in place to the JSON's document, in a perfect zip."""

    def change_text(text):
        document = json.loads(text)
        change(document)
        return json.dumps(document, separators=(",", ":")).encode()

    return edit_text(data, change_text)


def edit_npy(data, change, name="bias"):
    """With `change` made to the .npy file of an array, in a perfect zip."""
    members = members_of(data)
    members[f"arrays/{name}.npy"] = change(members[f"arrays/{name}.npy"])
    return pack(members)


def edit_list(data, change):
    """With `change` made in place to the list of members, in a perfect zip."""
    members = list(members_of(data).items())
    change(members)
    return pack(members)


def duplicate(members):
    members.append(members[-1])


def swap_names(members):
    (first, a), (second, b) = members[1:3]
    members[1:3] = (second, a), (first, b)


def swap_contents(data):
    members = members_of(data)
    bias, scale = "arrays/bias.npy", "arrays/scale.npy"
    assert len(members[bias]) == len(members[scale])
    members[bias], members[scale] = members[scale], members[bias]
    return pack(members)


def rename(name):
    def change(members):
        members[1] = name, members[1][1]

    return lambda data: edit_list(data, change)


def npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def npy_text(text):
    def change(contents):
        # As long as it was.
        return contents[:10] + text.encode().ljust(117) + b"\n" + contents[128:]

    return lambda data: edit_npy(data, change)


def patch_zip(signature, index, offset, layout, value):
    """With a field overwritten in one record of the zip."""

    def tamper(data):
        place = -1
        for _ in range(index + 1):
            place = data.index(signature, place + 1)
        changed = bytearray(data)
        struct.pack_into(layout, changed, place + offset, value)
        assert bytes(changed) != data
        return bytes(changed)

    return tamper


def compress(*names):
    def change(info):
        info.compress_type = zipfile.ZIP_DEFLATED if info.filename in names else 0

    return lambda data: pack(members_of(data), change)


def bomb(data):
    """64 MiB of zeros, deflated to 64 KiB, where the header asks for as much."""
    n = 2**24
    members = members_of(edit_document(data, lambda document: document["header"].update(n=n)))
    zeros = npy(np.zeros(n, np.float32))
    members["arrays/bias.npy"] = zeros

    def change(info):
        info.compress_type = zipfile.ZIP_DEFLATED if info.filename == "arrays/bias.npy" else 0

    return pack(members, change)


def encrypt(data):
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data = patch_zip(signature, 1, offset, "<H", 1)(data)
    return data


def zip64(data):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, contents in members_of(data).items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            force = name == "arrays/bias.npy"
            with archive.open(info, "w", force_zip64=force) as file:
                file.write(contents)
    return stream.getvalue()


def set_header(**values):
    return lambda data: edit_document(data, lambda document: document["header"].update(values))


def set_document(**values):
    return lambda data: edit_document(data, lambda document: document.update(values))


def set_record(**values):
    def change(document):
        document["arrays"]["bias"].update(values)

    return lambda data: edit_document(data, change)


def replace_text(old, new):
    def change(text):
        assert text.count(old) == 1
        return text.replace(old, new)

    return lambda data: edit_text(data, change)


def ask_for_373_gib(data):
    data = set_header(n=10**11)(data)
    data = edit_document(data, lambda d: d["arrays"]["bias"].update(shape=[10**11]))
    return npy_text("{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000,), }")(data)


def drop(key):
    return lambda data: edit_document(data, lambda document: document.pop(key))


def flip(place):
    return lambda data: data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


NOT_OURS = "not a zip archive that begins with a stored skvae.json"
JSON_DAMAGED = r"skvae\.json is damaged"
MEMBER_DAMAGED = r"arrays/bias\.npy is damaged"
DIRECTORY = "directory at its end is damaged"
NOT_JSON = "not valid JSON"
NOT_THE_TEXT = r"skvae\.json does not match the header and the arrays"
NO_FORMAT = "does not name the format 'skvae'"
NO_PARTS = "has no header or no arrays"
SIZE = r"it has [\d,]+ bytes where its header asks for [\d,]+"
NPY = r"arrays/bias\.npy does not begin like an array of <f4 and shape \(3,\)"
NAMES = "its arrays are not those of its header; they differ in 'bias'"
BAD_HEADER = "its header is not valid"
BAD_SHAPE = "cannot have the shape"

TAMPER = {
    # The file as a whole
    "empty": (lambda data: b"", NOT_OURS),
    "text": (lambda data: b"hello\n" * 100, NOT_OURS),
    "pickle": (lambda data: pickle.dumps(ARRAYS), NOT_OURS),
    "npz": (lambda data: pack({"bias.npy": npy(ARRAYS["bias"])}), NOT_OURS),
    "truncated by one byte": (lambda data: data[:-1], SIZE),
    "truncated by half": (lambda data: data[: len(data) // 2], SIZE),
    "truncated in the JSON": (lambda data: data[:100], JSON_DAMAGED),
    "truncated in the first record": (lambda data: data[:20], NOT_OURS),
    "trailing bytes": (lambda data: data + b"\0", SIZE),
    "leading bytes": (lambda data: b"#!/bin/sh\n" + data, NOT_OURS),
    "comment": (lambda data: pack(members_of(data), comment=b"hello"), SIZE),
    "comment forged": (lambda data: data[:-2] + b"\1\0", DIRECTORY),
    "twice": (lambda data: data + data, SIZE),
    # The members of the zip
    "byte flipped in the JSON": (flip(100), JSON_DAMAGED),
    "byte flipped in an array": (
        lambda data: flip(data.index(b"PK\3\4", 9) + 175)(data),
        MEMBER_DAMAGED,
    ),
    "names swapped": (lambda data: edit_list(data, swap_names), NPY),
    "contents swapped": (swap_contents, NOT_THE_TEXT),
    "member appended": (
        lambda data: edit_list(data, lambda members: members.append(("arrays/x.npy", b""))),
        SIZE,
    ),
    "member twice": (lambda data: edit_list(data, duplicate), SIZE),
    "member removed": (lambda data: edit_list(data, list.pop), SIZE),
    "member renamed": (rename("arrays/bios.npy"), MEMBER_DAMAGED),
    "member above": (rename("../arrays/b.npy"), MEMBER_DAMAGED),
    "member far above": (rename("../../../../tmp/bias.npy"), SIZE),
    "member at the root": (rename("/rrays/bias.npy"), MEMBER_DAMAGED),
    "JSON elsewhere": (lambda data: edit_list(data, list.reverse), NOT_OURS),
    "JSON compressed": (compress("skvae.json"), NOT_OURS),
    "array compressed": (compress("arrays/bias.npy"), SIZE),
    "bomb": (bomb, SIZE),
    "encrypted": (encrypt, MEMBER_DAMAGED),
    "zip64": (zip64, SIZE),
    "JSON's size forged": (patch_zip(b"PK\3\4", 0, 18, "<L", 2**32 - 1), NOT_OURS),
    "JSON's sizes forged": (patch_zip(b"PK\3\4", 0, 18, "<Q", 2**64 - 1), "over 4,194,304"),
    "JSON's size within the limit": (
        patch_zip(b"PK\3\4", 0, 18, "<Q", 4_000_000 << 32 | 4_000_000),
        JSON_DAMAGED,
    ),
    "member's size forged": (patch_zip(b"PK\3\4", 1, 22, "<L", 2**31), MEMBER_DAMAGED),
    "member's method forged": (patch_zip(b"PK\3\4", 1, 8, "<H", 8), MEMBER_DAMAGED),
    "member's CRC-32 forged": (patch_zip(b"PK\3\4", 1, 14, "<L", 0), MEMBER_DAMAGED),
    "member's date": (patch_zip(b"PK\3\4", 1, 12, "<H", 0x5000), MEMBER_DAMAGED),
    "directory's name": (patch_zip(b"PK\1\2", 1, 46, "<Q", 0x2F2E2E2F2E2E2F2E), DIRECTORY),
    "directory's size": (patch_zip(b"PK\1\2", 1, 24, "<L", 2**31), DIRECTORY),
    "directory's method": (patch_zip(b"PK\1\2", 1, 10, "<H", 8), DIRECTORY),
    "entries overlap": (patch_zip(b"PK\1\2", 2, 42, "<L", 0), DIRECTORY),
    "number of entries": (patch_zip(b"PK\5\6", 0, 10, "<H", 0xFFFF), DIRECTORY),
    "place of the directory": (patch_zip(b"PK\5\6", 0, 16, "<L", 2**32 - 1), DIRECTORY),
    # The .npy files
    "373 GiB of data": (
        npy_text("{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000,), }"),
        NPY,
    ),
    "373 GiB everywhere": (ask_for_373_gib, BAD_SHAPE),
    "8 GiB everywhere": (set_header(n=2**31), r"a file of [\d,]+ bytes is over"),
    "shape": (npy_text("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }"), NPY),
    "negative shape": (npy_text("{'descr': '<f4', 'fortran_order': False, 'shape': (-3,), }"), NPY),
    "Fortran order": (npy_text("{'descr': '<f4', 'fortran_order': True, 'shape': (3,), }"), NPY),
    "big-endian": (npy_text("{'descr': '>f4', 'fortran_order': False, 'shape': (3,), }"), NPY),
    "objects": (npy_text("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }"), NPY),
    "code": (npy_text("__import__('os').system('touch pwned')"), NPY),
    "version of .npy": (lambda data: edit_npy(data, lambda old: old[:6] + b"\2\0" + old[8:]), NPY),
    "length of .npy": (
        lambda data: edit_npy(data, lambda old: old[:8] + b"\xff\xff" + old[10:]),
        NPY,
    ),
    "pickled objects": (
        lambda data: edit_npy(data, lambda old: npy(np.array([{}] * 3), allow_pickle=True)),
        SIZE,
    ),
    "more data": (lambda data: edit_npy(data, lambda old: old + b"\0" * 4), SIZE),
    "other data": (lambda data: edit_npy(data, lambda old: old[:-1] + b"\x7f"), NOT_THE_TEXT),
    # The JSON
    "no JSON": (lambda data: edit_text(data, lambda text: b""), NOT_JSON),
    "half of the JSON": (lambda data: edit_text(data, lambda text: text[:-1]), NOT_JSON),
    "JSON is a list": (lambda data: edit_text(data, lambda text: b"[]"), NO_FORMAT),
    "JSON is a number": (lambda data: edit_text(data, lambda text: b"1"), NO_FORMAT),
    "deep": (lambda data: edit_text(data, lambda text: b"[" * 100_000), NOT_JSON),
    "deep and whole": (
        replace_text(b'"none":null', b'"none":' + b"[" * 50_000 + b"]" * 50_000),
        NOT_JSON,
    ),
    "deep objects": (lambda data: edit_text(data, lambda text: b'{"":' * 25_000), NOT_JSON),
    "large": (lambda data: edit_text(data, lambda text: text + b" " * 2**22), "over 4,194,304"),
    "UTF-16": (
        lambda data: edit_text(data, lambda text: text.decode().encode("utf-16")),
        NOT_THE_TEXT,
    ),
    "not UTF-8": (replace_text(b'"a"', b'"\xff"'), NOT_JSON),
    "UTF-8": (replace_text(b"\\u00e9", "é".encode()), NOT_THE_TEXT),
    "spaces": (lambda data: edit_text(data, lambda text: text + b" "), NOT_THE_TEXT),
    "key twice": (replace_text(b'"n":3', b'"n":4,"n":3'), NOT_THE_TEXT),
    "NaN": (replace_text(b'"rate":0.005', b'"rate":NaN'), NOT_THE_TEXT),
    "infinite": (replace_text(b'{"$float":"inf"}', b"1e999"), NOT_THE_TEXT),
    "5,000 digits": (replace_text(b'"rate":0.005', b'"rate":' + b"9" * 5000), NOT_JSON),
    "float as object": (replace_text(b'"rate":0.005', b'"rate":{"$float":"0.005"}'), NOT_THE_TEXT),
    "no float": (replace_text(b'"$float":"inf"', b'"$float":["x"]'), NOT_JSON),
    "other format": (set_document(format="zarr"), NO_FORMAT),
    "other version": (set_document(version=2), "its format has version 2; this skvae reads 1"),
    "version is true": (set_document(version=True), NOT_THE_TEXT),
    "no version": (drop("version"), "its format has version None"),
    "no header": (drop("header"), NO_PARTS),
    "header is a list": (set_document(header=[]), NO_PARTS),
    "arrays are a list": (set_document(arrays=[]), NO_PARTS),
    "another key": (set_document(more=1), NOT_THE_TEXT),
    "no record": (lambda data: edit_document(data, lambda d: d["arrays"].pop("bias")), NAMES),
    "another record": (lambda data: edit_document(data, lambda d: d["arrays"].update(x=1)), "'x'"),
    "long name": (
        lambda data: edit_document(data, lambda d: d["arrays"].update({"x" * 10_000: 1})),
        "they differ in 'xxx",
    ),
    "SHA-256": (set_record(sha256="0" * 64), NOT_THE_TEXT),
    "recorded dtype": (set_record(dtype="<f8"), NOT_THE_TEXT),
    "recorded shape": (set_record(shape=[1, 3]), NOT_THE_TEXT),
    "record is a number": (
        lambda data: edit_document(data, lambda d: d["arrays"].update(bias=1)),
        NOT_THE_TEXT,
    ),
    # The header
    "another header": (set_header(n=4), SIZE),
    "negative": (set_header(n=-1), BAD_SHAPE),
    "fraction": (set_header(n=2.5), BAD_SHAPE),
    "text in a shape": (set_header(n="3"), BAD_SHAPE),
    "long text in a shape": (set_header(n="3" * 10_000), BAD_SHAPE),
    "true in a shape": (set_header(n=True), BAD_SHAPE),
    "beyond any size": (set_header(n=10**400), BAD_SHAPE),
    "long version": (set_document(version="2" * 10_000), "its format has version '222"),
    "long number": (set_header(rate=10**3000), r"its header is not valid \(ValueError\('rate"),
    "parameter missing": (
        lambda data: edit_document(data, lambda d: d["header"].pop("n")),
        r"its header is not valid \(KeyError\('n'\)\)",
    ),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")  # of zipfile, on making such a file
@pytest.mark.parametrize(("tamper", "match"), TAMPER.values(), ids=TAMPER)
def test_tampered_files_are_refused(tmp_path, data, tamper, match):
    path = tmp_path / "model"
    path.write_bytes(tamper(data))
    # Imports and caches of the first call are not the reader's.
    with contextlib.suppress(InvalidFileError):
        read(path, expected)
    with at_most(PEAK), pytest.raises(InvalidFileError, match=match) as caught:
        read(path, expected)
    assert str(caught.value).startswith(f"{str(path)!r} cannot be loaded: ")
    assert len(str(caught.value)) < 600 + len(str(path))
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (lambda header: 1 / 0, BAD_HEADER),
        (lambda header: None, BAD_HEADER),
        (lambda header: {"bias": 3}, BAD_HEADER),
        (lambda header: {**expected(header), "bias": (3, "<f4")}, BAD_HEADER),
        (lambda header: {**expected(header), "bias": ((3,), "no dtype")}, BAD_HEADER),
        (lambda header: {**expected(header), "bias": ((3,), "O")}, "has dtype"),
        (lambda header: {**expected(header), "bias": ((3,), "?")}, "has dtype"),
        (lambda header: {**expected(header), "bias": ((3, 1), "<f4")}, "does not begin"),
        (lambda header: {**expected(header), "bias": ((1,) * 33, "<f4")}, BAD_SHAPE),
        (lambda header: {**expected(header), "bias": ((0, *[2**31] * 3), "<f4")}, SIZE),
        (lambda header: {**expected(header), "other": ((3,), "<f4")}, "'other'"),
        (lambda header: {1: ((3,), "<f4"), 2: ((), "<f4")}, "they differ in"),
        (lambda header: {}, "they differ in"),
    ],
)
def test_only_what_is_expected_is_read(tmp_path, data, wrong, match):
    path = tmp_path / "model"
    path.write_bytes(data)
    with pytest.raises(InvalidFileError, match=match):
        read(path, wrong)


def test_sides_that_numpy_cannot_have_are_refused(tmp_path):
    # No data, so that the size of the file is right.
    shape = (0, 2**31, 2**31, 2**31)
    path = tmp_path / "model"
    write(path, {}, {"a": np.zeros((0, 2, 2, 2), np.float32)})
    data = path.read_bytes()
    changed = data.replace(b"(0, 2, 2, 2), }" + b" " * 27, b"%a, }" % (shape,))
    assert len(changed) == len(data)
    path.write_bytes(changed)
    with pytest.raises(InvalidFileError, match=r"too big|Maximum allowed"):
        read(path, lambda header: {"a": (shape, "<f4")})


def test_every_byte_counts(tmp_path, data):
    path = tmp_path / "model"
    path.write_bytes(data)
    with open(path, "r+b", buffering=0) as file:
        for place, byte in enumerate(data):
            file.seek(place)
            file.write(bytes([byte ^ 0x20]))
            with pytest.raises(InvalidFileError):
                read(path, expected)
            file.seek(place)
            file.write(bytes([byte]))
    read(path, expected)


@pytest.mark.parametrize("make", [mutants, resealed])
def test_mutants_are_refused_or_equal(tmp_path, data, make):
    path, again = tmp_path / "model", tmp_path / "again"
    n_refused = 0
    for mutant in make(data, 300, seed=0):
        path.write_bytes(mutant)
        with at_most(PEAK):
            try:
                header, arrays = read(path, expected)
            except InvalidFileError:
                n_refused += 1
                continue
        # A perfect zip of another perfect header may be read, and is then what it seems.
        write(again, header, arrays)
        assert again.read_bytes() == mutant
        again.unlink()
        if make is mutants:
            assert mutant == data
            assert_same_arrays(arrays, dict(sorted(ARRAYS.items())))
    assert os.listdir(tmp_path) == ["model"]
    assert n_refused > 200
