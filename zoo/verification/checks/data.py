"""Check that this machine's copy of a data set is the one that the dataset card describes: classes, counts and digest.

When an accuracy was measured before, its images were hashed then, and this check does not read them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from zoo.accuracy.datasets import Copy, DamagedImage, DataProblem, abbreviate, open_copy
from zoo.errors import NotHere, WrongContent
from zoo.models.facts import Value
from zoo.models.subject import Settings, Subject
from zoo.registry.card import Dataset, ResultClaim, SplitName, dataset_sha256
from zoo.registry.catalog import Member
from zoo.runtime.engines import cores
from zoo.verification.checks import Question
from zoo.verification.report import Finding, Status

needs: tuple[str, ...] = ()
PARTS = ("classes", "images", "labels", "decoding", "manifest")
"""The parts of a copy that `examine` reports, each as one finding."""


def questions(member: Member) -> Iterable[Question]:
    """Yield a question for each split that a result is claimed on."""
    card = member.card
    claims: dict[SplitName, ResultClaim] = {}
    for claim in card.results:
        claims.setdefault(claim.split_name, claim)
    for name, claim in claims.items():
        dataset = member.catalog.dataset(name.dataset)
        known = dataset.splits.get(name.split) if dataset else None
        where = str(known.where) if known else str(claim.where["dataset"])
        claimed = (known.manifest_sha256 or known.images) if known else None
        yield Question(card.name, "data", str(name), where, claimed, about=(dataset, name.split))


def answer(subject: Subject, question: Question) -> Finding:
    """Return the manifest's digest if the dataset card has one, else the number of images, compared with the dataset card."""
    dataset, split = question.about
    subject.catalog.refuse_invalid_dataset(SplitName.parse(question.key).dataset)
    if dataset is None:
        reason = f"no dataset card describes {question.key}"
        return question.finding(Status.SKIPPED, reason=reason, hint="add a dataset card in the folder `datasets`")
    copy = open_copy(dataset, split, subject.settings.data)
    if not copy.layout_problems:
        copy.hash_all()
    return judge(copy, question)


def examine(dataset: Dataset, split: str, settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each of PARTS of this machine's copy of a split; one finding when there is no readable copy.

    Images are decoded only when the manifest's digest does not prove that they are the right ones.
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
    """Return the images that cannot be decoded, as one problem; an empty list when all can."""

    def damage(index: int) -> str:
        try:
            copy.images.decode(index, copy.images.read(index))
        except DamagedImage:
            return copy.images.name(index)
        return ""

    with ThreadPoolExecutor(cores()) as pool:
        names = [name for name in pool.map(damage, range(len(copy))) if name]
    if not names:
        return []
    what = f"{len(names)} image{'s' if len(names) > 1 else ''} cannot be decoded: {abbreviate(names)}"
    return [DataProblem("decoding", what, "replace the damaged images with copies from the source of the data set")]


def _part(question: Question, copy: Copy, problems: Sequence[DataProblem]) -> Finding:
    measured = _measured(copy)[question.key.rpartition("/")[2]]
    question = replace(question, claimed=_claimed(copy)[question.key.rpartition("/")[2]])
    evidence = {"equal_images": copy.equal_images} if question.key.endswith("images") else {}
    if problems:
        reason = "; ".join(problem.what for problem in problems)
        hint = "; ".join(dict.fromkeys(problem.hint for problem in problems if problem.hint))
        return question.finding(Status.WRONG, measured=measured, reason=reason, hint=hint, evidence=evidence)
    if evidence and copy.has_suspect_images:
        return _suspect(question, copy, measured, evidence)
    is_claimed = copy.card.manifest_sha256 is not None or not question.key.endswith(("labels", "manifest"))
    return question.finding(Status.OK if is_claimed else Status.UNCLAIMED, measured=measured, evidence=evidence)


def _suspect(question: Question, copy: Copy, measured: Value, evidence: Mapping[str, Any]) -> Finding:
    reason = f"{copy.equal_images:,} of {len(copy):,} images equal another image of the copy"
    hint = f"get a right copy; if the original has them too, run `zoo data verify {copy.dataset.name} --write`"
    return question.finding(Status.SUSPECT, measured=measured, reason=reason, hint=hint, evidence=evidence)


def _measured(copy: Copy) -> dict[str, Value]:
    classes = len({label for image in copy.images.labels for label in image})
    return {"classes": classes, "images": len(copy), "labels": None, "decoding": None, "manifest": copy.manifest_sha256}


def _claimed(copy: Copy) -> dict[str, Value]:
    card = copy.card
    claimed = {"classes": len(copy.dataset.classes), "images": card.images, "manifest": card.manifest_sha256}
    return {"labels": None, "decoding": None, **claimed}


def judge(copy: Copy, question: Question) -> Finding:
    """Return the finding about a copy whose images are hashed, or whose layout is wrong."""
    labels, digest = copy.images.labels, copy.manifest_sha256
    classes = len({label for image in labels for label in image})
    evidence = {"images": len(copy), "classes": classes, **({"manifest_sha256": digest} if digest else {})}
    evidence["dataset_sha256"] = dataset_sha256(copy.dataset)
    if copy.is_hashed:
        evidence["equal_images"] = copy.equal_images
    measured = digest if copy.card.manifest_sha256 and digest else len(copy)
    problems = copy.problems()
    if problems:
        reason = "; ".join(problem.what for problem in problems)
        hint = "; ".join(dict.fromkeys(problem.hint for problem in problems if problem.hint))
        return question.finding(Status.WRONG, measured=measured, reason=reason, hint=hint, evidence=evidence)
    if copy.has_suspect_images:
        return _suspect(question, copy, measured, evidence)
    return question.compare(measured, evidence=evidence)
