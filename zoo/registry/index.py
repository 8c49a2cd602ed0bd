"""Index the YAML files of a folder, and cache the index between runs.

A file is read again only when its size or modification time has changed. A file that was modified shortly before the index
was saved is compared by its digest instead. The index also holds what a list shows of each card and the values that cards
are found by, so a card is built only when it is used. Deleting the cache costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.registry.card import Card, from_document
from zoo.registry.document import Document, display, read_text, unread
from zoo.registry.document import read as read_document
from zoo.registry.files import FoundFile, walk
from zoo.registry.position import Place, Problem
from zoo.registry.quantities import percent
from zoo.registry.schema import data_root, problems
from zoo.runtime.storage import read_file, state_folder, write_file

MIN_FILES, MIN_BYTES = 64, 16_384
"""A folder with fewer files and less text than this has no cache: reading the files is as fast as reading the cache."""
CHECKSUM_BYTES = 32
"""The length of the SHA-256 before the content of a cache file, which costs 20 ms for 10,000 cards."""
MAX_BYTES = 1 << 30
"""The largest cache file that is read: that of 500,000 cards."""
FRESH_NS = 2 * 10**9
"""The coarsest clock of a file system, FAT's: a file may change twice within 2 s without a new modification time."""
FOLDER = "folder"
"""The kind of a link to a folder, which is not followed."""
MAX_NAME = 200
"""The longest name in a file that is not valid; its findings are shown under the file's name when that is longer."""
Key = tuple[str, str | int | None]
"""A value that cards are found by: `name` (and aliases), `url`, `sha256` (its first 8 digits), `size_bytes`, `collection`."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a list shows of a card; all values are claims.

    params, macs and flops are counts, top1 and top5 are in percent, image_size is the height of the input in pixels.
    """

    name: str
    collection: str | None = None
    task: str | None = None
    license: str | None = None
    library: str | None = None
    params: int | None = None
    macs: float | None = None
    flops: float | None = None
    top1: float | None = None
    top5: float | None = None
    dataset: str | None = None
    size_bytes: int | None = None
    image_size: int | None = None
    deprecated: str | None = None
    where: str = ""


@dataclass(slots=True)
class IndexEntry:
    """A file of a zoo: its `kind` (card, collection or dataset), its name, the values that it is found by, its row in a list.

    sha256: of its text, in hex. is_valid: whether it has no problems; only then can it be built.
    """

    file: str
    kind: str
    name: str
    sha256: str
    size_bytes: int
    mtime_ns: int
    keys: tuple[Key, ...]
    row: tuple[Any, ...]
    is_valid: bool
    content: Document | bytes = field(repr=False)
    _built: Any = field(default=None, repr=False)

    @property
    def path(self) -> Path:
        """The file as a Path."""
        return Path(self.file)

    @property
    def document(self) -> Document:
        """The file's data; the text is read again on first use."""
        if isinstance(self.content, bytes):
            data, start, packed_problems = json.loads(self.content)
            label = display(self.file)
            document_problems = tuple(
                Problem(tuple(at), Place(label, line, column), what, hint, tuple(fix) if fix else None)
                for at, line, column, what, hint, fix in packed_problems
            )
            self.content = Document(self.path, label, data, document_problems, None, self.sha256, start=tuple(start))
        return self.content

    def built(self, cls: type[Any]) -> Any:
        """Return the Card, Collection or Dataset, built on first use."""
        if self._built is None:
            self._built = from_document(cls, self.document)
        return self._built

    def as_row(self) -> Row:
        """Return the card's row in a list."""
        return Row(*(*self.row[:-1], f"{display(self.file)}:{self.row[-1]}"))


def scan(top: Path) -> list[IndexEntry]:
    """Return the entries of the YAML files below a folder, in the order of their paths; reads only those that changed."""
    found_files = list(walk(top))
    if len(found_files) < MIN_FILES and sum(item.status.st_size for item in found_files if item.status) < MIN_BYTES:
        return [read(Path(item.path), item) for item in found_files]
    cached = _load_entries(top)
    entries: list[IndexEntry] = []
    for item in found_files:
        entry, status = cached.get(item.path), None if item.is_link else item.status
        unchanged = status and entry and (entry.size_bytes, entry.mtime_ns) == (status.st_size, status.st_mtime_ns)
        entries.append(entry if entry is not None and unchanged else read(Path(item.path), item))
    to_cache = [entry for entry in entries if entry.size_bytes]
    if len(cached) != len(to_cache) or any(not isinstance(entry.content, bytes) for entry in to_cache):
        _save_entries(top, to_cache)
    return entries


