"""Derive the findings of a report again from the card and from the report's own measurements, and name what contradicts it.

A report is a file that anybody can edit. The card says which findings it must have, and with which claims and tolerances;
counts, digests and logits in it say what the status of each must be. Nothing here measures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from zoo import plugins
from zoo.accuracy import intervals
from zoo.accuracy.intervals import Answer, Claim
from zoo.registry.card import Dataset, FlopsClaim, ResultClaim, SplitName, Weights, dataset_sha256
from zoo.registry.catalog import Member
from zoo.registry.metrics import METRICS
from zoo.runtime.redaction import without_paths
from zoo.runtime.text import visible
from zoo.verification.accept import accept
from zoo.verification.checks import Question, accuracy, agrees, fingerprint, loading
from zoo.verification.report import Finding, Report, ReportSubject, Status
from zoo.verification.runner import ASKS_SERVERS, select_checks

LARGEST = 1e21
"""Numbers in a report are smaller: no model has as many parameters, operations or bytes."""
MOST_KEYS = 3
"""How many keys a message names."""
NUMBERS = ("accuracy", "files", "flops", "params")
"""The checks that `altered_numbers` derives again."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+!-]{0,63}|unknown")
_WORD = re.compile(r"[A-Za-z_][\w.]{0,199}", re.ASCII)


def contradictions(member: Member, report: Report, subject: ReportSubject) -> Iterator[str]:
    """Yield what in a card's report contradicts the card or the report itself, a phrase each.

    report: the part about this card. subject: what it says that its findings are about.
    """
    required = _questions(member, select_checks((), remote=False))
    allowed = {**required, **_questions(member, (ASKS_SERVERS,))}
    findings = _findings(report)
    yield from _origin(report)
    yield from _unlike(required, allowed, findings)
    for key, found in findings.items():
        for question, finding in zip(allowed.get(key, ()), found, strict=False):
            if problem := _problem(_Answer(member, report, question, finding)):
                yield f"{finding.check} {_shown(finding.key)}: {problem}"
    yield from _identities(member, report, subject)


def altered_numbers(member: Member, report: Report) -> Iterator[tuple[Finding, str]]:
    """Yield the findings about numbers and digests that contradict the card or their own counts, each with the reason.

    This is for a published report, which may be of another version of zoo, with other rules and other evidence.
    """
    questions = _questions(member, NUMBERS)
    for key, found in _findings(report).items():
        for question, finding in zip(questions.get(key, ()), found, strict=False):
            if problem := _problem(_Answer(member, report, question, finding)):
                yield finding, problem


def derived_status(member: Member, report: Report, question: Question, finding: Finding) -> Status | str:
    """Return the status that a finding must have by its own measurement, or why its measurement is not possible."""
    answer = _Answer(member, report, question, finding)
    derive = _DERIVATIONS.get(finding.check, _by_numbers)
    try:
        status = derive(answer)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):  # evidence of another shape
        return "its evidence is not of the form that zoo writes"
    if not isinstance(status, Status):
        return status
    return accept(member.card, replace(finding, status=status)).status


@dataclass(frozen=True, slots=True)
class _Answer:
    """A finding of a report, and the card's question that it answers."""

    member: Member
    report: Report
    question: Question
    finding: Finding

    @property
    def evidence(self) -> Mapping[str, Any]:
        return self.finding.evidence


# --- which findings there must be ---------------------------------------------------------------------------------


_Key = tuple[str, str]
"""The check and the key of a finding."""


def _questions(member: Member, checks: Iterable[str]) -> dict[_Key, list[Question]]:
    by_key: dict[_Key, list[Question]] = {}
    for check in checks:
        for question in plugins.load("checks", check).questions(member):
            by_key.setdefault((check, question.key), []).append(question)
    return by_key


def _findings(report: Report) -> dict[_Key, list[Finding]]:
    by_key: dict[_Key, list[Finding]] = {}
    for finding in report.findings:
        by_key.setdefault((finding.check, finding.key), []).append(finding)
    return by_key


