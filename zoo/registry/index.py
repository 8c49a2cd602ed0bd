"""A folder of YAML -> what each file holds, remembered from one run to the next.

A file that has the size and time of change that it had is not read again; one that was changed shortly before it was
remembered is known by its digest only. Cards are built when they are asked for: what a list shows, and by which values
cards are found, is remembered beside them. Forgetting all of it costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from zoo.registry.card import Card, from_document
from zoo.registry.document import Document, display, read_text
from zoo.registry.document import read as read_document
from zoo.registry.position import Place, Problem
from zoo.registry.schema import data_root, problems
from zoo.runtime.storage import state_folder, write_atomically

FEWEST, LEAST_BYTES = 64, 16_384
"""A folder of fewer files, or of less text, is read as quickly as it is remembered."""
CHECKSUM_BYTES = 4
"""Of a CRC-32 before the content of an index: damage is noticed, which costs 10 ms for 10,000 cards."""
FRESH_NS = 2 * 10**9
"""A file may be changed twice within one tick of its file system's clock: FAT's is 2 s."""
Key = tuple[str, str | int | None]
"""A value by which cards are found: `name` (and aliases), `url`, `sha256` (its first 8 digits), `size_bytes`, `collection`."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a list shows of a card, all of it claimed. params and macs are counts, top1 and top5 are in percent, image_size
    is the height of the input."""

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
    """A file: its `kind` (card, collection or dataset), its name, the values by which it is found, what a list shows.

    sha256 is of its bytes. `is_valid` says that it has no problems; then it can be built.
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
        """The file."""
        return Path(self.file)

    @property
    def document(self) -> Document:
        """The file's data; its text is read again when somebody asks for it."""
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
        """The Card, Collection or Dataset, made when it is first asked for."""
        if self._built is None:
            self._built = from_document(cls, self.document)
        return self._built

    def as_row(self) -> Row:
        """What a list shows of the card."""
        return Row(*(*self.row[:-1], f"{display(self.file)}:{self.row[-1]}"))


def scan(top: Path) -> list[IndexEntry]:
    """The files below a folder, in their order; only those that changed are read."""
    files = list(_files(str(top)))
    if len(files) < FEWEST and sum(stat.st_size for _, stat in files) < LEAST_BYTES:
        return [read(Path(file), stat) for file, stat in files]
    cached = _load_entries(top)
    entries: list[IndexEntry] = []
    for file, stat in files:
        entry = cached.get(file)
        unchanged = entry is not None and (entry.size_bytes, entry.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
        entries.append(entry if entry is not None and unchanged else read(Path(file), stat))
    if len(cached) != len(entries) or any(not isinstance(entry.content, bytes) for entry in entries):
        _save_entries(top, entries)
    return entries


def read(path: Path, stat: os.stat_result | None = None) -> IndexEntry:
    """One file, read now."""
    kind = kind_of(path)
    document = read_document(path)
    document_problems = problems(document, kind)
    name = document.data.get("name")
    entry_name = name if isinstance(name, str) and name else path.stem
    size, mtime_ns = (stat.st_size, stat.st_mtime_ns) if stat else (0, 0)
    is_card = kind == "card" and not document_problems
    return IndexEntry(
        str(path),
        kind,
        entry_name,
        hashlib.sha256(document.text.encode()).hexdigest(),
        size,
        mtime_ns,
        _keys(document.data) if is_card else (),
        (*_row(document.data), f"{document.start[0]}:{document.start[1]}") if is_card else (),
        not document_problems,
        document if document_problems == document.problems else replace(document, problems=document_problems),
    )


def kind_of(path: Path) -> str:
    """What a file is by its place: `collection.yaml`, a data set in a folder `datasets`, else a card."""
    if path.stem == "collection":
        return "collection"
    return "dataset" if path.absolute().parent.name == "datasets" else "card"


def _files(top: str) -> Iterator[tuple[str, os.stat_result]]:
    """The YAML files below a folder in the order of their paths, those and folders that begin with a point left out."""
    with os.scandir(top) as entries:
        sorted_entries = sorted(entries, key=lambda entry: entry.name)
    for entry in sorted_entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _files(entry.path)
        elif entry.name.endswith((".yaml", ".yml")) and entry.is_file():
            yield entry.path, entry.stat()


# --- what is remembered of a card ---------------------------------------------------------------------------------


def keys_in(data: Mapping[str, Any]) -> tuple[Key, ...]:
    """The values by which a card is found; of data that is no card, those that it has all the same."""
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
    """What a list shows of a card."""
    return Row(*(*_row(card.where.document.data), str(card.where)))


def _row(data: Mapping[str, Any]) -> tuple[Any, ...]:
    """The fields of Row in their order, without the last."""
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
    return None if claim is None else float(claim["value"] * (100 if claim.get("unit") == "fraction" else 1))


# --- the index on the disk ----------------------------------------------------------------------------------------


def folder() -> Path:
    """Where indexes lie."""
    return state_folder("index")


_CODE = ("errors.py", "runtime/spelling.py", "verification/lint.py", "verification/checks/consistency.py")
"""What judges cards outside of the registry and the folder of rules."""


@cache
def code_sha256() -> str:
    """SHA-256 of all that can change what is remembered: this package's reading and judging code, its schemas, Python."""
    zoo = Path(__file__).parents[1]
    paths = [zoo / name for name in _CODE]
    paths += sorted((zoo / "registry").glob("*.py")) + sorted((zoo / "verification" / "rules").glob("*.py"))
    paths += sorted((data_root() / "schemas").glob("*.json"))
    digest = hashlib.sha256(f"{sys.version}{marshal.version}".encode())
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read_cache(name: str) -> Any:
    """What was kept under that name by this very code, or None, also where the file is damaged."""
    try:
        content = (folder() / name).read_bytes()
        checksum, payload = content[:CHECKSUM_BYTES], memoryview(content)[CHECKSUM_BYTES:]
        if checksum != _checksum(payload):  # marshal may hang on bytes that it did not write
            return None
        stamp, value = marshal.loads(payload)
    except (OSError, ValueError, EOFError, TypeError):
        return None
    return value if stamp == code_sha256() else None


def write_cache(name: str, value: Any) -> None:
    """Keep a value of plain data under that name; where that cannot be done, the next run finds out again."""
    payload = marshal.dumps((code_sha256(), value))
    with suppress(OSError):
        write_atomically(folder() / name, _checksum(payload) + payload)


def _checksum(payload: bytes | memoryview) -> bytes:
    return zlib.crc32(payload).to_bytes(CHECKSUM_BYTES, "big")


def cache_name(tops: Iterable[Path | str], suffix: str) -> str:
    """The name under which something about some folders is kept."""
    text = "\0".join(map(os.path.abspath, tops))
    return f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.{suffix}"


def _load_entries(top: Path) -> dict[str, IndexEntry]:
    saved = read_cache(cache_name([top], "cards"))
    if saved is None:
        return {}
    saved_ns, rows = saved
    entries: dict[str, IndexEntry] = {}
    for path, kind, name, sha256, size, mtime_ns, keys, row, is_valid, content in rows:
        if mtime_ns > saved_ns - FRESH_NS and _sha256(path) != sha256:
            continue
        entries[path] = IndexEntry(path, kind, name, sha256, size, mtime_ns, keys, row, is_valid, content)
    return entries


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
    except (OSError, UnicodeDecodeError):
        return ""
