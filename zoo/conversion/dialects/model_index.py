"""Papers with Code's model-index: YAML files, YAML in the comments of Markdown and MDX pages, also where a page lost its indentation.

The format was described at https://github.com/paperswithcode/model-index (0.1.11, 2021): Collections, Models with
Metadata, Results and Weights, and Import of further files. Keys are matched without case.
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
from zoo.conversion.mapping import SourceValue, equal, find, get, normalize, strip_origin, to_card, to_entry
from zoo.registry.card import Card, Collection
from zoo.registry.catalog import Catalog
from zoo.registry.document import Document, parse_foreign
from zoo.registry.edit import card_text
from zoo.registry.position import Place, Problem
from zoo.registry.quantities import count
from zoo.registry.yaml_nodes import ROOT

suffixes: tuple[str, ...] = (".md", ".mdx", ".markdown", ".txt", ".yml", ".yaml", ".json")
OWN = "model_index"
"""The key under `extra` that keeps what the card's fields do not say."""
BEYOND = "Card"
"""The key of an entry that holds what a card says and model-index has no field for."""
_PAGE_SUFFIXES = (".md", ".mdx", ".markdown", ".txt")
_TOP = re.compile(r"(?im)^(?:Models|Collections|Import)[ \t]*:|^Type[ \t]*:[ \t]*model-?index[ \t]*$")


# --- reading ------------------------------------------------------------------------------------------------------


def recognises(file: SourceFile) -> bool:
    """Whether the text has the keys of a model-index where they would stand."""
    if file.path.suffix in _PAGE_SUFFIXES:
        return any(True for _ in _comments(file.text)) or _unclosed(file.text) is not None
    if re.search(r"(?im)^[\"']?(?:Models|Collections|Import)[\"']?[ \t]*:", file.text):
        return True
    return bool(
        re.match(r"(?is)\s*(?:#[^\n]*\n\s*)*-\s+name\s*:", file.text)
        and re.search(r"(?im)^\s+(?:metadata|results|weights|in collection)\s*:", file.text)
    ) or (file.path.suffix == ".json" and bool(re.search(r'(?i)"(?:models|collections|import)"\s*:', file.text)))


def read(file: SourceFile) -> ReadResult:
    """The models and collections of a file, all or none of each document in it, and the files that it imports."""
    is_page = file.path.suffix in _PAGE_SUFFIXES
    unclosed = _unclosed(file.text) if is_page else None
    if unclosed is not None:
        place = Place(file.label, unclosed, 1)
        what = "the comment that holds the model-index is not closed: the page was cut off"
        return ReadResult(problems=(Problem((), place, what, "get the whole page, up to `-->`"),))
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
    """The YAML of each document in a file; of a page that lost its indentation, with that found again where it can be."""
    if file.path.suffix not in _PAGE_SUFFIXES:
        return [file.text]
    pairs = [
        (text, recover_indentation(text, file.label) if is_flattened(text) else text) for text in _comments(file.text)
    ]
    return [text if isinstance(better, Problem) else better for text, better in pairs]


def _comments(text: str) -> Iterator[str]:
    """The comments that hold a model-index, each behind as many line ends as stand before it: its lines keep their numbers."""
    for start, stop in _all_comments(_without_fences(text)):
        if _TOP.search(text[start:stop]):
            yield "\n" * text.count("\n", 0, start) + text[start:stop]


def _all_comments(text: str) -> Iterator[tuple[int, int]]:
    """Where the inside of each comment begins and ends, of HTML or MDX."""
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
            del closed[opening]  # none of this kind is closed from here on
            continue
        yield start, stop
        at = stop + len(closed[opening])


def _without_fences(text: str) -> str:
    """The text with the lines of fenced code blank, each as long as it was."""
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
    """The last line of a text in which a comment begins a model-index and never ends."""
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
    fatal = tuple(problem for problem in document.problems if "the last counts" not in problem.what)
    if fatal or not document.data:
        return ReadResult(problems=fatal)
    notes = tuple(f"{problem.place}: {problem.what}" for problem in document.problems)
    label = file.label if number == 0 else f"{file.label}#{number + 1}"
    result = _drafts(document, label)
    return replace(result, notes=(*notes, *_conflicting_comments(document)))


