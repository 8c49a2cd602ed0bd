"""Find and open the files that a card or another document names: the one door to them.

A card is a stranger's. It may name regular files in its own folder by their plain names, and nothing else: no path, no link
that leads out of the folder, no FIFO, device or socket. A file is opened without following a link, and the open file is
compared with the one that was examined, so replacing the file between the two steps is of no use. `walk` finds the cards
below a folder under the same rules.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import CannotCheck, CardError
from zoo.runtime.text import shell

INSTALLED = Path(__file__).parents[1] / "_data"
"""The cards and schemas in an installed package. Installers may put links to a cache there (`uv --link-mode symlink`)."""
MAX_DEPTH = 64
"""The levels of folders below a folder of cards."""
_PLAIN_NAME = re.compile(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*\Z")
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
"""O_NONBLOCK: opening a FIFO would wait for a writer. O_NOCTTY: opening a terminal would make it the process's own."""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(slots=True)  # not frozen: ten thousand are made at once, and frozen ones take three times as long
class FoundFile:
    """A YAML file below the folder `top`, or something that is not read: then `problem` says why, and `status` is None.

    is_folder_link: whether it is a link to a folder, which is not followed.
    """

    path: str
    top: Path
    status: os.stat_result | None
    problem: str = ""
    hint: str = ""
    is_folder_link: bool = False
    is_link: bool = False


def plain_name(name: str, where: str = "") -> str:
    """Return the name if it is that of a file without a path; raises CardError, at `where`, if it is not."""
    if _PLAIN_NAME.match(name):
        return name
    hint = "give the name of a file in the card's folder, without a path or a leading dot"
    raise CardError(f"{name!r} is not a plain file name", where=where, hint=hint)


def path_beside(document: Path, name: str, where: str = "") -> Path | None:
    """Return the absolute path of a file that a document names, in the document's folder; None when it does not exist.

    A link within the folder is resolved. `where` is the place of the name, for messages. Raises CardError when the name has
    a path, the file is not a regular one, or it is a link out of the folder; CannotCheck when the folder is not readable.
    """
    folder = document.absolute().parent
    try:
        return _examine(folder / plain_name(name, where), folder)[0]
    except FileNotFoundError:
        return None
    except CardError as error:
        error.where = where
        raise
    except OSError as error:
        raise CannotCheck(f"cannot read {name}: {error.strerror}", where=where) from error


def read_beside(document: Path, name: str, most_bytes: int, where: str = "") -> bytes | None:
    """Return the content of a file that a document names, as `path_beside` finds it; None when it does not exist.

    Raises CardError also when the file has more than `most_bytes`.
    """
    path = path_beside(document, name, where)
    if path is None:
        return None
    try:
        return read(path, most_bytes)
    except FileNotFoundError:
        return None
    except CardError as error:
        error.where = where
        raise
    except OSError as error:
        raise CannotCheck(f"cannot read {name}: {error.strerror}", where=where) from error


def read(path: Path, most_bytes: int, *, folder: Path | None = None, found: os.stat_result | None = None) -> bytes:
    """Return the content of a regular file. A link is followed only within `folder`, by default the file's.

    found: what `walk` found, when the file must still be that one. Raises CardError when the file is not a regular one, is a
    link out of the folder, or has more than `most_bytes`; CannotCheck when it was replaced meanwhile; OSError when it does
    not exist or is not readable.
    """
    descriptor = _open(path, folder or path.parent, found)
    try:
        size_bytes = os.fstat(descriptor).st_size
        content = b""
        while size_bytes <= most_bytes and (block := os.read(descriptor, size_bytes + 1)):
            content += block  # a file may grow, and files of /proc have more bytes than their size
            size_bytes = max(size_bytes, len(content))
    finally:
        os.close(descriptor)
    if size_bytes > most_bytes:
        raise CardError(f"the file is larger than {most_bytes} bytes, the limit", where=str(path))
    return content


def _open(path: Path, folder: Path, found: os.stat_result | None) -> int:
    """Return the descriptor of a regular file; raises as `read` does."""
    if found is not None:
        with suppress(OSError):  # it is a link, or not readable
            descriptor = os.open(path, _FLAGS)
            return _same(descriptor, found, path)
    real, examined = _examine(path, folder)
    descriptor = os.open(path, _FLAGS) if real is path else _open_below(folder, real)
    return _same(descriptor, found or examined, path)