def _unlike(
    required: Iterable[_Key], allowed: Mapping[_Key, Sequence[Question]], findings: Mapping[_Key, Sequence[Finding]]
) -> Iterator[str]:
    """Yield the questions without a finding, the findings without a question, and those that are not one to one."""
    for check, keys in _by_check(key for key in required if key not in findings):
        yield f"the report has no finding for {check} {_listed(keys)}"
    known = set(plugins.names("checks"))
    for check, keys in _by_check(key for key in findings if key not in allowed):
        if check not in known:
            yield f"the report has a finding of {_text(check)}, which is not a check of this zoo"
        else:
            yield f"the report has a finding for {check} {_listed(keys)}, which the card does not claim"
    for (check, key), found in findings.items():
        claims = len(allowed.get((check, key), found))
        if len(found) != claims:
            yield f"the report has {len(found)} findings for {check} {_shown(key)}, but the card has {claims} of these claims"


# --- one finding --------------------------------------------------------------------------------------------------


def _problem(answer: _Answer) -> str:
    """Return how a finding contradicts the card or itself; empty when it does not. One that is not good needs no proof."""
    question, finding = answer.question, answer.finding
    for name, words in (("claimed", "claim"), ("tolerance", "tolerance"), ("unit", "unit")):
        by_card, by_report = without_paths(getattr(question, name)), getattr(finding, name)
        if by_card != by_report:
            return f"the report has the {words} {_text(by_report)}, but the card has {_text(by_card)}"
    if finding.status in (Status.WRONG, Status.SUSPECT):
        return ""
    derived = derived_status(answer.member, answer.report, question, finding)
    if finding.status in (Status.OK, Status.UNCLAIMED):
        if not isinstance(derived, Status):  # a Status is a str too
            return derived
        return "" if derived is finding.status else _other_status(finding, derived)
    return _other_status(finding, derived) if derived is Status.WRONG and finding.measured is not None else ""


def _other_status(finding: Finding, derived: Status) -> str:
    measured = f" (claimed {_text(finding.claimed)}, measured {_text(finding.measured)})"
    about = measured if finding.claimed is not None or finding.measured is not None else ""
    return f"the report says {finding.status.value}, but by its own measurement it is {derived.value}{about}"


def _by_comparison(answer: _Answer) -> Status | str:
    """Compare a measured number with the claim, within the claim's tolerance."""
    question, measured = answer.question, answer.finding.measured
    if not _is_number(measured) or measured < 0:
        return f"measured is {_text(measured)}, which is not a number of {question.unit}"
    if question.claimed is None:
        return Status.UNCLAIMED
    return Status.OK if agrees(question.claimed, measured, question.tolerance) else Status.WRONG


def _by_numbers(answer: _Answer) -> Status | str:
    """Compare numbers; of anything else, only the check itself knows what it means."""
    numbers = (answer.question.claimed, answer.finding.measured)
    return _by_comparison(answer) if all(map(_is_number, numbers)) else answer.finding.status


def _count(answer: _Answer) -> Status | str:
    measured = answer.finding.measured
    return _by_comparison(answer) if _is_count(measured) else f"measured is {_text(measured)}, which is not a count"


def _flops(answer: _Answer) -> Status | str:
    claim: FlopsClaim | None = answer.question.about
    if claim is not None and claim.convention is None:
        return Status.UNKNOWN
    convention = claim.convention if claim is not None else "macs"
    card = answer.member.card
    size = (claim.input if claim is not None else None) or (card.input.size if card.input else None)
    if answer.evidence["convention"] != convention or size is None or answer.evidence["input"] != list(size):
        return "it was counted under another convention or at another input than the claim's"
    return _by_comparison(answer)


def _files(answer: _Answer) -> Status | str:
    weights: Weights = answer.question.about
    measured = answer.finding.measured
    if answer.question.key.endswith("/size"):
        return _count(answer)
    if not isinstance(measured, str) or not _DIGEST.fullmatch(measured):
        return f"measured is {_text(measured)}, which is not a SHA-256 of 64 digits"
    if weights.sha256 is None:
        return Status.UNKNOWN
    if not measured.startswith(weights.sha256):
        return Status.WRONG
    return Status.OK if len(weights.sha256) == 64 else Status.SUSPECT