def _conflicting_comments(document: Document) -> Iterator[str]:
    """Counts whose comment on the same line says another number: `3210000  # 32.1M`."""
    for pointer, mark in document.marks.items():
        value = get(document.data, pointer)
        if not isinstance(value, int) or normalize(str(pointer[-1])) not in ("flops", "parameters", "params"):
            continue
        rest = document.text[mark.end :].partition("\n")[0]
        quantity = count(rest.strip().lstrip("# ")) if rest.strip().startswith("#") else None
        if quantity is not None and abs(quantity.value - value) > max(quantity.rounded_to, 0.02 * value):
            comment = rest.strip().lstrip("# ")
            yield f"{document.place(pointer)}: {pointer[-1]} is {value:,}, and the comment beside it says {comment}"


def _drafts(document: Document, label: str) -> ReadResult:
    drafts: list[Draft] = []
    imports: list[str] = []
    frame: dict[str, Any] = {}
    for key, value in document.data.items():
        kind = "collection" if normalize(key) == "collections" else "card"
        if normalize(key) not in ("models", "collections") and key != ROOT:
            imports += _paths(value) if normalize(key) == "import" else []
            frame[key] = value
            continue
        items = value if isinstance(value, list) else [value]
        places = [(key, index) if isinstance(value, list) else (key,) for index in range(len(items))]
        frame_items: list[Any] = []
        for item, pointer in zip(items, places, strict=True):
            if isinstance(item, Mapping):
                at = sum(draft.kind == kind for draft in drafts)
                frame_items.append({"entry": at})
                drafts.append(_draft(kind, item, SourceValue(document, pointer), label, at))
            else:
                frame_items.append(item)
                imports += _paths(item)
        is_plain = (
            key in ("Models", "Collections")
            and isinstance(value, list)
            and items
            and len(drafts)
            and all(map(_is_entry, frame_items))
        )
        if not is_plain:
            frame[key] = frame_items if isinstance(value, list) else frame_items[0]
    if drafts and frame:
        drafts[0] = replace(drafts[0], frame=frame)
    return ReadResult(
        tuple(drafts), tuple(path for pattern in imports for path in _matching_paths(pattern, document.path))
    )


def _is_entry(frame_item: Any) -> bool:
    return isinstance(frame_item, Mapping) and frame_item.keys() == {"entry"}


def _paths(value: Any) -> list[str]:
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str) and item.strip()]


def _matching_paths(pattern: str, base: Path) -> list[Path]:
    """The files that an import names: relative to the file that names them, `*`, `?` and `**` as in a shell."""
    if not re.search(r"[*?\[]", pattern):
        return [base.parent / pattern]
    try:
        return sorted(base.parent.glob(pattern))
    except (ValueError, NotImplementedError, OSError):  # no pattern that pathlib takes: `a**`, an absolute one, a null
        return [base.parent / pattern.replace("\0", "")]


def _draft(kind: str, entry: Mapping[str, Any], location: SourceValue, label: str, index: int) -> Draft:
    fields = COLLECTION if kind == "collection" else MODEL
    data, residue = to_card(entry, fields, location, _derived_fields(entry) if kind == "card" else None)
    name = find(entry, NAME)
    title = str(entry[name[0]]).strip() if name and isinstance(entry[name[0]], (str, int, float)) else ""
    if (
        title
        and name == ("Name",)
        and isinstance(entry["Name"], str)
        and type(entry["Name"]) is str
        and title == entry["Name"]
    ):
        del residue["Name"]
    beyond = residue.pop(BEYOND, None)
    if isinstance(beyond, Mapping):
        card_data = {**data, **beyond, **({"collection": data["collection"]} if "collection" in data else {})}
        own = {key: value for key, value in entry.items() if key not in (BEYOND, "Name")}
        residue = {} if equal(to_entry(card_data, {}, fields), own) else residue
        data.update(beyond)
    elif beyond is not None:
        residue[BEYOND] = beyond
    if residue:
        data["extra"] = {**data.get("extra", {}), OWN: residue}
    stem = f"{Path(label.partition('#')[0]).stem}-{kind}-{index + 1}"
    line = location.document.place(location.pointer).line if location.document else 1
    return Draft(kind, title or stem, data, label, line, index, entry, is_nameless=name is None)


