"""Read and write Papers with Code's model-index: YAML files, and YAML in the comments of Markdown and MDX pages.

Pages that lost their indentation are read too. The format is described at https://github.com/paperswithcode/model-index
(0.1.11, 2021): Collections, Models with Metadata, Results and Weights, and Import of further files. The case of keys does
not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo.conversion.dialects import Draft, ReadResult, SourceFile, WrittenDocument
from zoo.conversion.dialects._flattened import is_flattened, recover_indentation
from zoo.conversion.dialects._model_index_fields import COLLECTION, ID, MODEL, NAME, RESULTS, TASKS, results_of
from zoo.conversion.mapping import Field, SourceValue, equal, find, get, normalize, strip_origin, to_card, to_entry
from zoo.registry.card import Card, Collection
from zoo.registry.catalog import Catalog, Member
from zoo.registry.document import Document, parse_foreign
from zoo.registry.edit import card_text
from zoo.registry.position import Place, Pointer, Problem
from zoo.registry.quantities import count
from zoo.registry.yaml_nodes import ROOT

suffixes: tuple[str, ...] = (".md", ".mdx", ".markdown", ".txt", ".yml", ".yaml", ".json")
only_if_asked = False
OWN = "model_index"
"""The key under `extra` for the parts of an entry that the card's fields cannot hold."""
UNMAPPED = "Card"
"""The key of an entry for the fields of a card that model-index does not have."""
_PAGE_SUFFIXES = (".md", ".mdx", ".markdown", ".txt")
_TOP = re.compile(r"(?im)^(?:Models|Collections|Import)[ \t]*:|^Type[ \t]*:[ \t]*model-?index[ \t]*$")


# --- reading ------------------------------------------------------------------------------------------------------


def recognises(file: SourceFile) -> bool:
    """Return whether the text has the keys of a model-index in their places."""
    if file.path.suffix in _PAGE_SUFFIXES:
        return any(True for _ in _comments(file.text)) or _unclosed(file.text) is not None
    if re.search(r"(?im)^[\"']?(?:Models|Collections|Import)[\"']?[ \t]*:", file.text):
        return True
    return bool(
        re.match(r"(?is)\s*(?:#[^\n]*\n\s*)*-\s+name\s*:", file.text)
        and re.search(r"(?im)^\s+(?:metadata|results|weights|in collection)\s*:", file.text)
    ) or (file.path.suffix == ".json" and bool(re.search(r'(?i)"(?:models|collections|import)"\s*:', file.text)))


def read(file: SourceFile) -> ReadResult:
    """Return the models and collections of a file and the files that it imports; a document with a problem gives none."""
    is_page = file.path.suffix in _PAGE_SUFFIXES
    unclosed = _unclosed(file.text) if is_page else None
    if unclosed is not None:
        place = Place(file.label, unclosed, 1)
        what = "the page is incomplete: the comment with the model-index has no end"
        return ReadResult(problems=(Problem((), place, what, "download the complete page, up to `-->`"),))
    texts = texts_of(file)
    results = [_read_text(file, text, number) for number, text in enumerate(texts)]
    combined = ReadResult(
        tuple(draft for result in results for draft in result.drafts),
        tuple(path for result in results for path in result.imports),
        tuple(problem for result in results for problem in result.problems),
        tuple(note for result in results for note in result.notes),
    )
    return replace(combined, drafts=_with_prose(combined.drafts, file.text)) if is_page else combined


def texts_of(file: SourceFile) -> list[str]:
    """Return the YAML of each document in a file, with its indentation restored if a page lost it and that is possible."""
    if file.path.suffix not in _PAGE_SUFFIXES:
        return [file.text]
    texts: list[str] = []
    for text in _comments(file.text):
        recovered = recover_indentation(text, file.label) if is_flattened(text) else text
        texts.append(text if isinstance(recovered, Problem) else recovered)
    return texts


def _comments(text: str) -> Iterator[str]:
    """Yield the comments that hold a model-index, each after as many newlines as precede it, to keep its line numbers."""
    for start, stop in _all_comments(_without_fences(text)):
        if _TOP.search(text[start:stop]):
            yield "\n" * text.count("\n", 0, start) + text[start:stop]


