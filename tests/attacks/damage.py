"""Damage files below ZOO_HOME: what a full disk, a crash, another program or a hostile user leaves in their place."""

from __future__ import annotations

import os
import random
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from tests.helpers.state import load, rewrite

SPARSE_BYTES = 5 * 10**9
DEEP = b"[" * 100_000 + b"]" * 100_000


def _replaced_by(content: bytes) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        _remove(path)
        path.write_bytes(content)

    return replace


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = random.Random(len(content)).randrange(len(content))
    content[place] ^= 1
    path.write_bytes(bytes(content))


def _other_digit(path: Path) -> None:
    """Change the last digit in the file, so that it stays JSON of the same form."""
    content = path.read_bytes()
    place = max(content.rfind(digit) for digit in b"0123456789")
    path.write_bytes(content[:place] + (b"1" if content[place : place + 1] != b"1" else b"2") + content[place + 1 :])


def _fifo(path: Path) -> None:
    _remove(path)
    os.mkfifo(path)


def _socket(path: Path) -> None:
    _remove(path)
    here = os.open(path.parent, os.O_RDONLY)  # the address of a socket has 107 characters at most
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


def _device(path: Path) -> None:
    """Put a device in the file's place: one of endless zeros; a link to it where only root may make one."""
    _remove(path)
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        path.symlink_to("/dev/zero")


def _folder(path: Path) -> None:
    _remove(path)
    path.mkdir()
    (path / "file").write_text("of another user")


def _link(target: str) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        _remove(path)
        path.symlink_to(target or path)

    return replace


def _sparse(path: Path) -> None:
    _remove(path)
    with path.open("wb") as file:
        file.truncate(SPARSE_BYTES)


def _unreadable(path: Path) -> None:
    path.write_bytes(b"{}")
    path.chmod(0)


def _sealed_as(data: object) -> Callable[[Path], None]:
    """Return the damage of an object of another form with a checksum that is right: what a faulty zoo could write."""

    def replace(path: Path) -> None:
        rewrite(path, lambda _: data if isinstance(data, dict) else {"value": data, "evidence": data})

    return replace


def _as_texts(path: Path) -> None:
    """Turn each value at the top into a text, with a right checksum."""
    rewrite(path, lambda data: {key: str(value) for key, value in data.items()})


def _of_another(path: Path) -> None:
    """Put another file of zoo, which is right in itself, in this one's place."""
    others = sorted(other for other in path.parent.parent.rglob("*.json") if other != path and other.is_file())
    if others:
        path.write_bytes(others[0].read_bytes())
    else:
        path.write_bytes(b"{}")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": _replaced_by(b""),
    "null": _replaced_by(b"null"),
    "list": _replaced_by(b"[]"),
    "object": _replaced_by(b"{}"),
    "text": _replaced_by(b'"value"'),
    "other keys": _replaced_by(b'{"value": {"value": []}, "evidence": 1, "images": 3, "indices": "abc", "ranks": 5}'),
    "unsealed fact": _replaced_by(b'{"value": "x", "evidence": {}}'),
    "deep": _replaced_by(DEEP),
    "deep object": _replaced_by(b'{"value": ' + DEEP + b', "evidence": {}}'),
    "numbers": _replaced_by(b'{"value": NaN, "evidence": {"counts": {"images": -1, "top1": 1e999, "top5": true}}}'),
    "large number": _replaced_by(b'{"value": ' + b"9" * 5000 + b', "evidence": {}}'),
    "binary": _replaced_by(bytes(range(256)) * 16),
    "zeros": _replaced_by(bytes(4096)),
    "surrogate": _replaced_by(b'{"value": "\\ud800", "evidence": {"\\udfff": 1}}'),
    "truncated": _truncate,
    "flipped": _flip,
    "other digit": _other_digit,
    "fifo": _fifo,
    "socket": _socket,
    "device": _device,
    "folder": _folder,
    "dangling link": _link("/nonexistent/file"),
    "looping link": _link(""),
    "link to zeros": _link("/dev/zero"),
    "sparse": _sparse,
    "unreadable": _unreadable,
    "of another": _of_another,
}
"""By name: what is done to any file."""
SEALED_DAMAGES: dict[str, Callable[[Path], None]] = {
    "other form": _sealed_as({"value": [1], "evidence": {}}),
    "number for object": _sealed_as(5),
    "boolean": _sealed_as(True),
    "texts": _as_texts,
}
"""By name: what is done to a JSON file of zoo, with a right checksum."""


def state_files(home: Path) -> list[Path]:
    """The files that zoo remembers results in, and that may be damaged without a change of what it finds."""
    return sorted(path for path in (home / "v2").rglob("*") if path.is_file() and not path.name.startswith("."))


def is_sealed(path: Path) -> bool:
    """Whether it is a JSON file with a right checksum that can be rewritten."""
    try:
        return bool(path.suffix == ".json" and load(path) is not None)
    except (ValueError, KeyError, OSError):
        return False


def _remove(path: Path) -> None:
    path.chmod(0o644)
    path.unlink()
