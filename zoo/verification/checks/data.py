"""Whether this machine's copy of a data set is the one that the dataset card describes: its classes, counts and digest.

Where an accuracy was measured before, the images were hashed as they were decoded, and nothing is read again here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from zoo.accuracy.datasets import Copy, DamagedImage, DataProblem, abbreviate, open_copy
from zoo.errors import NotHere, WrongContent
from zoo.models.facts import Value
from zoo.models.subject import Settings, Subject
from zoo.registry.card import Card, Dataset
from zoo.registry.catalog import Catalog
from zoo.runtime.engines import cores
from zoo.verification.checks import Question
from zoo.verification.report import Finding, Status

needs: tuple[str, ...] = ()
PARTS = ("classes", "images", "labels", "decoding", "manifest")
"""What a copy is examined for, each with a finding of its own."""


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
        return question.finding(Status.SKIPPED, reason=reason, hint="add it in a folder called datasets")
    copy = open_copy(dataset, split, subject.settings.data)
    if not copy.layout_problems:
        copy.hash_all()
    return judge(copy, question)


def examine(dataset: Dataset, split: str, settings: Settings) -> Iterator[Finding]:
    """A finding for each thing that a copy of a split can have wrong: its classes, images, labels, and their bytes.

    Images are decoded only where no digest vouches for them.
    """
    question = Question(dataset.name, "data", split, str(dataset.splits[split].where))
    try:
        copy = open_copy(dataset, split, settings.data)
    except NotHere as error:
        yield question.finding(Status.SKIPPED, reason=error.what, hint=error.hint)
        return
    except WrongContent as error:
        yield replace(
            question.finding(Status.WRONG, reason=error.what, hint=error.hint), where=error.where or question.where
        )
        return
    if settings.refresh:
        copy.forget_digests()
    copy.hash_all()
    problems = list(copy.problems())
    if copy.manifest_sha256 != copy.card.manifest_sha256 and not any(problem.key == "labels" for problem in problems):
        problems += undecodable(copy)
    for key in PARTS:
        yield _part(
            replace(question, key=f"{split}/{key}"), copy, [problem for problem in problems if problem.key == key]
        )


def undecodable(copy: Copy) -> list[DataProblem]:
    """The images that cannot be decoded, as one problem; none when all can."""

    def damage(index: int) -> str:
        try:
            copy.images.decode(index, copy.images.read(index))
        except DamagedImage:
            return copy.images.name(index)
        return ""

    with ThreadPoolExecutor(cores()) as pool:
        names = [name for name in pool.map(damage, range(len(copy))) if name]
    hint = f"get these again: {abbreviate(names)}"
    return (
        [DataProblem("decoding", f"{len(names)} images cannot be decoded: {abbreviate(names)}", hint)] if names else []
    )


def _part(question: Question, copy: Copy, problems: Sequence[DataProblem]) -> Finding:
    measured = _measured(copy)[question.key.rpartition("/")[2]]
    question = replace(question, claimed=_claimed(copy)[question.key.rpartition("/")[2]])
    if problems:
        reason = "; ".join(problem.what for problem in problems)
        hint = "; ".join(problem.hint for problem in problems if problem.hint)
        return question.finding(Status.WRONG, measured=measured, reason=reason, hint=hint)
    vouched = copy.card.manifest_sha256 is not None or not question.key.endswith(("labels", "manifest"))
    status = Status.OK if vouched else Status.UNCLAIMED
    return question.finding(status, measured=measured)


def _measured(copy: Copy) -> dict[str, Value]:
    classes = len({label for image in copy.images.labels for label in image})
    return {"classes": classes, "images": len(copy), "labels": None, "decoding": None, "manifest": copy.manifest_sha256}


def _claimed(copy: Copy) -> dict[str, Value]:
    card = copy.card
    claimed = {"classes": len(copy.dataset.classes), "images": card.images, "manifest": card.manifest_sha256}
    return {"labels": None, "decoding": None, **claimed}


def judge(copy: Copy, question: Question) -> Finding:
    """The finding about a copy whose images are hashed, or whose layout is wrong."""
    labels, digest = copy.images.labels, copy.manifest_sha256
    classes = len({label for image in labels for label in image})
    evidence = {"images": len(copy), "classes": classes, **({"manifest_sha256": digest} if digest else {})}
    measured = digest if copy.card.manifest_sha256 and digest else len(copy)
    problems = copy.problems()
    if problems:
        reason = "; ".join(problem.what for problem in problems)
        hint = "; ".join(dict.fromkeys(problem.hint for problem in problems if problem.hint))
        return question.finding(Status.WRONG, measured=measured, reason=reason, hint=hint, evidence=evidence)
    return question.compare(measured, evidence=evidence)
