"""Whether this machine's copy of a data set is the one that the dataset card describes: its counts and its digest."""

from __future__ import annotations

from collections.abc import Iterable

from zoo.card import Card, Dataset
from zoo.catalog import Catalog
from zoo.checks import Question
from zoo.datasets import open_copy
from zoo.model import Subject
from zoo.report import Finding, Status

needs: tuple[str, ...] = ()


def questions(card: Card, catalog: Catalog) -> Iterable[Question]:
    """One for each split that a result is claimed on."""
    for name, split in dict.fromkeys((claim.dataset, claim.split) for claim in card.results):
        dataset = catalog.dataset(name)
        known = dataset.splits.get(split) if dataset else None
        where = str(known.where) if known else next(str(c.where["dataset"]) for c in card.results if c.dataset == name)
        claimed = (known.manifest_sha256 or known.images) if known else None
        yield Question(card.name, "data", f"{name}/{split}", where, claimed, about=(dataset, split))


def answer(subject: Subject, question: Question) -> Finding:
    """The manifest's digest where the dataset card has one, else the number of images."""
    dataset, split = question.about
    if dataset is None or split not in dataset.splits:
        reason = f"no dataset card describes {question.key}"
        return question.finding(Status.SKIPPED, reason=reason, mend="add it in a folder called datasets")
    copy, known = open_copy(dataset, split, subject.settings.data), dataset.splits[split]
    labels, digest = copy.images.labels, copy.manifest_sha256
    evidence = {"images": len(labels), "classes": len(set(labels)), "manifest_sha256": digest}
    if len(labels) != known.images:
        reason = f"the copy has {len(labels)} images, the dataset card says {known.images}"
        return question.finding(
            Status.WRONG, measured=len(labels), reason=reason, mend=_mend(dataset), evidence=evidence
        )
    measured = digest if known.manifest_sha256 else len(labels)
    return question.compare(measured, mend=_mend(dataset), evidence=evidence)


def _mend(dataset: Dataset) -> str:
    return dataset.obtain or f"get a right copy of {dataset.name}; this one was changed or is damaged"
