"""Locate the folder where zoo keeps its state, write files there atomically, and read back only what zoo wrote.

What zoo remembers is in JSON files with a checksum over their content and their name. A file that is damaged, copied from
elsewhere, too large or not a regular file counts as missing: zoo measures again and replaces it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import UsageError

STATE_VERSION = 2
"""The version of the state below `home()`. Version 1, of zoo 0.1, kept its folders directly there."""
MAX_BYTES = 16 << 20
"""The most bytes of a JSON file that zoo reads back. A fact about FLOPs, the largest, has 0.1 MB."""
Check = Callable[[Any], bool]
"""Whether a value has the form that its reader relies on; see zoo.runtime.json_form."""
_SEAL_START, _SEAL_BYTES = b'{"checksum":"', len(b'{"checksum":"') + 65


def home() -> Path:
    """Return the folder of everything that zoo keeps: ZOO_HOME, else `zoo` in the user's cache folder.

    Raises UsageError when ZOO_HOME names the home folder of an unknown user, or is not set and the user has no home folder.
    """
    configured = os.environ.get("ZOO_HOME")
    if configured:
        return _expanded(configured).absolute()
    import platformdirs

    folder = platformdirs.user_cache_path("zoo")
    if not folder.is_absolute():
        raise UsageError("cannot determine your home folder: HOME is not set", hint="export ZOO_HOME=/absolute/path")
    return folder


def state_folder(*names: str) -> Path:
    """Return a folder, by its names, in the state of this version of zoo: facts, ranks, indexes or reports.

    An earlier version's folders are elsewhere, so zoo never reads them (see zoo.weights.upgrade).
    """
    return home().joinpath(f"v{STATE_VERSION}", *names)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write the content (text as UTF-8) to a file, completely or not at all, also when several processes write it at once.

    A replaced file keeps its permissions. Raises OSError when writing fails.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        with suppress(OSError):  # a new file has no permissions to keep, and some file systems have none at all
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a new file in the same folder, which replaces `path` unless the block raises.

    Every process gets a file of its own, so several may write the same `path` at once. Raises OSError when writing fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_file(path: Path, max_bytes: int) -> bytes | None:
    """Return the bytes of a regular file; None when it is another kind of file, larger, or not readable. Never blocks."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > max_bytes:
            return None
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
        return content if len(content) <= max_bytes else None
    except (OSError, MemoryError):
        return None
    finally:
        os.close(descriptor)


def read_json(path: Path, check: Check, *, max_bytes: int = MAX_BYTES) -> Any:
    """Return the object in a file that `write_json` wrote; None when the file is missing, damaged, or fails the check.

    The checksum proves that zoo wrote these bytes to a file of this name. The check validates the form of all that the
    caller uses.
    """
    content = read_file(path, max_bytes)
    body = None if content is None else _unsealed(path, content)
    if body is None:
        return None
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError, MemoryError):
        return None
    return value if check(value) else None


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write an object for `read_json`, in place of whatever has that name.

    Raises OSError when writing fails, TypeError or ValueError when the object is not JSON.
    """
    write_file(path, sealed(path, data))


def write_file(path: Path, content: bytes) -> None:
    """Write a file of zoo's own atomically, in place of whatever has that name. Raises OSError when writing fails."""
    try:
        _replace_file(path, content)
    except OSError:
        if not clear_way(path):
            raise
        _replace_file(path, content)


def clear_way(path: Path) -> bool:
    """Move what is in the way of a file below `home()` to the quarantine, and return whether there was something.

    It is a folder with the file's name, or something else with the name of one of its folders.
    """
    top = home()
    folders = [folder for folder in reversed(path.parents) if top in folder.parents]
    blocked = [folder for folder in folders if os.path.lexists(folder) and not folder.is_dir()]
    if folders and path.is_dir() and not path.is_symlink():
        blocked.append(path)
    for place in blocked:
        target = top / "quarantine" / f"{os.urandom(8).hex()}-{place.name}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            place.rename(target)
        except OSError:
            return False
    return bool(blocked)


