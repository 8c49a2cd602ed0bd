"""Sources -> drafts -> card files: finds the documents, names what they hold, and plans every file before one is written.

A name is no key upstream. Drafts that are one (equal data) become one card that remembers all its documents; different
ones of one name all survive, under names that tell them apart.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo import plugins
from zoo.conversion.dialects import Draft, ReadResult, SourceFile
from zoo.errors import UsageError
from zoo.registry.card import canonical_json
from zoo.registry.document import LARGEST_BYTES
from zoo.registry.edit import card_text, create, in_order
from zoo.registry.position import Place, Problem
from zoo.registry.quantities import digest_in_name
from zoo.registry.schema import schema

LONGEST_NAME = 120
"""Characters of a card's name and file name; file systems take 255 bytes, `.yaml` and a number included."""
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d|collection|datasets)\Z", re.IGNORECASE)
"""Names that Windows gives to devices (learn.microsoft.com/windows/win32/fileio/naming-a-file, seen 2026-11-24), and those
that a zoo's folders have a meaning for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an import would write: new files with their texts, how many are there already, and what there is to say."""

    files: Mapping[Path, str]
    unchanged: int = 0
    models: int = 0
    documents: int = 0
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _ImportState:
    """The drafts of all sources, while they are read."""

    drafts: list[Draft] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    formats: dict[str, str] = field(default_factory=dict)
    read_paths: set[Path] = field(default_factory=set)


def plan(sources: Sequence[str], to: Path, *, format_name: str | None = None, results: Path | None = None) -> Plan:
    """The files that importing these sources into the folder `to` would write.

    Raises UsageError for a source that is not there or that no format fits, and where a planned file is there with
    other content; the problems of single documents are in the plan, and those documents are left out whole.
    """
    state = _ImportState()
    for source in sources:
        _read_source(source, state, format_name, results)
    files = _files(state, to)
    taken = [path for path, text in files.items() if path.exists() and path.read_text(encoding="utf-8") != text]
    if taken:
        raise UsageError(
            f"{len(taken)} of the files that this would write are there and differ",
            where=str(taken[0]),
            hint="import into another folder, or remove them",
        )
    new = {path: text for path, text in files.items() if not path.exists()}
    return Plan(
        new,
        len(files) - len(new),
        sum(path.name != "collection.yaml" for path in files),
        len({draft.document for draft in state.drafts}),
        tuple(state.problems),
        tuple(dict.fromkeys(state.notes)),
    )


def write_files(planned: Plan) -> None:
    """Write the planned files, each whole."""
    for path, text in planned.files.items():
        create(path, text)


# --- sources ------------------------------------------------------------------------------------------------------


def _read_source(source: str, state: _ImportState, format_name: str | None, results: Path | None) -> None:
    scheme, colon, pattern = source.partition(":")
    if colon and scheme in plugins.names("dialects") and not Path(source).exists():
        dialect = plugins.load("dialects", scheme)
        if not hasattr(dialect, "published"):
            raise UsageError(f"{scheme} reads files", where=source, hint=f"zoo import {pattern} --format {scheme}")
        _add_result(dialect.published(pattern, results), scheme, state)
        return
    top = Path(source)
    if not top.exists():
        schemes = ", ".join(f"{name}:PATTERN" for name in plugins.names("dialects") if _publishes(name))
        raise UsageError(f"there is no file or folder {source}", hint=f"give a path, or one of {schemes}")
    before = len(state.drafts), len(state.problems), len(state.read_paths)
    for path in _walk(top):
        _read_file(path, _label(path, top), state, format_name, is_asked=path == top)
    if before == (len(state.drafts), len(state.problems), len(state.read_paths)):
        raise UsageError("no format fits anything here", where=source, hint="zoo import --help lists the formats")


def _publishes(name: str) -> bool:
    return hasattr(plugins.load("dialects", name), "published")


def _walk(top: Path) -> Iterator[Path]:
    if not top.is_dir():
        yield top
        return
    for path in sorted(top.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(top).parts):
            yield path


def _label(path: Path, top: Path) -> str:
    """How cards call a document: the path below the folder that was given, that folder's name first."""
    base = top if top.is_dir() else top.parent
    folder = base.resolve().name
    return (Path(folder) / path.relative_to(base)).as_posix()


def _read_file(path: Path, label: str, state: _ImportState, format_name: str | None, *, is_asked: bool) -> None:
    if path.resolve() in state.read_paths:
        return
    dialects = [format_name] if format_name else list(plugins.names("dialects"))
    if not is_asked:
        dialects = [name for name in dialects if not getattr(plugins.load("dialects", name), "only_if_asked", False)]
    fitting = [
        name for name in dialects if path.suffix.lower() in getattr(plugins.load("dialects", name), "suffixes", ())
    ]
    if not fitting:
        if is_asked:
            state.problems.append(_problem(label, f"no format reads {path.suffix or 'such'} files"))
        return
    text = _read_text(path, label, state, is_asked=is_asked)
    if text is None:
        return
    file = SourceFile(path, label, text)
    for name in fitting:
        dialect = plugins.load("dialects", name)
        if (format_name and is_asked) or dialect.recognises(file):
            state.read_paths.add(path.resolve())
            result = dialect.read(file)
            _add_result(result, name, state)
            _read_imports(result, file, state)
            return
    if is_asked:
        state.problems.append(_problem(label, "no format fits it: it holds no models", "zoo import --help"))