def read(path: Path, found: FoundFile | None = None) -> IndexEntry:
    """Read one file, and return its entry. found: what `walk` found, which may say why the file is not read."""
    if found and found.problem:
        kind = FOLDER if found.is_folder_link else kind_of(path)
        document = unread(path, found.problem, found.hint)
        return IndexEntry(str(path), kind, _name_of(document), document.digest, 0, 0, (), (), False, document)
    kind = kind_of(path)
    document = read_document(path, found)
    document_problems = problems(document, kind)
    status = found.status if found and not found.is_link else None  # a link may change although its file does not
    size, mtime_ns = (status.st_size, status.st_mtime_ns) if status else (0, 0)
    is_card = kind == "card" and not document_problems
    return IndexEntry(
        str(path),
        kind,
        _name_of(document),
        hashlib.sha256(document.text.encode()).hexdigest(),
        size,
        mtime_ns,
        _keys(document.data) if is_card else (),
        (*_row(document.data), f"{document.start[0]}:{document.start[1]}") if is_card else (),
        not document_problems,
        document if document_problems == document.problems else replace(document, problems=document_problems),
    )


def kind_of(path: Path) -> str:
    """Return the kind of a file by its path: `collection` for collection.yaml, `dataset` in a folder `datasets`, else `card`."""
    if path.stem == "collection":
        return "collection"
    return "dataset" if path.absolute().parent.name == "datasets" else "card"


def _name_of(document: Document) -> str:
    """Return the name that the document gives, when it can be shown, else the file's without its ending."""
    name = document.data.get("name")
    if isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable():
        return name
    return document.path.stem if document.path.stem.isprintable() else display(document.path.stem)


# --- what the index holds of a card -------------------------------------------------------------------------------


def keys_in(data: Mapping[str, Any]) -> tuple[Key, ...]:
    """Return the values that a card is found by; for data that is not a valid card, at least its name."""
    try:
        return _keys(data)
    except (AttributeError, TypeError, ValueError, KeyError):
        return (("name", str(data.get("name"))),)


def _keys(data: Mapping[str, Any]) -> tuple[Key, ...]:
    keys: dict[Key, None] = {("name", name): None for name in [data["name"], *(data.get("aliases") or [])]}
    for weights in data.get("weights") or ():
        for url in weights.get("urls") or ():
            keys["url", url] = None
        if weights.get("sha256"):
            keys["sha256", weights["sha256"][:8]] = None
        if weights.get("size_bytes"):
            keys["size_bytes", int(weights["size_bytes"])] = None
    keys["collection", data.get("collection")] = None
    return tuple(keys)


def row_of(card: Card) -> Row:
    """Return a card's row in a list."""
    return Row(*(*_row(card.where.document.data), str(card.where)))


