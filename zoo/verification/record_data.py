"""Record the digests of data sets in the zoo's own dataset cards: `zoo data verify --write`.

Only digests that the dataset card lacks are written, and only those of a copy in which nothing is wrong. The zoo gets a dataset
card of its own when it only has the one that comes with zoo, which is never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from zoo.accuracy.datasets import open_copy
from zoo.errors import CannotCheck, UsageError
from zoo.models.subject import Settings
from zoo.registry import edit, schema
from zoo.registry.card import Dataset, SplitName
from zoo.registry.catalog import Catalog, own_folders
from zoo.registry.document import Document, parse
from zoo.registry.position import Pointer, json_pointer
from zoo.verification.report import Status
from zoo.verification.runner import Verified

UNPROVEN = (Status.WRONG, Status.UNKNOWN, Status.SKIPPED)


def record(
    examined: Iterable[Verified],
    names: Sequence[str],
    catalog: Catalog,
    folders: Iterable[Path],
    settings: Settings,
    report_line: Callable[[str], None],
) -> Iterator[Verified]:
    """Yield the same results, after writing the digests of each data set or split into its dataset card.

    examined: of `names`, in their order. folders: of the zoo's cards; a new dataset card is written below the first one.
    report_line: called with a line about each name, which says what was added. Raises UsageError when the zoo has no folder
    of its own, CannotCheck when the dataset card cannot be written.
    """
    for name, part in zip(names, examined, strict=True):
        unproven = [finding for finding in part.findings if finding.status in UNPROVEN]
        if unproven:
            report_line(f"{name}: nothing recorded, because {unproven[0].key} is {unproven[0].status.value}")
        else:
            report_line(_record(SplitName.parse(name), catalog, folders, settings))
        yield part


def _record(name: SplitName, catalog: Catalog, folders: Iterable[Path], settings: Settings) -> str:
    dataset = catalog.find_dataset(name.dataset)
    planned: dict[Pointer, Any] = {}
    for split in [name.split] if name.split else dataset.splits:
        planned |= _missing_digests(dataset, split, settings)
    if not planned:
        return f"{name}: nothing to add"
    document = _own_document(dataset, catalog, folders)
    text = edit.apply(document, planned)
    wrong = schema.problems(parse(text, document.path, document.label), "dataset")
    if wrong:
        raise CannotCheck(f"the digests do not fit the dataset card: {wrong[0].what}", where=str(wrong[0].place))
    if any(entry.path == document.path for entry in catalog.own_datasets):
        edit.save(document, text)
    else:
        edit.create(document.path, text, top=document.path.parents[1])
    return f"{document.label}: added {', '.join(json_pointer(pointer) for pointer in planned)}"


def _missing_digests(dataset: Dataset, split: str, settings: Settings) -> dict[Pointer, Any]:
    copy = open_copy(dataset, split, settings.data)
    copy.hash_all()
    measured = {"manifest_sha256": copy.manifest_sha256, "content_sha256": copy.content_sha256}
    return {("splits", split, name): digest for name, digest in measured.items() if getattr(copy.card, name) is None}


def _own_document(dataset: Dataset, catalog: Catalog, folders: Iterable[Path]) -> Document:
    """Return the document of the zoo's own dataset card, or of a new one with the values of the card that comes with zoo."""
    document = dataset.where.document
    if any(entry.path == document.path for entry in catalog.own_datasets):
        return document
    own = own_folders(folders)
    if not own:
        what = f"the dataset card of {dataset.name} comes with zoo, which does not change it"
        raise UsageError(what, where=str(dataset.where), hint="give --cards DIR, the folder of your cards")
    path = own[0] / "datasets" / f"{dataset.name}.yaml"
    return parse(edit.card_text(document.data), path)