def _read_imports(result: ReadResult, file: SourceFile, state: _ImportState) -> None:
    """Read the files that a document imports, each once, wherever they lead."""
    base = file.path.parent
    for path in result.imports:
        if not _is_file(path):
            shown_path = path.relative_to(base) if path.is_relative_to(base) else path
            state.problems.append(_problem(file.label, f"imports {shown_path}, which is not there"))
            continue
        way = os.path.relpath(path.resolve(), base.resolve())
        _read_file(path, os.path.normpath(Path(file.label).parent / way), state, None, is_asked=True)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or no name at all
        return False


def _read_text(path: Path, label: str, state: _ImportState, *, is_asked: bool) -> str | None:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ValueError(f"larger than {LARGEST_BYTES} bytes")
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, ValueError) as error:
        if is_asked or path.suffix in (".yml", ".yaml", ".md", ".mdx"):
            what = "is no UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"cannot be read: {error}"
            state.problems.append(_problem(label, what))
        return None


def _add_result(result: ReadResult, format_name: str, state: _ImportState) -> None:
    state.drafts += result.drafts
    state.problems += result.problems
    state.notes += result.notes
    for draft in result.drafts:
        state.formats[draft.document] = format_name.replace("_", "-")


def _problem(label: str, what: str, hint: str = "") -> Problem:
    return Problem((), Place(label, 1, 1), what, hint)


# --- names --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Target:
    """A card or collection that is to be: all drafts of it, the first of which gives its data."""

    drafts: tuple[Draft, ...]
    name: str
    file: str

    @property
    def first(self) -> Draft:
        return self.drafts[0]


def _files(state: _ImportState, to: Path) -> dict[Path, str]:
    collections = _targets([d for d in state.drafts if d.kind == "collection"], state.notes, "collection")
    cards = _targets([d for d in state.drafts if d.kind == "card"], state.notes, "model")
    collections_by_document = {
        (draft.document, draft.title): target for target in collections for draft in target.drafts
    }
    collections_by_title = {draft.title: target for target in reversed(collections) for draft in target.drafts}
    _update_builders(cards, state)
    files: dict[Path, str] = {}
    for target in collections:
        titled = {"title": target.first.title} if target.first.title != target.name else {}
        data = {"schema": 1, "name": target.name, **titled, **target.first.data}
        files[to / target.file / "collection.yaml"] = _file_text("collection", data, _import_records(target, {}, state))
    for target in cards:
        title = target.first.data.get("collection")
        family = (
            collections_by_document.get((target.first.document, title)) or collections_by_title.get(title)
            if title is not None
            else None
        )
        folder = family.file if family else _slug(str(title)).lower() if title else "models"
        data = {"schema": 1, "name": target.name, **target.first.data}
        collection_fields: dict[str, Any] = {}
        if title is not None:
            data["collection"] = family.name if family else _slug(str(title))
            collection_fields = {"collection": title} if family is None and data["collection"] != title else {}
        path = to / (f"{folder}-models" if _RESERVED.match(folder) else folder) / f"{target.file}.yaml"
        files[path] = _file_text("card", data, _import_records(target, collection_fields, state))
    return files


def _file_text(kind: str, data: dict[str, Any], imported: list[dict[str, Any]]) -> str:
    data = {**data, "extra": {"imported": imported, **data.get("extra", {})}}
    return card_text(in_order(data, tuple(schema(kind)["properties"])))


def _import_records(target: _Target, collection_fields: Mapping[str, Any], state: _ImportState) -> list[dict[str, Any]]:
    """Where the card is from, with what its documents say besides it and what it is called there."""
    return [
        {
            "format": state.formats[draft.document],
            "document": draft.document,
            "line": draft.line,
            "index": draft.index,
            **({"name": draft.title} if draft.kind == "card" and draft.title != target.name else {}),
            **({"nameless": True} if draft.is_nameless else {}),
            **collection_fields,
            **({"frame": draft.frame} if draft.frame else {}),
        }
        for draft in target.drafts
    ]