def _same(descriptor: int, expected: os.stat_result, path: Path) -> int:
    """Return the descriptor when it is that of the expected file; else close it and raise CannotCheck."""
    if os.path.samestat(os.fstat(descriptor), expected):
        return descriptor
    os.close(descriptor)
    raise CannotCheck(f"{path.name} was replaced while zoo was opening it", hint="run the command again")


def real_path(path: Path) -> Path:
    """Return the path without links. Unlike `Path.resolve`, it accepts links that form a circle."""
    return Path(os.path.realpath(path))


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path is a folder or below it, when all links in both are resolved."""
    return real_path(path).is_relative_to(real_path(folder))


def walk(top: Path) -> Iterator[FoundFile]:
    """Yield the YAML files below a folder in the order of their paths, and what is not read there.

    Files and folders whose name starts with a dot are left out. A link to a folder is reported and never followed, so that a
    folder is read once and nothing outside `top` is read. `top` itself may be a link: the user names it.
    """
    yield from _walk(str(top), top, None, 0)


def _walk(path: str, top: Path, parent: int | None, depth: int) -> Iterator[FoundFile]:
    """Yield what is in a folder. `parent`: the descriptor of the folder that it is in, None for the top."""
    if depth > MAX_DEPTH:
        what, hint = f"folders are nested deeper than {MAX_DEPTH} levels", "move the cards up"
        yield FoundFile(path, top, None, what, hint)
        return
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if parent is None else os.O_NOFOLLOW)
        folder = os.open(path if parent is None else os.path.basename(path), flags, dir_fd=parent)  # noqa: PTH119
    except OSError as error:
        yield FoundFile(path, top, None, f"cannot read the folder: {error.strerror}")
        return
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
        below = path.rstrip("/") + "/"
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            if name.endswith((".yaml", ".yml")) and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # removed since the folder was listed
                    yield FoundFile(below + name, top, entry.stat(follow_symlinks=False))
            else:
                yield from _found(entry, below + name, top, folder, depth)
    finally:
        os.close(folder)


def _found(entry: os.DirEntry[str], path: str, top: Path, folder: int, depth: int) -> Iterator[FoundFile]:
    """Yield what is found of an entry that is not a plain YAML file."""
    is_yaml = entry.name.endswith((".yaml", ".yml"))
    try:
        if entry.is_symlink():
            if is_yaml or entry.is_dir():
                yield _found_link(entry, path, top)
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(path, top, folder, depth + 1)
        elif is_yaml:
            yield FoundFile(path, top, None, f"{_kind(entry.stat(follow_symlinks=False))}, not a regular file")
    except OSError as error:
        yield FoundFile(path, top, None, f"cannot read the file: {error.strerror}")


def _found_link(entry: os.DirEntry[str], path: str, top: Path) -> FoundFile:
    if entry.is_dir():
        hint = f"move the folder here, or read it with --cards {shell(path)}"
        return FoundFile(path, top, None, "a link to a folder, which zoo does not follow", hint, is_folder_link=True)
    try:
        return FoundFile(path, top, _examine(Path(path), top)[1], is_link=True)
    except CardError as error:
        return FoundFile(path, top, None, error.what, error.hint)


def _examine(path: Path, folder: Path) -> tuple[Path, os.stat_result]:
    """Return the path of a regular file without a link, and its status.

    Raises CardError for a link out of the folder, and for anything but a regular file; OSError when it is not readable.
    """
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        real = real_path(path)
        if not (is_inside(real, folder) or path.is_relative_to(INSTALLED)):
            what = f"{path.name} is a link that leads out of its folder"
            raise CardError(what, hint="put the file itself there")
        path, status = real, os.lstat(real)
    if not stat.S_ISREG(status.st_mode):
        raise CardError(f"{path.name} is {_kind(status)}, not a regular file", hint="put a regular file there")
    return path, status


def _open_below(folder: Path, real: Path) -> int:
    """Open a file by its path without links. No part of the path below the folder may have become a link meanwhile."""
    top = real_path(folder)
    if not real.is_relative_to(top):  # in an installed package
        return os.open(real, _FLAGS)
    *parents, name = real.relative_to(top).parts
    descriptors = [os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
    try:
        for part in parents:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptors.append(os.open(part, flags, dir_fd=descriptors[-1]))
        return os.open(name, _FLAGS, dir_fd=descriptors[-1])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _kind(status: os.stat_result) -> str:
    return next((kind for fits, kind in _KINDS if fits(status.st_mode)), "a link")
