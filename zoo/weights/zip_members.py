"""Find the members of a zip file as torch.save writes it, and refuse every other shape of a zip file.

torch stores its members without compression, one after another. A file that has compressed or overlapping members, or
headers that contradict each other, may need far more memory than its size, and different readers may find different
members in it. Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 and 4.4; caffe2/serialize/inline_container.cc of torch.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from zoo.errors import WrongContent

SIGNATURE = b"PK\x03\x04"
"""How a zip file begins: with the header of its first member."""
MAX_MEMBERS = 250_000
"""A state dict has one member for each tensor; a large language model has about 100,000."""
_LOCAL = struct.Struct("<4s5H3I2H")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_REFUSED_FLAGS = 0x2061
"""Encrypted (bits 0, 6, 13) or patch data (bit 5)."""
_SMALL, _LARGE = 0xFFFF, 0xFFFFFFFF
"""The values of fields whose number is in the zip64 record."""


@dataclass(frozen=True, slots=True)
class ZipMember:
    """The bytes of a member: from `start` up to `stop` of the file; its header begins at `header`."""

    header: int
    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        """The length of the member."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class _Directory:
    """Where the list of members is: from `start` up to `stop`, with that many entries."""

    start: int
    stop: int
    count: int


def zip_members(content: memoryview, file: str) -> Mapping[str, ZipMember]:
    """Return the members by name, in the order of the list in the file. Raises WrongContent for another zip than torch's."""
    try:
        directory = _find_directory(content)
        if directory.count > MAX_MEMBERS:
            raise _refused(file, f"it has {directory.count} members, more than the limit of {MAX_MEMBERS}")
        members, folded = dict[str, ZipMember](), set[str]()
        for name, member in _entries(content, directory, file):
            if name.lower() in folded:  # torch finds members without regard to case
                raise _refused(file, f"it has two members {name}")
            folded.add(name.lower())
            members[name] = member
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise _refused(file, "its list of members is damaged or missing") from error
    ordered = sorted(members.values(), key=lambda member: member.header)
    if any(member.stop > directory.start for member in ordered):
        raise _refused(file, "a member is longer than the file")
    if any(first.stop > second.header for first, second in pairwise(ordered)):
        raise _refused(file, "its members overlap")
    return members


def _find_directory(content: memoryview) -> _Directory:
    """Return where the list of members is. Raises ValueError or struct.error when it does not end the file."""
    end = len(content) - _END.size
    signature, disk, first_disk, here, count, size, start, comment = _END.unpack_from(content, max(0, end))
    if signature != b"PK\x05\x06" or comment or disk not in (0, _SMALL) or first_disk not in (0, _SMALL):
        raise ValueError
    locator = end - _LOCATOR_64.size
    if locator < 0 or bytes(content[locator : locator + 4]) != b"PK\x06\x07":
        if here != count or start + size != end:
            raise ValueError
        return _Directory(start, end, count)
    stop = locator - _END_64.size
    _, _, stop_64, _ = _LOCATOR_64.unpack_from(content, locator)
    if stop_64 != stop or stop < 0:
        raise ValueError
    signature, _, _, _, _, _, here_64, count_64, size_64, start_64 = _END_64.unpack_from(content, stop)
    given = ((count, _SMALL, count_64), (size, _LARGE, size_64), (start, _LARGE, start_64))
    if signature != b"PK\x06\x06" or here_64 != count_64 or start_64 + size_64 != stop:
        raise ValueError
    if any(short not in (placeholder, number) for short, placeholder, number in given):
        raise ValueError
    return _Directory(start_64, stop, count_64)


def _entries(content: memoryview, directory: _Directory, file: str) -> Iterator[tuple[str, ZipMember]]:
    position = directory.start
    for _ in range(directory.count):
        fields = _ENTRY.unpack_from(content, position)
        signature, flags, method, packed, size = fields[0], fields[3], fields[4], fields[8], fields[9]
        name_bytes, extra_bytes, comment_bytes, header = fields[10], fields[11], fields[12], fields[16]
        if signature != b"PK\x01\x02":
            raise ValueError
        start = position + _ENTRY.size
        name = str(content[start : start + name_bytes], "utf-8")
        extra = content[start + name_bytes : start + name_bytes + extra_bytes]
        position = start + name_bytes + extra_bytes + comment_bytes
        if position > directory.stop or len(extra) != extra_bytes:
            raise ValueError
        size, packed, header = _in_64_bits(extra, size, packed, header)
        if method != 0 or packed != size:
            raise _refused(file, f"its member {name} is compressed, which torch.save never does")
        if flags & _REFUSED_FLAGS:
            raise _refused(file, f"its member {name} is encrypted")
        yield name, _member(content, header, size)
    if position != directory.stop:
        raise ValueError


def _in_64_bits(extra: memoryview, *numbers: int) -> Iterator[int]:
    """Yield the size, packed size and offset of an entry, from its zip64 field where they do not fit into 32 bits."""
    position, wide = 0, iter(())
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{min(3, length // 8)}Q", extra, position + 4))
            break
        position += 4 + length
    for number in numbers:
        wider = next(wide, None) if number == _LARGE else number
        if wider is None:
            raise ValueError
        yield wider


def _member(content: memoryview, header: int, size_bytes: int) -> ZipMember:
    fields = _LOCAL.unpack_from(content, header)
    signature, name_bytes, extra_bytes = fields[0], fields[9], fields[10]
    if signature != SIGNATURE:
        raise ValueError
    start = header + _LOCAL.size + name_bytes + extra_bytes
    return ZipMember(header, start, start + size_bytes)


def _refused(file: str, why: str) -> WrongContent:
    return WrongContent(
        f"{file} is not a valid weights file: {why}",
        hint="save the tensors again with torch.save, or as safetensors",
    )
