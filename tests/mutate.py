"""Files that skvae must refuse: seeded mutants of one that it wrote.

A longer run than that of `test_archive.py` imports `mutants` and `resealed`, and asks for
more of them, by another seed.
"""

import io
import random
import re
import zipfile

NUMBERS = (b"0", b"-1", b"2", b"1.5", b"1e999", b"NaN", b"true", b"null", b'"3"', b"[3]", b"{}")
NUMBERS += (b"100000000000", b"9223372036854775808", b"9" * 5000)
SIZES = (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def members_of(data):
    """Contents of each member of a zip archive, by name."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(members, change=None, comment=b""):
    """A zip archive of (name, contents); `change` may alter the ZipInfo of each."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, contents in members.items() if isinstance(members, dict) else members:
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            if change is not None:
                change(info)
            archive.writestr(info, contents)
        archive.comment = comment
    return stream.getvalue()


def mutants(data, n, seed):
    """Yield n variants of `data`, each with one to four random defects.

    Parameters
    ----------
    data : bytes

    n : int

    seed : int

    Yields
    ------
    mutant : bytes
        A few are equal to `data`, where a defect changed nothing.
    """
    rng = random.Random(seed)
    for _ in range(n):
        yield _mutate(data, rng, DEFECTS)


def resealed(data, n, seed):
    """Yield n variants of an archive with defects inside a member, and a zip without any.

    All sizes, offsets and CRC-32 are right, so that the defects meet the inner checks.

    Parameters
    ----------
    data : bytes

    n : int

    seed : int

    Yields
    ------
    mutant : bytes
    """
    rng = random.Random(seed)
    for _ in range(n):
        members = members_of(data)
        # Most of what can go wrong is in the first member, the JSON.
        name = rng.choice([next(iter(members)), *members])
        members[name] = _mutate(members[name], rng, (*DEFECTS, number, number))
        yield pack(members)


def _mutate(data, rng, defects):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if data:
            rng.choice(defects)(data, rng)
    return bytes(data)


def _span(data, rng):
    start = rng.randrange(len(data))
    return slice(start, min(len(data), start + rng.choice((1, 2, 4, 30, 200))))


def flip(data, rng):
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwrite(data, rng):
    span = _span(data, rng)
    data[span] = rng.randbytes(span.stop - span.start)


def cut(data, rng):
    del data[_span(data, rng)]


def cut_off(data, rng):
    del data[rng.randrange(len(data)) :]


def insert(data, rng):
    place = rng.choice((0, len(data), rng.randrange(len(data))))
    data[place:place] = rng.randbytes(rng.choice((1, 2, 4, 22, 200)))


def repeat(data, rng):
    place = rng.choice((len(data), rng.randrange(len(data))))
    data[place:place] = data[_span(data, rng)]


def swap(data, rng):
    first, second = _span(data, rng), _span(data, rng)
    data[first], data[second] = data[second], data[first]


def forge(data, rng):
    """A size, offset, count or flag in one of the records of the zip."""
    records = [match.start() for match in re.finditer(b"PK[\1\3\5][\2\4\6]", data)] or [0]
    place, n_bytes = rng.choice(records) + rng.randrange(4, 46), rng.choice((2, 4))
    value = rng.choice((*SIZES, len(data), rng.randrange(len(data))))
    data[place : place + n_bytes] = (value % 256**n_bytes).to_bytes(n_bytes, "little")


def number(data, rng):
    found = list(re.finditer(rb"\d+", data))
    if found:
        data[slice(*rng.choice(found).span())] = rng.choice(NUMBERS)


DEFECTS = (flip, overwrite, cut, cut_off, insert, repeat, swap, forge, forge)


def set_value(header, path, value):
    """Set what a header has at a path such as "params.beta"; the value KeyError removes it."""
    *parents, last = path.split(".")
    for parent in parents:
        header = header[parent]
    if value is KeyError:
        del header[last]
    else:
        header[last] = value