def _row(data: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the fields of Row in their order, without the last."""
    claims = data.get("claims") or {}
    flops, results = claims.get("flops") or [], claims.get("results") or []
    macs = next((claim["value"] for claim in flops if claim.get("convention") == "macs"), None)
    top1 = next((claim for claim in results if claim["metric"] == "top1"), None)
    dataset = top1["dataset"] if top1 else None
    top5 = next((claim for claim in results if claim["metric"] == "top5" and claim["dataset"] == dataset), None)
    size = (data.get("input") or {}).get("size")
    weights = (data.get("weights") or [{}])[0]
    return (
        data["name"],
        data.get("collection"),
        data.get("task"),
        data.get("license"),
        (data.get("builder") or {}).get("library"),
        (claims.get("params") or {}).get("value"),
        macs,
        macs if macs is not None else flops[0]["value"] if flops else None,
        _percent(top1),
        _percent(top5),
        dataset,
        weights.get("size_bytes"),
        size[1] if size else None,
        data.get("deprecated"),
    )


def _percent(claim: Mapping[str, Any] | None) -> float | None:
    return None if claim is None else float(percent(claim["value"], claim.get("unit")))


# --- the cache on the disk ----------------------------------------------------------------------------------------


def folder() -> Path:
    """Return the folder of the caches."""
    return state_folder("index")


_CODE = (
    "errors.py",
    "plugins.py",
    "runtime/environment.py",
    "runtime/json_form.py",
    "runtime/redaction.py",
    "runtime/spelling.py",
    "runtime/storage.py",
    "runtime/text.py",
    "verification/accept.py",
    "verification/checks/__init__.py",
    "verification/checks/consistency.py",
    "verification/checks/schema.py",
    "verification/lint.py",
    "verification/report.py",
)
"""The code outside of the registry and the folder of rules that the results of `zoo validate` depend on."""


@cache
def code_sha256() -> str:
    """Return the SHA-256, in hex, of everything that cached results depend on: code, schemas, the version of Python."""
    zoo = Path(__file__).parents[1]
    paths = [zoo / name for name in _CODE]
    paths += sorted((zoo / "registry").glob("*.py")) + sorted((zoo / "verification" / "rules").glob("*.py"))
    paths += sorted((data_root() / "schemas").glob("*.json"))
    digest = hashlib.sha256(f"{sys.version}{marshal.version}".encode())
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read_cache(name: str) -> Any:
    """Return the value that exactly this code cached under that name; None when there is none or the file is damaged."""
    content = read_file(folder() / name, MAX_BYTES) or b""
    payload = memoryview(content)[CHECKSUM_BYTES:]
    if content[:CHECKSUM_BYTES] != _checksum(name, payload):  # marshal may hang or crash on bytes that it did not write
        return None
    try:
        return marshal.loads(payload)
    except (ValueError, EOFError, TypeError):
        return None


def write_cache(name: str, value: Any) -> None:
    """Cache a value of plain data under that name. When writing fails, the next run computes the value again."""
    payload = marshal.dumps(value)
    with suppress(OSError):
        write_file(folder() / name, _checksum(name, payload) + payload)


def _checksum(name: str, payload: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(f"{code_sha256()} {name}\n".encode())
    digest.update(payload)
    return digest.digest()


def cache_name(tops: Iterable[Path | str], suffix: str) -> str:
    """Return the name of the cache file about these folders."""
    text = "\0".join(map(os.path.abspath, tops))
    return f"{hashlib.sha256(os.fsencode(text)).hexdigest()[:32]}.{suffix}"


def _load_entries(top: Path) -> dict[str, IndexEntry]:
    saved = read_cache(cache_name([top], "cards"))
    if not _is_saved(saved):
        return {}
    saved_ns, rows = saved
    entries: dict[str, IndexEntry] = {}
    for path, kind, name, sha256, size, mtime_ns, keys, row, is_valid, content in rows:
        if mtime_ns > saved_ns - FRESH_NS and _sha256(path) != sha256:
            continue
        entries[path] = IndexEntry(path, kind, name, sha256, size, mtime_ns, keys, row, is_valid, content)
    return entries


def _is_saved(saved: Any) -> bool:
    """Return whether a cached value has the types that `_save_entries` writes."""
    return (
        isinstance(saved, tuple)
        and list(map(type, saved)) == [int, list]
        and all(isinstance(entry, tuple) and tuple(map(type, entry)) == _SAVED_TYPES for entry in saved[1])
    )


_SAVED_TYPES = (str, str, str, str, int, int, tuple, tuple, bool, bytes)


def _save_entries(top: Path, entries: list[IndexEntry]) -> None:
    rows = [
        (entry.file, entry.kind, entry.name, entry.sha256, entry.size_bytes, entry.mtime_ns, entry.keys, entry.row, entry.is_valid, _pack(entry))
        for entry in entries
        if entry.content != b""
    ]  # fmt: skip
    write_cache(cache_name([top], "cards"), (time.time_ns(), rows))


def _pack(entry: IndexEntry) -> bytes:
    if isinstance(entry.content, bytes):
        return entry.content
    document = entry.content
    packed_problems = [
        [list(item.pointer), item.place.line, item.place.column, item.what, item.hint, item.fix]
        for item in document.problems
    ]
    return json.dumps([document.data, document.start, packed_problems], separators=(",", ":")).encode()


def _sha256(path: str) -> str:
    try:
        return hashlib.sha256(read_text(Path(path)).encode()).hexdigest()
    except (ZooError, OSError, UnicodeDecodeError):
        return ""
