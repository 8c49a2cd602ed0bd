"""Import cards from documents of other formats: find the documents, read them, and plan all files before writing one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo import plugins
from zoo.conversion import naming
from zoo.conversion.dialects import Draft, FileDialect, NamedDialect, ReadResult, SourceFile
from zoo.conversion.naming import NamedDrafts
from zoo.errors import UsageError, ZooError
from zoo.models.builders import timm
from zoo.registry.document import MAX_BYTES, read_text
from zoo.registry.edit import card_text, create, in_order
from zoo.registry.position import Place, Problem
from zoo.registry.schema import FORMAT, schema
from zoo.runtime.text import shell, terminal_lines


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """The result of reading sources, before anything is written.

    files: the texts of the new files. folder: where they are written, and nowhere outside it. unchanged: the number of files that exist with the planned text. models, documents:
    the numbers of cards, written or unchanged, and of the documents they are from. problems: why documents, or parts of
    them, were not read. notes: what the user should know about the cards.
    """

    files: Mapping[Path, str]
    unchanged: int = 0
    models: int = 0
    documents: int = 0
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    folder: Path | None = None


@dataclass(slots=True)
class _ImportState:
    """What was read from the sources so far. formats: the format of each document."""

    drafts: list[Draft] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    formats: dict[str, str] = field(default_factory=dict)
    read_paths: set[Path] = field(default_factory=set)


def plan(
    sources: Sequence[str], folder: Path, *, format_name: str | None = None, results: Path | None = None
) -> ImportPlan:
    """Read the sources and return the files that an import into the folder would write. Writes nothing.

    sources: files, folders, or names such as `timm:PATTERN`. format_name: the format of the files, else it is recognised
    from their text. results: a CSV of measured accuracies in the layout of timm's results-imagenet.csv.

    A document with a problem is left out completely, and the plan has the problem. Raises UsageError when a source does not
    exist or has no known format, and when a planned file exists with other content.
    """
    state = _ImportState()
    for source in sources:
        _read_source(source, state, format_name, results)
    files = _planned_files(state, folder)
    changed = [path for path, text in files.items() if os.path.lexists(path) and not _has_text(path, text)]
    if changed:
        number = f"{len(changed)} files exist" if len(changed) > 1 else "the file exists"
        raise UsageError(
            f"{number} with other content than the import would write",
            where=str(changed[0]),
            hint="import into an empty folder, or remove the existing files",
        )
    new = {path: text for path, text in files.items() if not os.path.lexists(path)}
    return ImportPlan(
        new,
        unchanged=len(files) - len(new),
        models=sum(path.name != "collection.yaml" for path in files),
        documents=len({draft.document for draft in state.drafts}),
        problems=tuple(state.problems),
        notes=tuple(dict.fromkeys(state.notes)),
        folder=folder,
    )


def _has_text(path: Path, text: str) -> bool:
    try:
        return read_text(path) == text
    except (ZooError, OSError, UnicodeDecodeError):
        return False


def write_files(plan: ImportPlan) -> None:
    """Write the files of a plan.

    Raises UsageError when one of them has been created since the plan was made, CannotCheck when writing fails or a link in
    its path leads out of the plan's folder.
    """
    for path, text in plan.files.items():
        create(path, text, top=plan.folder)


def describe(plan: ImportPlan, *, dry_run: bool) -> str:
    """Return the text for the user: notes, problems with place and hint, and a summary line."""
    lines = [f"note: {note}" for note in plan.notes]
    for item in plan.problems:
        lines += [f"{item.place}: {item.what}", *([f"  hint: {item.hint}"] if item.hint else [])]
    counts = [f"{_counted(len(plan.files), 'file')} {'would be written' if dry_run else 'written'}"]
    counts += [f"{plan.unchanged} unchanged"] if plan.unchanged else []
    counts += [_counted(len(plan.problems), "problem")] if plan.problems else []
    found = f"{_counted(plan.models, 'model')} in {_counted(plan.documents, 'document')}"
    return terminal_lines([*lines, f"{found}: {', '.join(counts)}", ""])


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# --- sources ------------------------------------------------------------------------------------------------------


def _read_source(source: str, state: _ImportState, format_name: str | None, results: Path | None) -> None:
    scheme, colon, pattern = source.partition(":")
    if colon and scheme in plugins.names("dialects") and not Path(source).exists():
        dialect = plugins.load("dialects", scheme)
        if not isinstance(dialect, NamedDialect):
            raise UsageError(
                f"the format {scheme} reads files, not names",
                where=source,
                hint=f"name a file: `zoo import {shell(pattern)} --format {scheme} --to ...`",
            )
        _add_result(dialect.published(pattern, results), scheme, state)
        return
    top = Path(source)
    if not top.exists():
        schemes = ", ".join(f"{name}:PATTERN" for name in plugins.names("dialects") if _publishes(name))
        raise UsageError(f"no such file or folder: {source}", hint=f"give a path, or one of {schemes}")
    before = len(state.drafts), len(state.problems), len(state.read_paths)
    for path in _walk(top):
        _read_file(path, _label(path, top), state, format_name, is_asked=path == top)
    if before == (len(state.drafts), len(state.problems), len(state.read_paths)):
        raise UsageError("found no document in a known format", where=source, hint="choose a format with --format")


def _publishes(name: str) -> bool:
    return isinstance(plugins.load("dialects", name), NamedDialect)


def _walk(top: Path) -> Iterator[Path]:
    if not top.is_dir():
        yield top
        return
    for path in sorted(top.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(top).parts):
            yield path


def _label(path: Path, top: Path) -> str:
    """Return the name of a document in cards: the name of the given folder and the path below it."""
    base = top if top.is_dir() else top.parent
    folder = base.resolve().name
    return (Path(folder) / path.relative_to(base)).as_posix()


def _read_file(path: Path, label: str, state: _ImportState, format_name: str | None, *, is_asked: bool) -> None:
    if path.resolve() in state.read_paths:
        return
    fitting = _dialects_for(path, format_name, is_asked=is_asked)
    if not fitting:
        if is_asked:
            kind = f"files with the suffix {path.suffix}" if path.suffix else "files without a suffix"
            state.problems.append(
                _problem(label, f"zoo does not import {kind}", "`zoo import --help` lists the formats")
            )
        return
    text = _read_text(path, label, state, is_asked=is_asked)
    if text is None:
        return
    file = SourceFile(path, label, text)
    for name, dialect in fitting.items():
        if (format_name and is_asked) or dialect.recognises(file):
            state.read_paths.add(path.resolve())
            result = dialect.read(file)
            _add_result(result, name, state)
            _read_imports(result, file, state)
            return
    if is_asked:
        state.problems.append(_problem(label, "found no models in a known format", "choose a format with --format"))


def _dialects_for(path: Path, format_name: str | None, *, is_asked: bool) -> dict[str, FileDialect]:
    """Return the dialects that can read the file, by name. is_asked: the user or another document named the file."""
    names = [format_name] if format_name else plugins.names("dialects")
    loaded = {name: plugins.load("dialects", name) for name in names}
    return {
        name: dialect
        for name, dialect in loaded.items()
        if isinstance(dialect, FileDialect)
        and path.suffix.lower() in dialect.suffixes
        and (is_asked or not dialect.only_if_asked)
    }


def _read_imports(result: ReadResult, file: SourceFile, state: _ImportState) -> None:
    """Read the files that a document imports, and the files that those import, each once."""
    base = file.path.parent
    for path in result.imports:
        if not _is_file(path):
            shown_path = path.relative_to(base) if path.is_relative_to(base) else path
            state.problems.append(_problem(file.label, f"imports {shown_path}, which does not exist"))
            continue
        relative = os.path.relpath(path.resolve(), base.resolve())
        _read_file(path, os.path.normpath(Path(file.label).parent / relative), state, None, is_asked=True)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # the name is too long or not valid
        return False


def _read_text(path: Path, label: str, state: _ImportState, *, is_asked: bool) -> str | None:
    """Return the text of a file, None when it cannot be read; note the problem when the file can be a document."""
    try:
        if path.stat().st_size <= MAX_BYTES:
            return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        what = f"the file is larger than {MAX_BYTES} bytes, the limit for a document"
    except UnicodeDecodeError:
        what = "the file is not valid UTF-8"
    except OSError as error:
        what = f"cannot read the file: {error.strerror or error}"
    if is_asked or path.suffix in (".yml", ".yaml", ".md", ".mdx"):
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


# --- files --------------------------------------------------------------------------------------------------------


def _planned_files(state: _ImportState, folder: Path) -> dict[Path, str]:
    """Return the texts of all cards and collections; add notes about new names to the state."""
    collections = naming.name_drafts(draft for draft in state.drafts if draft.kind == "collection")
    cards = naming.name_drafts(draft for draft in state.drafts if draft.kind == "card")
    state.notes += naming.describe_clashes(collections, "collection")
    state.notes += naming.describe_clashes(cards, "model")
    by_title = {draft.title: item for item in reversed(collections) for draft in item.drafts}
    by_place = {(draft.document, draft.title): item for item in collections for draft in item.drafts}
    files: dict[Path, str] = {}
    for item in collections:
        title = {"title": item.first.title} if item.first.title != item.name else {}
        files[folder / item.file / "collection.yaml"] = _text(item, title, {}, state)
    for item in cards:
        title_of_collection = _collection_title(item.first)
        collection = by_place.get((item.first.document, title_of_collection)) or by_title.get(title_of_collection)
        path = folder / _folder_name(title_of_collection, collection) / f"{item.file}.yaml"
        files[path] = _card_text(item, collection, state)
    return files


def _collection_title(draft: Draft) -> str:
    """Return the title of the collection that a card's document names, empty for none."""
    return str(draft.data.get("collection") or "")