def keep_json(path: Path, data: Mapping[str, Any]) -> bool:
    """Write an object as `write_json` does, and return whether it was written.

    When writing fails, this run goes on, a later run computes the value again, and `take_lost_write` gives the reason.
    """
    try:
        write_json(path, data)
    except OSError as error:
        note_lost_write(f"cannot keep results in {home()}: {error.strerror or error}")
        return False
    except (TypeError, ValueError, RecursionError):  # a plug-in measured something that is not JSON
        return False
    return True


_lost_write, _expects_writes = "", False


def note_lost_write(what: str) -> None:
    """Remember, for `take_lost_write`, that something could not be kept; the first such message counts."""
    global _lost_write
    _lost_write = _lost_write or what


def expect_writes() -> None:
    """Remember, for `take_lost_write`, that this process or its workers measure something that is to be kept."""
    global _expects_writes
    _expects_writes = True


def take_lost_write() -> str:
    """Return what could not be kept below `home()` since the last call, and why, for people; empty when all was kept.

    What workers lost shows too, unless the reason has passed: after `expect_writes`, a small file is written and removed.
    """
    global _lost_write, _expects_writes
    probe = state_folder(f"probe-{os.getpid()}.json")
    if _expects_writes and keep_json(probe, {}):
        _remove(probe)
    taken, _lost_write, _expects_writes = _lost_write, "", False
    return taken


def sealed(path: Path, data: Mapping[str, Any]) -> bytes:
    """Return the bytes that `read_json` accepts in a file of that path: the object as JSON, a checksum as its first key.

    Raises TypeError or ValueError when the object is not JSON.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    body = text.encode()
    rest = b"}" if body == b"{}" else b"," + body[1:]
    return b'%s%s"%s' % (_SEAL_START, _checksum(path, body), rest)


@dataclass(frozen=True, slots=True)
class JsonFolder:
    """The JSON objects in the files of one folder. The folder need not exist."""

    folder: Path

    def read(self, check: Check, *, max_bytes: int = MAX_BYTES) -> Iterator[Any]:
        """Yield the object of every file, in no particular order. A file that `read_json` refuses is removed."""
        for path in self._paths():
            value = read_json(path, check, max_bytes=max_bytes)
            if value is None:
                _remove(path)
            else:
                yield value

    def add(self, data: Mapping[str, Any]) -> bool:
        """Add one object, and return whether it was written; see `keep_json`."""
        return keep_json(self.folder / f"{os.urandom(8).hex()}.json", data)

    def replace(self, data: Mapping[str, Any]) -> None:
        """Replace all current objects by one, unless it cannot be written."""
        old = self._paths()
        if self.add(data):
            for path in old:
                _remove(path)

    def clear(self) -> None:
        """Remove all objects."""
        for path in self._paths():
            _remove(path)

    def _paths(self) -> list[Path]:
        try:
            return sorted(path for path in self.folder.iterdir() if path.suffix == ".json")
        except OSError:
            return []


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # pathlib's error for a home folder that it cannot determine
        user = path.partition("/")[0]
        raise UsageError(
            f"ZOO_HOME is {path}, but there is no home folder {user}", hint="export ZOO_HOME=/absolute/path"
        ) from error


def _checksum(path: Path, body: bytes) -> bytes:
    """Return the SHA-256, in hex, of the last two parts of the path and the JSON text."""
    name = os.fsencode(f"{path.parent.name}/{path.name}\n")
    return hashlib.sha256(name + body).hexdigest().encode()


def _unsealed(path: Path, content: bytes) -> bytes | None:
    """Return the JSON text without its checksum; None when the checksum is missing or of other bytes."""
    head, rest = content[:_SEAL_BYTES], content[_SEAL_BYTES:].rstrip(b" ")
    body = b"{" + rest[1:] if rest[:1] == b"," else rest and b"{" + rest
    return body if body and head == b'%s%s"' % (_SEAL_START, _checksum(path, body)) else None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _replace_file(path: Path, content: bytes) -> None:
    """Replace a file without keeping its permissions: a file of zoo that zoo cannot read must not stay so."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            clear_way(path)
        else:
            path.unlink(missing_ok=True)