def _derived_fields(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What an entry says of the card's task and builder in several places at once."""
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
    """The page's text on its first collection, or on its only model: description, citation, and the other sections."""
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
    if sections and sections[0].startswith("# "):  # what stands above the title is not the document's
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


@dataclass(frozen=True, slots=True)
class _Part:
    """One entry of a document that is to be written, at its place there."""

    kind: str
    index: int
    frame: Mapping[str, Any]
    entry: Mapping[str, Any]


def write(cards: Sequence[Card], catalog: Catalog) -> Sequence[WrittenDocument]:
    """The documents that these cards came from, with all their collections; cards that came from none make one of their own."""
    documents: dict[str, list[_Part]] = {}
    for index, card in enumerate(cards):
        for label, part in _parts("card", card, catalog, index):
            documents.setdefault(label, []).append(part)
    own = {card.collection for card in cards}
    for index, collection in enumerate(catalog.collections):
        for label, part in _parts("collection", collection, catalog, index):
            if label in documents and (label != NEW or collection.name in own):
                documents[label].append(part)
    return tuple(WrittenDocument(label, card_text(_document(parts))) for label, parts in sorted(documents.items()))


NEW = "model-index.yml"
"""The document of cards that came from none."""


def of_collections(names: Iterable[str], catalog: Catalog) -> Sequence[WrittenDocument]:
    """The documents that hold these collections and no models."""
    documents: dict[str, list[_Part]] = {}
    for index, collection in enumerate(item for item in catalog.collections if item.name in set(names)):
        for label, part in _parts("collection", collection, catalog, index):
            documents.setdefault(label, []).append(part)
    return tuple(WrittenDocument(label, card_text(_document(parts))) for label, parts in sorted(documents.items()))


def _parts(kind: str, item: Card | Collection, catalog: Catalog, index: int) -> Iterator[tuple[str, _Part]]:
    data = _raw_data(item)
    extra = data.get("extra") or {}
    imported = extra.get("imported") if isinstance(extra, Mapping) else None
    if (
        isinstance(imported, list)
        and imported
        and all(isinstance(place, Mapping) and place.get("format") == "model-index" for place in imported)
    ):
        for place in imported:
            entry = _entry(kind, item, data, place, catalog)
            yield str(place["document"]), _Part(kind, int(place["index"]), place.get("frame") or {}, entry)
    else:
        yield NEW, _Part(kind, index, {}, _entry(kind, item, data, None, catalog))


def _raw_data(item: Card | Collection) -> dict[str, Any]:
    """The card's data, its foreign parts with their scalars as the file has them."""
    document = item.where.document
    foreign = parse_foreign(document.text, document.path, document.label).data
    return {**document.data, **{key: foreign[key] for key in ("extra", "training") if key in foreign}}


def _entry(
    kind: str, item: Card | Collection, data: dict[str, Any], place: Mapping[str, Any] | None, catalog: Catalog
) -> dict[str, Any]:
    extra = data.get("extra") or {}
    residue = extra.get(OWN) if place is not None else None
    card_data = {**data}
    if isinstance(item, Card) and item.collection:
        collection = catalog.collection_of(item)
        collection_title = _source_title(collection) if collection else (place or {}).get("collection", item.collection)
        card_data["collection"] = collection_title
    entry = to_entry(
        card_data, residue if isinstance(residue, Mapping) else {}, MODEL if kind == "card" else COLLECTION
    )
    if find(entry, NAME) is None and not (place or {}).get("nameless"):
        name = _source_title(item) if isinstance(item, Collection) else item.name
        entry = {"Name": (place or {}).get("name") or name, **entry}
    beyond = _unmapped_fields(kind, data, card_data, entry, is_new=place is None)
    return {**entry, BEYOND: beyond} if beyond else entry


def _source_title(collection: Collection) -> str:
    """What its documents call a family: its title, if it came from any, else its name."""
    return (collection.title or collection.name) if "imported" in collection.extra else collection.name


_DERIVED = frozenset({"schema", "name", "title", "collection", "extra"})


def _unmapped_fields(
    kind: str, data: Mapping[str, Any], card_data: Mapping[str, Any], entry: Mapping[str, Any], *, is_new: bool
) -> dict[str, Any]:
    """The fields of the card that reading the entry would not give back.

    What an imported card says of itself besides its source (prose, the builder that its ID stands for) is not of the source.
    """
    is_card = kind == "card"
    back, _ = to_card(
        entry, MODEL if is_card else COLLECTION, SourceValue(), _derived_fields(entry) if is_card else None
    )
    if is_new:
        exact = {
            key: value
            for key, value in data.items()
            if key not in ("name", "collection") and not equal(back.get(key), value)
        }
        return exact | (
            {"collection": data["collection"]} if data.get("collection") != card_data.get("collection") else {}
        )
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
