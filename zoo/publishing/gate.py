"""Card + report + measured files -> Proof: the one way to what may be published, or a refusal that names what is in the way.

The report must be complete (files, build and loading ok, parameters measured, one result ok over a whole split), good
(exit code 0 with --strict), recent, about this card and about these very bytes. Pure: the clock and the measured files
are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from zoo.errors import Refused
from zoo.registry.card import Card, Collection, Dataset, card_sha256
from zoo.registry.catalog import Catalog
from zoo.runtime.storage import state_folder
from zoo.verification import report as reports
from zoo.verification.report import Finding, Report, ReportSubject, Status, exit_code
from zoo.weights import upgrade
from zoo.weights.store import Artifact

MAX_AGE_DAYS = 30
"""Bytes do not age, the libraries that read them do: a little less than the time between two releases of timm (1.0.8 on
2024-07-28, 1.0.10 on 2024-10-14; README of github.com/huggingface/pytorch-image-models at 015ac30, seen 2026-11-24)."""
CLOCK_SKEW = timedelta(minutes=5)
"""How far in the future a report may be made: clocks of two machines differ, RFC 4120 (8.2) allows as much."""
COVERED = {"accuracy": ("accuracy", "data"), "flops": ("flops",)}
"""The checks that may be missing, said so in the published card, and what each covers: where the data are not on this
machine, both the data and the accuracy are skipped. Without any other check the bytes would not be known."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """One check that may be skipped or unknown, and why its maintainer publishes all the same."""

    check: str
    reason: str


@dataclass(frozen=True, slots=True)
class Admission:
    """A report that lets its card through; only `admit` makes one."""

    card: Card
    collection: Collection | None
    datasets: Mapping[str, Dataset]
    """By the name that the card calls them."""
    report: Report
    """Only what it says of this card."""
    subject: ReportSubject
    allowance: Allowance | None = None

    @property
    def unproven(self) -> tuple[Finding, ...]:
        """What was let through without a measurement."""
        return tuple(item for item in self.report.findings if item.status in (Status.SKIPPED, Status.UNKNOWN))


@dataclass(frozen=True, slots=True)
class Proof:
    """An admission, and the files on this machine that it is about; only `prove` makes one."""

    admission: Admission
    artifacts: tuple[Artifact, ...]
    """In the card's order."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """One thing in the way of a publish: what, and the command or edit that mends it."""

    what: str
    hint: str


def newest_report(card: Card, collection: Collection | None) -> Report:
    """The report of the last whole `zoo verify` of the card as it is now; raises Refused when there is none."""
    digest = card_sha256(card, collection)
    paths = sorted(state_folder("reports", digest).glob("*.json"))
    if not paths:
        why = f"nothing has verified this card as it is now (card_sha256 {digest[:12]})"
        if upgrade.has_report(digest):
            why = "its report is of zoo 0.1, which proves nothing to this zoo: verify again"
        raise Refused(f"{card.name} is not published: {why}", where=str(card.where), hint=_verify_command(card))
    return reports.read(paths[-1])


def admit(
    card: Card,
    catalog: Catalog,
    report: Report,
    *,
    now: datetime,
    max_age: timedelta,
    allowance: Allowance | None = None,
) -> Admission:
    """The card with the report that lets it through. `now` is UTC.

    Raises Refused, which names everything in the way, with the strict exit code of the report.
    """
    own = report.only(card.name)
    if own.version < reports.VERSION:
        what = (
            f"the report is of zoo {own.zoo}, in format {own.version}, which proves nothing to this zoo: verify again"
        )
        raise _refusal(card, [Blocker(what, _verify_command(card))], 3)
    subject = _subject_of(card, catalog.collection_of(card), own)
    datasets = {item.dataset: dataset for item in card.results if (dataset := catalog.dataset(item.dataset))}
    blockers = [
        *_age_blockers(card, own, now, max_age),
        *_status_blockers(own.findings, allowance),
        *_gap_blockers(card, datasets, own.findings, allowance),
    ]
    if blockers:
        raise _refusal(card, blockers, exit_code(own.findings, strict=True))
    return Admission(card, catalog.collection_of(card), datasets, own, subject, allowance)


def prove(admission: Admission, artifacts: Sequence[Artifact]) -> Proof:
    """The admission with the files, measured just now; raises Refused when the report is about other bytes."""
    measured = {item.file: item.sha256 for item in admission.subject.weights}
    blockers = [
        Blocker(
            f"the report is about other bytes of {item.file}: there sha256 {measured.get(item.file, 'nothing')},"
            f" on this machine {item.sha256}",
            _verify_command(admission.card),
        )
        for item in artifacts
        if measured.get(item.file) != item.sha256
    ]
    if blockers:
        raise _refusal(admission.card, blockers, 3)
    return Proof(admission, tuple(artifacts))


def is_whole(finding: Finding, datasets: Mapping[str, Dataset]) -> bool:
    """Whether an accuracy finding rests on every image of its split, by its own evidence and by the dataset card."""
    name, split, _ = finding.key.split("/", 2)
    images, split_images = finding.evidence.get("images"), finding.evidence.get("split_images")
    known = datasets[name].splits.get(split) if name in datasets else None
    return images is not None and images == split_images and (known is None or images == known.images)


def _subject_of(card: Card, collection: Collection | None, report: Report) -> ReportSubject:
    for subject in report.subjects:
        digest = card_sha256(card, collection)
        if subject.card_sha256 == digest:
            return subject
        what = (
            f"the report is about the card as it was (card_sha256 {subject.card_sha256[:12]}), it is now {digest[:12]}"
        )
        raise _refusal(card, [Blocker(what, _verify_command(card))], 3)
    raise _refusal(card, [Blocker(f"the report does not mention {card.name}", _verify_command(card))], 3)