def _build(answer: _Answer) -> Status | str:
    traits = answer.evidence
    for name in ("num_classes", "num_features"):
        if name in traits and not _is_count(traits[name]):
            return f"{name} is {_text(traits[name])}, which is not a number"
    for name in ("module", "global_pool", "first_conv", "classifier"):
        values = traits.get(name, ())
        if not all(isinstance(item, str) and _WORD.fullmatch(item) for item in _as_list(values)):
            return f"{name} is {_text(values)}, which is not a name"
    if not isinstance(traits.get("fixed_input_size", False), bool):
        return "fixed_input_size is not true or false"
    is_same = answer.question.claimed is not None and answer.finding.measured == answer.question.claimed
    return Status.OK if is_same else Status.WRONG


def _loading(answer: _Answer) -> Status | str:
    about, evidence = answer.question.about, answer.evidence
    if isinstance(about, Weights):
        if not _is_count(evidence["tensors"]) or not evidence["tensors"]:
            return f"the file has {_text(evidence['tensors'])} tensors"
        return loading.judge(answer.question, about, evidence).status
    return Status.OK if about is not None and isinstance(evidence["dtypes"], Mapping) else Status.SKIPPED


def _fingerprint(answer: _Answer) -> Status | str:
    logits = answer.evidence["logits"]
    if not logits or not all(map(_is_number, logits)):
        return "its logits are not numbers"
    return fingerprint.judge(answer.question, tuple(logits)).status


def _consistency(answer: _Answer) -> Status | str:
    status: Status = answer.question.about.status
    return status


def _data(answer: _Answer) -> Status | str:
    dataset: Dataset | None = answer.question.about[0]
    split = dataset.splits.get(answer.question.about[1]) if dataset else None
    if dataset is None or split is None:
        return Status.SKIPPED
    if answer.evidence["dataset_sha256"] != dataset_sha256(dataset):
        return f"the dataset card of {dataset.name} changed since the report"
    manifest, images = answer.evidence["manifest_sha256"], answer.evidence["images"]
    if not isinstance(manifest, str) or not _DIGEST.fullmatch(manifest):
        return "its manifest_sha256 is not a SHA-256 of 64 digits"
    if not _is_count(images) or images != split.images:
        return f"the copy has {_text(images)} images, the dataset card says {split.images}"
    if answer.finding.measured != (manifest if split.manifest_sha256 else images):
        return "measured is not what its evidence says"
    return Status.OK if answer.finding.measured == answer.question.claimed else Status.WRONG


def _accuracy(answer: _Answer) -> Status | str:
    claim: ResultClaim = answer.question.about[0]
    dataset: Dataset | None = answer.question.about[1]
    split = dataset.splits.get(claim.split) if dataset else None
    if split is None or claim.metric not in METRICS:
        return f"zoo has no evaluator for {_shown(claim.metric)} on {_shown(str(claim.split_name))}"
    correct, images, total = (answer.evidence[name] for name in ("correct", "images", "split_images"))
    if not all(map(_is_count, (correct, images, total))):
        return "its numbers of images are not counts"
    if not (correct <= images <= total and images):
        return f"{correct} of {images} images are correct, of a split of {total}, which is impossible"
    if total != split.images:
        return f"it was measured on a split of {total} images, but the dataset card says {split.images}"
    accuracy_in_unit = round(correct / images * claim.whole, 6)
    measured = answer.finding.measured
    if not _is_number(measured) or abs(measured - accuracy_in_unit) > 1e-6:
        return f"measured is {_text(measured)}, but {correct} of {images} images are {accuracy_in_unit:g}"
    if problem := _other_manifest(answer) or _more_top1(answer, correct):
        return problem
    if images < total:
        return answer.finding.status  # the gate refuses a part of a split, whatever the verdict
    own = Claim(claim.value / claim.whole, accuracy.tolerance(claim) / claim.whole)
    verdict = intervals.judge(own, correct, images, total, level=intervals.DESCRIPTION_LEVEL, anytime=False)
    return Status.OK if verdict.answer is Answer.PROVED else Status.WRONG


def _other_manifest(answer: _Answer) -> str:
    """Return how the images differ from those of the data finding, where both are in the report."""
    name = answer.question.key.rpartition("/")[0]
    data = next((item for item in answer.report.findings if (item.check, item.key) == ("data", name)), None)
    manifests = [item.evidence.get("manifest_sha256") for item in (answer.finding, data) if item is not None]
    known = {manifest for manifest in manifests if manifest is not None}
    return f"it was measured on other images than those of data {_shown(name)}" if len(known) > 1 else ""


