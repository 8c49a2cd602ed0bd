"""Whether this machine's copy of a data set is the one that the dataset card describes: its classes, counts and digest.

Where an accuracy was measured before, the images were hashed as they were decoded, and nothing is read again here.
"""

from __future__ import annotations

from collections.abc import Iterable

from zoo.card import Card
from zoo.catalog import Catalog
from zoo.checks import Question
from zoo.datasets import Copy, open_copy
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
    copy = open_copy(dataset, split, subject.settings.data)
    if not copy.layout_problems:
        copy.hash_all()
    return judge(copy, question)


def judge(copy: Copy, question: Question) -> Finding:
    """The finding about a copy whose images are hashed, or whose layout is wrong."""
    labels, digest = copy.images.labels, copy.manifest_sha256
    classes = len({label for image in labels for label in image})
    evidence = {"images": len(copy), "classes": classes, **({"manifest_sha256": digest} if digest else {})}
    measured = digest if copy.card.manifest_sha256 and digest else len(copy)
    found = copy.problems()
    if found:
        reason = "; ".join(problem.what for problem in found)
        mend = "; ".join(dict.fromkeys(problem.mend for problem in found if problem.mend))
        return question.finding(Status.WRONG, measured=measured, reason=reason, mend=mend, evidence=evidence)
    return question.compare(measured, evidence=evidence)