def _age_blockers(card: Card, report: Report, now: datetime, max_age: timedelta) -> Iterator[Blocker]:
    """The report's age, and that of the accuracies in it: what was evaluated before is not evaluated for each report."""
    created, days = _utc(report.created), max_age / timedelta(days=1)
    if now - created > max_age:
        what = f"the report is {_days(now - created)} days old (of {report.created}), at most {days:g} are allowed"
        yield Blocker(what, _verify_command(card))
    if created - now > CLOCK_SKEW:
        yield Blocker(
            f"the report was made in the future, at {report.created}", f"set the clock, then {_verify_command(card)}"
        )
    for finding in report.findings:
        measured = finding.evidence.get("measured")
        if finding.check == "accuracy" and isinstance(measured, str) and now - _utc(measured) > max_age:
            old = _days(now - _utc(measured))
            what = f"accuracy {finding.key} was measured {old} days ago (on {measured}), at most {days:g} are allowed"
            yield Blocker(what, f"{_verify_command(card)} --max-age {days:g}")


def _utc(created: str) -> datetime:
    """The time in a report, such as 2026-11-24T04:00:00Z."""
    return datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


def _days(span: timedelta) -> str:
    return f"{span / timedelta(days=1):.1f}"


def _status_blockers(findings: Iterable[Finding], allowance: Allowance | None) -> Iterator[Blocker]:
    covered = COVERED.get(allowance.check, ()) if allowance else ()
    for finding in findings:
        if finding.check in covered and finding.status in (Status.SKIPPED, Status.UNKNOWN):
            continue
        if finding.status.exit_code(strict=True):
            yield Blocker(_describe(finding), finding.hint)


def _gap_blockers(
    card: Card, datasets: Mapping[str, Dataset], findings: Sequence[Finding], allowance: Allowance | None
) -> Iterator[Blocker]:
    """What a complete report has and this one has not. What it has, but not ok, is reported by `_status_blockers`."""
    by_key = {(item.check, item.key): item for item in findings}
    expected = [("build", "build"), ("params", "params")]
    for weights in card.weights:
        expected += [("files", f"{weights.file}/sha256"), ("loading", weights.file)]
    for check, key in expected:
        if (check, key) not in by_key:
            yield Blocker(f"the report says nothing of {check} {key}", _verify_command(card))
    params = by_key.get(("params", "params"))
    if params is not None and params.status is Status.UNCLAIMED and params.measured is None:
        yield Blocker("the parameters were not measured", _verify_command(card))
    if not card.weights:
        yield Blocker("the card lists no weights", "add `weights: [{file: ...}]`")
    yield from _result_blockers(card, datasets, [item for item in findings if item.check == "accuracy"], allowance)


def _result_blockers(
    card: Card, datasets: Mapping[str, Dataset], findings: Sequence[Finding], allowance: Allowance | None
) -> Iterator[Blocker]:
    if not card.results:
        hint = "add `claims: {results: [...]}` on a data set that zoo can evaluate, then " + _verify_command(card)
        yield Blocker("the card claims no result, so nothing shows that these weights do what they are for", hint)
    elif not findings:
        yield Blocker("the report says nothing of accuracy", _verify_command(card))
    parts = [item for item in findings if item.status is Status.OK and not is_whole(item, datasets)]
    for finding in parts:
        images, known = finding.evidence.get("images"), finding.evidence.get("split_images")
        yield Blocker(
            f"accuracy {finding.key} is over a part of the split, {images} of {known} images", _verify_command(card)
        )
    if findings and not parts and not any(item.status is Status.OK for item in findings):
        allowed = allowance is not None and allowance.check == "accuracy"
        if not allowed and not any(item.status.exit_code(strict=True) for item in findings):
            yield Blocker("no claimed result was measured", _verify_command(card))


def _describe(finding: Finding) -> str:
    text = finding.reason
    if finding.measured is not None and finding.claimed is not None and finding.measured != finding.claimed:
        text = f"claimed {finding.claimed}, measured {finding.measured}" + (f"; {text}" if text else "")
    return f"{finding.where}: {finding.status.value} {finding.check} {finding.key}" + (f": {text}" if text else "")


def _verify_command(card: Card) -> str:
    return f"zoo verify {card.name} --fetch"


def _refusal(card: Card, blockers: Sequence[Blocker], code: int) -> Refused:
    """One error that names them all, those with the same hint together."""
    by_hint: dict[str, list[str]] = {}
    for item in blockers:
        by_hint.setdefault(item.hint, []).append(item.what)
    lines = [f"{card.name} is not published, {len(blockers)} in the way:"]
    for hint, blocked in by_hint.items():
        lines += [f"  {what}" for what in blocked] + ([f"    hint: {hint}"] if hint else [])
    hint = "" if list(by_hint) == [_verify_command(card)] else f"do what stands above, then {_verify_command(card)}"
    return Refused("\n".join(lines), where=str(card.where), hint=hint, exit_code=code or 3)


def measured_in(report: Report, check: str, key: str) -> Finding | None:
    """The finding of that check and key, if the report has it."""
    return next((item for item in report.findings if (item.check, item.key) == (check, key)), None)


def report_from(path: Path | None, card: Card, collection: Collection | None) -> Report:
    """The report in a file, or the newest stored one about the card; raises Refused when there is none."""
    return reports.read(path) if path is not None else newest_report(card, collection)