def _folder_name(title: str, collection: NamedDrafts | None) -> str:
    """Return the name of the folder for the cards of a collection, or for cards without one."""
    if collection is not None:
        return collection.file
    return naming.folder_name(title) if title else "models"


def _card_text(item: NamedDrafts, collection: NamedDrafts | None, state: _ImportState) -> str:
    """Return the text of a card. collection: the collection that its document names, if the import has it."""
    title = _collection_title(item.first)
    fields, record = _current_builder(item.first, state), dict[str, Any]()
    if title:
        fields["collection"] = collection.name if collection else naming.slug(title)
        record = {"collection": title} if collection is None and fields["collection"] != title else {}
    return _text(item, fields, record, state)


def _current_builder(draft: Draft, state: _ImportState) -> dict[str, Any]:
    """Return `{"builder": ...}` with timm's current name of the architecture, None when timm no longer has it; else empty."""
    builder = draft.data.get("builder")
    if not isinstance(builder, Mapping) or builder.get("library") != "timm" or not builder.get("entry"):
        return {}
    entry, note = timm.current_name(builder["entry"])
    if note:
        state.notes.append(f"{draft.document}:{draft.line}: {note}")
    return {"builder": {**builder, "entry": entry} if entry else None}


def _text(item: NamedDrafts, fields: Mapping[str, Any], record: Mapping[str, Any], state: _ImportState) -> str:
    """Return the text of a card or collection: the draft's data, updated with `fields`; None removes a field.

    record: what each record in `extra.imported` holds besides the document.
    """
    data = {"schema": FORMAT, "name": item.name, **item.first.data, **fields}
    data["extra"] = {"imported": _import_records(item, record, state), **data.get("extra", {})}
    data = {key: value for key, value in data.items() if value is not None or key not in fields}
    return card_text(in_order(data, tuple(schema(item.first.kind)["properties"])))


def _import_records(item: NamedDrafts, record: Mapping[str, Any], state: _ImportState) -> list[dict[str, Any]]:
    """Return a record for each document of the card: its place there, its name there, and the rest of the document."""
    return [
        {
            "format": state.formats[draft.document],
            "document": draft.document,
            "line": draft.line,
            "index": draft.index,
            **({"name": draft.title} if draft.kind == "card" and draft.title != item.name else {}),
            **({"nameless": True} if draft.is_nameless else {}),
            **record,
            **({"frame": draft.frame} if draft.frame else {}),
        }
        for draft in item.drafts
    ]