def _more_top1(answer: _Answer, correct: int) -> str:
    """Return the contradiction of more images with the right class first than among the first five."""
    split, _, metric = answer.question.key.rpartition("/")
    if metric != "top1":
        return ""
    top5 = [item for item in answer.report.findings if (item.check, item.key) == ("accuracy", f"{split}/top5")]
    counts = [item.evidence.get("correct") for item in top5 if item.evidence.get("images") == answer.evidence["images"]]
    if any(_is_count(count) and count < correct for count in counts):
        return f"top-1 is correct for {correct} images, but top-5 for {counts[0]}, which is impossible"
    return ""


_DERIVATIONS: dict[str, Callable[[_Answer], Status | str]] = {
    "accuracy": _accuracy,
    "build": _build,
    "consistency": _consistency,
    "data": _data,
    "files": _files,
    "fingerprint": _fingerprint,
    "flops": _flops,
    "loading": _loading,
    "params": _count,
    "remote": lambda answer: answer.finding.status,  # it proves nothing that is published
    "schema": lambda answer: Status.OK,
}
"""How the status of a check's finding follows from its evidence. Of other distributions' checks, numbers are compared."""


# --- the report as a whole ----------------------------------------------------------------------------------------


def _origin(report: Report) -> Iterator[str]:
    """Yield what is not of the form that zoo writes: the version, the machine and its libraries."""
    if not _VERSION.fullmatch(report.zoo):
        yield f"the report's version of zoo is {_text(report.zoo)}, which is not a version"
    libraries = report.environment.get("libraries")
    values = [report.environment.get("python"), report.environment.get("platform")]
    if not isinstance(libraries, Mapping) or not all(isinstance(item, str) for item in (*libraries.values(), *values)):
        yield "the report does not say on which machine and with which libraries it was made"


def _identities(member: Member, report: Report, subject: ReportSubject) -> Iterator[str]:
    """Yield where files and data that the report is about are not the card's, or not those of its findings."""
    measured = {(item.check, item.key): item.measured for item in report.findings}
    files = [item.file for item in subject.weights]
    digests = {item.file: measured.get(("files", f"{item.file}/sha256")) for item in member.card.weights}
    for file in (file for file, sha256 in digests.items() if sha256 is not None and file not in files):
        yield f"the report does not name {_shown(file)} among the files that it is about"
    if len(set(files)) < len(files) or set(files) - {item.file for item in member.card.weights}:
        yield f"the report is about {_listed(files)}, but the card lists {_listed([item.file for item in member.card.weights])}"
    for item in subject.weights:
        found = measured.get(("files", f"{item.file}/sha256")), measured.get(("files", f"{item.file}/size"))
        if found != (item.sha256, item.size_bytes):
            yield f"files {_shown(item.file)}: the report is about other bytes than its own findings"
    by_findings = {
        (*_split_of(item.key), str(item.evidence["manifest_sha256"]))
        for item in report.findings
        if item.check == "data" and "manifest_sha256" in item.evidence
    }
    if {(item.name, item.split, item.manifest_sha256) for item in subject.datasets} != by_findings:
        yield "the report is about other data than its own findings"


def _split_of(key: str) -> tuple[str, str]:
    name = SplitName.parse(key)
    return name.dataset, name.split


# --- values of any type -------------------------------------------------------------------------------------------


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST < value < LARGEST


def _is_count(value: object) -> TypeGuard[int]:
    return _is_number(value) and isinstance(value, int) and value >= 0


def _as_list(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else [value]


def _by_check(keys: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    by_check: dict[str, list[str]] = {}
    for check, key in keys:
        by_check.setdefault(check, []).append(key)
    return list(by_check.items())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_KEYS} more" if len(names) > MOST_KEYS else ""
    return ", ".join(map(_shown, names[:MOST_KEYS])) + more


def _shown(text: str) -> str:
    shown = visible(text)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _text(value: object) -> str:
    """Return a value of any type for a message; text in quotes."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return f"'{_shown(value)}'"
    return _shown(f"{value}") if _is_number(value) else f"a {type(value).__name__}"