def _all_comments(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of the text in each HTML or MDX comment."""
    at = 0
    closed = {"<!--": "-->", "{/*": "*/}"}
    while closed:
        openings = [(place, opening) for opening in closed if (place := text.find(opening, at)) >= 0]
        if not openings:
            return
        place, opening = min(openings)
        start = place + len(opening)
        stop = text.find(closed[opening], start)
        if stop < 0:
            del closed[opening]  # no comment of this kind has an end after this place
            continue
        yield start, stop
        at = stop + len(closed[opening])


def _without_fences(text: str) -> str:
    """Return the text with spaces in place of fenced code, so that offsets and line numbers stay."""
    lines, fence = [], ""
    for line in text.splitlines(keepends=True):
        mark = re.match(r"(?:```+|~~~+)", line)
        blank = bool(fence) or mark is not None
        if mark is not None and not fence:
            fence = mark[0]
        elif mark is not None and mark[0].startswith(fence) and not line[len(mark[0]) :].strip():
            fence = ""
        lines.append(re.sub(r"[^\n]", " ", line) if blank else line)
    return "".join(lines)


def _unclosed(text: str) -> int | None:
    """Return the number of the last line when a comment with a model-index has no end, else None."""
    visible = _without_fences(text)
    start = max(visible.rfind("<!--"), visible.rfind("{/*"))
    if (
        start < 0
        or visible.find("-->", start) >= 0
        or visible.find("*/}", start) >= 0
        or not _TOP.search(visible[start:].removeprefix("<!--").removeprefix("{/*"))
    ):
        return None
    return len(text.splitlines())


def _read_text(file: SourceFile, text: str, number: int) -> ReadResult:
    if file.path.suffix in _PAGE_SUFFIXES and is_flattened(text):
        recovery = recover_indentation(text, file.label)
        if isinstance(recovery, Problem):
            return ReadResult(problems=(recovery,))
        text = recovery
    document = parse_foreign(text, file.path, file.label)
    if document.problems or not document.data:
        return ReadResult(problems=document.problems)
    notes = tuple(f"{duplicate.place}: {duplicate.what}" for duplicate in document.duplicates)
    label = file.label if number == 0 else f"{file.label}#{number + 1}"
    result = _drafts(document, label)
    return replace(result, notes=(*notes, *_conflicting_comments(document)))


def _conflicting_comments(document: Document) -> Iterator[str]:
    """Yield a note for each count that differs from the comment in its line, such as `3210000  # 32.1M`."""
    for pointer, mark in document.marks.items():
        value = get(document.data, pointer)
        if not isinstance(value, int) or normalize(str(pointer[-1])) not in ("flops", "parameters", "params"):
            continue
        rest = document.text[mark.end :].partition("\n")[0]
        quantity = count(rest.strip().lstrip("# ")) if rest.strip().startswith("#") else None
        if quantity is not None and abs(quantity.value - value) > max(quantity.rounded_to, 0.02 * value):
            comment = rest.strip().lstrip("# ")
            yield f"{document.place(pointer)}: {pointer[-1]} is {value:,}, but the comment in the same line is {comment}"


def _drafts(document: Document, label: str) -> ReadResult:
    """Return the drafts of a document. The first one gets the frame: the document without its entries.

    The frame omits `Models` and `Collections` that are plain lists of entries, because writing gives them by default.
    """
    drafts: list[Draft] = []
    imports: list[str] = []
    frame: dict[str, Any] = {}
    for key, value in document.data.items():
        if normalize(key) not in ("models", "collections") and key != ROOT:
            imports += _paths(value) if normalize(key) == "import" else []
            frame[key] = value
            continue
        kind = "collection" if normalize(key) == "collections" else "card"
        frame_items: list[Any] = []
        for item, pointer in _items(key, value):
            if isinstance(item, Mapping):
                index = sum(draft.kind == kind for draft in drafts)
                frame_items.append({"entry": index})
                drafts.append(_draft(kind, item, SourceValue(document, pointer), label, index))
            else:
                frame_items.append(item)
                imports += _paths(item)
        is_list = isinstance(value, list)
        if key not in ("Models", "Collections") or not (is_list and frame_items and all(map(_is_entry, frame_items))):
            frame[key] = frame_items if is_list else frame_items[0]
    if drafts and frame:
        drafts[0] = replace(drafts[0], frame=frame)
    paths = (path for pattern in imports for path in _matching_paths(pattern, document.path))
    return ReadResult(tuple(drafts), tuple(paths))


def _items(key: str, value: Any) -> list[tuple[Any, Pointer]]:
    """Return the entries below a key with their pointers: the items of a list, or a single entry."""
    return [(item, (key, index)) for index, item in enumerate(value)] if isinstance(value, list) else [(value, (key,))]


def _is_entry(frame_item: Any) -> bool:
    return isinstance(frame_item, Mapping) and frame_item.keys() == {"entry"}


def _paths(value: Any) -> list[str]:
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str) and item.strip()]


def _matching_paths(pattern: str, base: Path) -> list[Path]:
    """Return the files that an import names, relative to the file that names them; `*`, `?` and `**` as in a shell."""
    if not re.search(r"[*?\[]", pattern):
        return [base.parent / pattern]
    try:
        return sorted(base.parent.glob(pattern))
    except (
        ValueError,
        NotImplementedError,
        OSError,
    ):  # pathlib rejects patterns such as `a**`, absolute ones and nulls
        return [base.parent / pattern.replace("\0", "")]


def _draft(kind: str, entry: Mapping[str, Any], location: SourceValue, label: str, index: int) -> Draft:
    fields = COLLECTION if kind == "collection" else MODEL
    data, residue = to_card(entry, fields, location, _derived_fields(entry) if kind == "card" else None)
    name = find(entry, NAME)
    title = str(entry[name[0]]).strip() if name and isinstance(entry[name[0]], (str, int, float)) else ""
    if title and name == ("Name",) and type(entry["Name"]) is str and title == entry["Name"]:
        del residue["Name"]
    _move_unmapped_fields(entry, data, residue, fields)
    if residue:
        data["extra"] = {**data.get("extra", {}), OWN: residue}
    stem = f"{Path(label.partition('#')[0]).stem}-{kind}-{index + 1}"
    line = location.document.place(location.pointer).line if location.document else 1
    return Draft(kind, title or stem, data, label, line, index, entry, is_nameless=name is None)


def _move_unmapped_fields(
    entry: Mapping[str, Any], data: dict[str, Any], residue: dict[str, Any], fields: Sequence[Field]
) -> None:
    """Move the fields of a card that the entry has under UNMAPPED from the residue to the card's data.

    zoo wrote such an entry. Its residue is empty if the card's data reproduce the rest of the entry.
    """
    unmapped = residue.pop(UNMAPPED, None)
    if isinstance(unmapped, Mapping):
        card_data = {**data, **unmapped, **({"collection": data["collection"]} if "collection" in data else {})}
        own = {key: value for key, value in entry.items() if key not in (UNMAPPED, "Name")}
        if equal(to_entry(card_data, {}, fields), own):
            residue.clear()
        data.update(unmapped)
    elif unmapped is not None:
        residue[UNMAPPED] = unmapped


def _derived_fields(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card's task and builder, which an entry gives in several places."""
    fields: dict[str, Any] = {}
    tasks = get(entry, find(entry, TASKS) or ("",))
    named = [tasks] if isinstance(tasks, str) else [*tasks] if isinstance(tasks, list) else []
    named += [task for _, task, _, _ in results_of(get(entry, find(entry, RESULTS) or ("",)), SourceValue())]
    task = next((text for item in named if (text := _slug(item))), None)
    if task:
        fields["task"] = task
    architecture = get(entry, find(entry, ID) or ("",))
    links = [get(entry, path) for path in (("Code",), ("Code", "URL"), ("Weights",))]
    if isinstance(architecture, str) and any(isinstance(link, str) and _TIMM.search(link) for link in links):
        fields["builder"] = {"library": "timm", "entry": architecture}
    return fields


_TIMM = re.compile(r"(?i)github\.com/[^/]+/pytorch-image-models/")


def _slug(text: Any) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") if isinstance(text, str) else ""


# --- prose --------------------------------------------------------------------------------------------------------


def _with_prose(drafts: tuple[Draft, ...], text: str) -> tuple[Draft, ...]:
    """Add the page's text (description, citation, other sections) to the first collection, or to the only model."""
    prose = _prose(text)
    at = next((index for index, draft in enumerate(drafts) if draft.kind == "collection"), None)
    if not prose or (at is None and len(drafts) != 1):
        return drafts
    draft = drafts[at or 0]
    extra = dict(draft.data.get("extra", {}))
    if at is None:
        data = {**draft.data, "extra": {**extra, "page": prose}}
    else:
        fields: dict[str, Any] = {key: prose.pop(key) for key in ("description", "citation") if key in prose}
        data = {**fields, **draft.data, **({"extra": {**extra, "page": prose}} if prose else {})}
    return (*drafts[: at or 0], replace(draft, data=data), *drafts[(at or 0) + 1 :])


def _prose(text: str) -> dict[str, str]:
    page = text
    for start, stop in reversed(list(_all_comments(_without_fences(text)))):
        if _TOP.search(text[start:stop]):
            page = page[: page.rindex("<!--" if page[:start].endswith("<!--") else "{/*", 0, start)] + page[stop + 3 :]
    if is_flattened(text):
        page = "\n".join(line for line in page.splitlines() if line.strip() != "|")
    page = re.sub(r"\A---\n.*?\n---[ \t]*\n", "", page, flags=re.DOTALL)
    before, *sections = re.split(r"(?m)^(?=##? )", page)
    if sections and sections[0].startswith("# "):  # the text above the title is not part of the document
        before = sections.pop(0).partition("\n")[2]
    prose = {"description": before.strip()}
    for section in sections:
        heading, _, rest = section.partition("\n")
        bibtex = re.search(r"(?is)^```[ \t]*(?:bibtex|latex)[ \t]*\n(.*?)^```", rest, re.MULTILINE)
        if bibtex and "citation" not in prose:
            prose["citation"] = bibtex[1].strip("\n").strip()
            rest = rest[: bibtex.start()] + rest[bibtex.end() :]
        if rest.strip():
            prose[heading.strip("# \t") or "section"] = rest.strip()
    return {key: value for key, value in prose.items() if value.strip()}


# --- writing ------------------------------------------------------------------------------------------------------

NEW = "model-index.yml"
"""The document of cards that were not imported from a model-index."""


@dataclass(frozen=True, slots=True)
class _Part:
    """An entry and its place in a document to write: its index among the entries of its kind."""

    kind: str
    index: int
    frame: Mapping[str, Any]
    entry: Mapping[str, Any]


def write(cards: Sequence[Card], catalog: Catalog) -> Sequence[WrittenDocument]:
    """Return the documents that these cards came from, with all collections of the documents; NEW for other cards."""
    documents: dict[str, list[_Part]] = {}
    for index, card in enumerate(cards):
        for label, part in _parts(card, index, Member(card, catalog).collection):
            documents.setdefault(label, []).append(part)
    named = {card.collection for card in cards}
    for index, collection in enumerate(catalog.collections):
        for label, part in _parts(collection, index):
            if label in documents and (label != NEW or collection.name in named):
                documents[label].append(part)
    return _written(documents)


def of_collections(names: Iterable[str], catalog: Catalog) -> Sequence[WrittenDocument]:
    """Return the documents that these collections came from, without models."""
    names = set(names)
    documents: dict[str, list[_Part]] = {}
    for index, collection in enumerate(item for item in catalog.collections if item.name in names):
        for label, part in _parts(collection, index):
            documents.setdefault(label, []).append(part)
    return _written(documents)


def _written(documents: Mapping[str, Sequence[_Part]]) -> tuple[WrittenDocument, ...]:
    return tuple(WrittenDocument(label, card_text(_document(parts))) for label, parts in sorted(documents.items()))


def _parts(item: Card | Collection, index: int, collection: Collection | None = None) -> Iterator[tuple[str, _Part]]:
    """Yield (document, part) for each document that a card or collection came from. collection: the card's."""
    kind = "card" if isinstance(item, Card) else "collection"
    data = _raw_data(item)
    extra = data.get("extra") or {}
    imported = extra.get("imported") if isinstance(extra, Mapping) else None
    if isinstance(imported, list) and imported and all(map(_is_own_record, imported)):
        for place in imported:
            entry = _entry(item, data, place, collection)
            yield str(place["document"]), _Part(kind, int(place["index"]), place.get("frame") or {}, entry)
    else:
        yield NEW, _Part(kind, index, {}, _entry(item, data, None, collection))


def _is_own_record(place: Any) -> bool:
    """Return whether a record in `extra.imported` is of a model-index."""
    return isinstance(place, Mapping) and place.get("format") == "model-index"


def _raw_data(item: Card | Collection) -> dict[str, Any]:
    """Return the card's data, with the scalars of its foreign parts as they are in the file."""
    document = item.where.document
    foreign = parse_foreign(document.text, document.path, document.label).data
    return {**document.data, **{key: foreign[key] for key in ("extra", "training") if key in foreign}}


def _entry(
    item: Card | Collection, data: Mapping[str, Any], place: Mapping[str, Any] | None, collection: Collection | None
) -> dict[str, Any]:
    """Return the entry of a card or collection. place: its record in `extra.imported`, None if it was not imported."""
    fields = MODEL if isinstance(item, Card) else COLLECTION
    record = place or {}
    card_data = dict(data)
    if isinstance(item, Card) and item.collection:
        title = _source_title(collection) if collection else record.get("collection", item.collection)
        card_data["collection"] = title
    residue = (data.get("extra") or {}).get(OWN) if place is not None else None
    entry = to_entry(card_data, residue if isinstance(residue, Mapping) else {}, fields)
    if find(entry, NAME) is None and not record.get("nameless"):
        name = _source_title(item) if isinstance(item, Collection) else item.name
        entry = {"Name": record.get("name") or name, **entry}
    unmapped = _unmapped_fields(data, card_data, entry, is_card=isinstance(item, Card), is_new=place is None)
    return {**entry, UNMAPPED: unmapped} if unmapped else entry


def _source_title(collection: Collection) -> str:
    """Return the name of a collection in the documents that it came from."""
    return (collection.title or collection.name) if "imported" in collection.extra else collection.name


_DERIVED = frozenset({"schema", "name", "title", "collection", "extra"})
"""Fields that an import always sets."""


def _unmapped_fields(
    data: Mapping[str, Any], card_data: Mapping[str, Any], entry: Mapping[str, Any], *, is_card: bool, is_new: bool
) -> dict[str, Any]:
    """Return the fields of the card that reading the entry does not give back.

    Of an imported card, omit what the import derived from other parts of the document: prose, and the builder from the ID.
    """
    known = _derived_fields(entry) if is_card else None
    back, _ = to_card(entry, MODEL if is_card else COLLECTION, SourceValue(), known)
    if is_new:
        changed = {key: value for key, value in data.items() if not equal(back.get(key), value)}
        renamed = data.get("collection") != card_data.get("collection")
        fields = {key: value for key, value in changed.items() if key not in ("name", "collection")}
        return {**fields, **({"collection": data["collection"]} if renamed else {})}
    skip = _DERIVED | {"description", "citation"} | ({"builder"} if find(entry, ID) else set())
    return {
        key: value
        for key, value in data.items()
        if key not in skip and strip_origin(back.get(key)) != strip_origin(value)
    }


def _document(parts: Sequence[_Part]) -> dict[str, Any] | list[Any]:
    entries = {(part.kind, part.index): part.entry for part in parts}
    frame = next((part.frame for part in parts if part.frame), {})
    data: dict[str, Any] = {}
    for key, value in frame.items():
        kind = "collection" if normalize(key) == "collections" else "card"
        is_list = normalize(key) in ("models", "collections") or key == ROOT
        data[key] = _fill_frame(value, kind, entries) if is_list else value
    for kind, key in (("collection", "Collections"), ("card", "Models")):
        rest = [entry for (of, _), entry in sorted(entries.items(), key=lambda item: item[0]) if of == kind]
        if rest and not any(normalize(name) == normalize(key) for name in data) and ROOT not in data:
            data[key] = rest
    return list(data[ROOT]) if ROOT in data else data


def _fill_frame(frame_value: Any, kind: str, entries: Mapping[tuple[str, int], Any]) -> Any:
    if isinstance(frame_value, list):
        return [
            _fill_frame(item, kind, entries)
            for item in frame_value
            if not _is_entry(item) or (kind, item["entry"]) in entries
        ]
    return entries.get((kind, frame_value["entry"])) if _is_entry(frame_value) else frame_value