def _targets(drafts: Iterable[Draft], notes: list[str], kind: str) -> list[_Target]:
    """One for each set of equal drafts, with a name and a file of its own; they keep the order of their sources."""
    distinct: dict[str, list[Draft]] = defaultdict(list)
    for draft in drafts:
        distinct[canonical_json([draft.title, draft.entry])].append(draft)
    by_name: dict[str, list[list[Draft]]] = defaultdict(list)
    for same in distinct.values():
        by_name[_slug(same[0].title).lower()].append(same)
    names: dict[int, str] = {}
    taken: set[str] = {_slug(same[0].title) for (same, *more) in by_name.values() if not more}
    for alike in by_name.values():
        for same, name in zip(alike, _distinct_names([same[0] for same in alike]), strict=True):
            names[id(same)] = _free_name(name, taken) if len(alike) > 1 else name
            taken.add(names[id(same)])
        if len(alike) > 1 and len({same[0].title for same in alike}) < len(alike):
            new_names = ", ".join(names[id(same)] for same in alike)
            notes.append(f"{len(alike)} different {kind}s are called {alike[0][0].title}: they become {new_names}")
    files: set[str] = set()
    targets = []
    for same in distinct.values():
        file = _free_name(names[id(same)].lower(), files)
        files.add(file)
        targets.append(_Target(tuple(same), names[id(same)], file))
    return targets


def _distinct_names(drafts: Sequence[Draft]) -> list[str]:
    """A name for each of some different drafts that are called alike: with the first trait that none of them shares."""
    slugs = [_slug(draft.title) for draft in drafts]
    if len(set(slugs)) == len(slugs):
        return slugs
    for tags in _traits(drafts):
        named = [_slug(tag).lower() for tag in tags if tag]
        if len(named) == len(slugs) == len(set(named)):
            return [f"{slug}-{tag}" for slug, tag in zip(slugs, named, strict=True)]
    return slugs


def _traits(drafts: Sequence[Draft]) -> Iterator[list[str | None]]:
    """What may tell drafts apart: the weights' digest, the family, the data set, where in the folders they are from."""
    yield [_digest(draft.data) for draft in drafts]
    yield [str(draft.data.get("collection") or "") for draft in drafts]
    yield [
        next((str(claim["dataset"]) for claim in draft.data.get("claims", {}).get("results", ())), None)
        for draft in drafts
    ]
    yield [str(draft.data.get("input", {}).get("size", [0, ""])[1]) for draft in drafts]
    ways = [Path(draft.document.partition("#")[0]).parts for draft in drafts]
    shared = next((i for i, parts in enumerate(zip(*ways, strict=False)) if len(set(parts)) > 1), 0)
    yield [Path(way[min(shared, len(way) - 1)]).stem for way in ways]


def _digest(data: Mapping[str, Any]) -> str | None:
    for weights in data.get("weights", ()):
        digest = weights.get("sha256") or next(filter(None, map(digest_in_name, weights.get("urls", ()))), None)
        if digest:
            return str(digest)[:8]
    return None


def _free_name(name: str, taken: set[str]) -> str:
    """The name, or with a number behind it the first that is not taken, also where letters have no case."""
    blind = {item.lower() for item in taken}
    if name.lower() not in blind and not _RESERVED.match(name):
        return name
    return next(
        numbered for number in range(2, len(blind) + 3) if (numbered := f"{name}-{number}").lower() not in blind
    )


def _slug(title: str) -> str:
    """A title as a card's name: letters, digits, `.`, `_`, `+` and `-` stay, anything else becomes `-`."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", title) and len(title) <= LONGEST_NAME:
        return title
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", title).strip("-._+")
    if not name:
        name = re.sub(r"[^0-9a-f]", "", title.encode("utf-8", "replace").hex())[:16] or "unnamed"
    return name[:LONGEST_NAME] if re.match(r"[A-Za-z0-9]", name) else f"x{name}"[:LONGEST_NAME]


def _update_builders(cards: Sequence[_Target], state: _ImportState) -> None:
    """Give builders the names that their library has now; what changed is noted."""
    for target in cards:
        builder = target.first.data.get("builder")
        if isinstance(builder, dict) and builder.get("library") == "timm":
            entry, note = plugins.load("builders", "timm").current_name(builder["entry"])
            if note:
                state.notes.append(f"{target.first.document}:{target.first.line}: {note}")
            if entry:
                builder["entry"] = entry
            else:
                del target.first.data["builder"]  # type: ignore[attr-defined]  # a draft's data are a dict


def describe(planned: Plan, *, dry_run: bool) -> str:
    """What there is to say of an import: notes, the documents that were not read with the reason, and a summary."""
    problems = "".join(
        f"{item.place}: {item.what}\n" + (f"  hint: {item.hint}\n" if item.hint else "") for item in planned.problems
    )
    notes = "".join(f"note: {note}\n" for note in planned.notes)
    verb = "would be written" if dry_run else "written"
    unchanged = f", {planned.unchanged} there already" if planned.unchanged else ""
    refused = f", {len(planned.problems)} not read" if planned.problems else ""
    return (
        f"{notes}{problems}{planned.models} models from {planned.documents} documents: "
        f"{len(planned.files)} files {verb}{unchanged}{refused}\n"
    )
