"""Decide whether a model may be published.

Its report must be complete, good and recent, and about exactly the files on this machine. Complete means: each claim of the
card has its finding, the parameters are measured, and one result is ok over a whole split. Good means: exit code 0 with
--strict, and the status of each finding follows from its own measurement (`recomputation`). `admit` judges the report,
`prove` compares it with the measured files. Both are pure: the clock and the measured files are arguments. A refusal names
every problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from zoo.errors import CannotCheck, Refused, UsageError
from zoo.publishing.recomputation import contradictions
from zoo.registry.card import NO_WEIGHTS, Card, Collection, Dataset, ResultClaim, SplitName
from zoo.registry.catalog import Member
from zoo.registry.metrics import METRICS
from zoo.runtime.text import terminal_lines
from zoo.verification import report as reports
from zoo.verification import stored_reports
from zoo.verification.report import Finding, Report, ReportSubject, Status, exit_code
from zoo.weights import upgrade
from zoo.weights.store import Artifact

MAX_AGE_DAYS = 30.0
"""The default age limit. Bytes do not age, but the libraries that read them do: it is a little less than the time
between two releases of timm (1.0.8 on 2024-07-28, 1.0.10 on 2024-10-14; README of
github.com/huggingface/pytorch-image-models at 015ac30, seen 2026-11-24)."""
CLOCK_SKEW = timedelta(minutes=5)
"""How far in the future a report may be: the clocks of two machines differ, and RFC 4120 (8.2) allows as much."""
EARLIEST = datetime(2020, 1, 1, tzinfo=timezone.utc)
"""No report is older than zoo itself."""
COVERED = {"accuracy": ("accuracy", "data"), "flops": ("flops",)}
"""The checks that may be missing, which the README then says, and the checks that each covers: where the data set is
not on this machine, both data and accuracy are skipped. Any other check is required, because without it the bytes are
not known."""
NOT_MEASURED = (Status.SKIPPED, Status.UNKNOWN)
"""The statuses that an allowance covers."""
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Allowance:
    """One check that may be skipped or unknown, and the maintainer's reason to publish without it.

    Raises UsageError for a check that may not be missing, or an empty reason.
    """

    check: str
    reason: str

    def __post_init__(self) -> None:
        if self.check not in COVERED:
            raise UsageError(f"--allow {self.check}: this check is required", hint=f"allow {' or '.join(COVERED)}")
        if not self.reason.strip():
            raise _lone_option()


def parse_allowance(check: str | None, reason: str | None) -> Allowance | None:
    """Return the allowance, None when neither is given; raises UsageError for one without the other."""
    if check is None and reason is None:
        return None
    if check is None or reason is None:
        raise _lone_option()
    return Allowance(check, reason)


def _lone_option() -> UsageError:
    return UsageError("--allow and --reason go together", hint='--allow accuracy --reason "the data set is not public"')


@dataclass(frozen=True, slots=True)
class Terms:
    """What the gate accepts: the oldest report, and evaluation in it, in days; a check that may be missing.

    Raises UsageError when the age is negative or not a number.
    """

    max_age_days: float = MAX_AGE_DAYS
    allowance: Allowance | None = None

    def __post_init__(self) -> None:
        if not self.max_age_days >= 0:  # also true for NaN, which no age would exceed
            raise UsageError(f"not a valid age: {self.max_age_days:g} days", hint="give --max-age 0 or more")


@dataclass(frozen=True, slots=True)
class Admission:
    """A card with the report that allows its publication; only `admit` makes one."""

    member: Member
    datasets: Mapping[str, Dataset]
    """By the name that the card uses."""
    report: Report
    """Only the part about this card."""
    subject: ReportSubject
    allowance: Allowance | None = None

    @property
    def card(self) -> Card:
        """The card."""
        return self.member.card

    @property
    def collection(self) -> Collection | None:
        """The card's family; None when the catalogue does not have it."""
        return self.member.collection

    @property
    def unproven(self) -> tuple[Finding, ...]:
        """The findings without a measurement that the allowance covers."""
        return tuple(item for item in self.report.findings if item.status in NOT_MEASURED)

    @property
    def measured_results(self) -> tuple[tuple[ResultClaim, Finding], ...]:
        """The claimed results that were measured over a whole split, each with its finding."""
        by_key = {item.key: item for item in self.report.findings if item.check == "accuracy"}
        pairs = ((claim, by_key.get(claim.key)) for claim in self.card.results if claim.metric in METRICS)
        return tuple(
            (claim, finding)
            for claim, finding in pairs
            if finding is not None and finding.status is Status.OK and is_whole(finding, self.datasets)
        )

    @property
    def measured_datasets(self) -> tuple[Dataset, ...]:
        """The data sets that a result was measured on, in the card's order."""
        names = dict.fromkeys(claim.dataset for claim, _ in self.measured_results)
        return tuple({item.name: item for item in map(self.datasets.get, names) if item is not None}.values())


@dataclass(frozen=True, slots=True)
class Proof:
    """An admission, and the files on this machine that its report is about; only `prove` makes one."""

    admission: Admission
    artifacts: tuple[Artifact, ...]
    """In the card's order."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """One reason not to publish, and the command or edit that removes it."""

    what: str
    hint: str


def newest_report(member: Member) -> Report:
    """Return the report that the last complete `zoo verify` of the card in its present form stored.

    Raises Refused when there is none, or it is damaged.
    """
    card, digest = member.card, member.sha256
    try:
        report = stored_reports.newest(digest)
    except CannotCheck as error:
        raise Refused(
            f"cannot publish {card.name}: {error.what}", where=error.where, hint=_verify_command(card)
        ) from error
    if report is not None:
        return report
    why = f"the card in its present form is not verified (card_sha256 {digest[:12]})"
    if upgrade.has_report(digest):
        why = "its report is from zoo 0.1, which this version does not accept"
    raise Refused(f"cannot publish {card.name}: {why}", where=str(card.where), hint=_verify_command(card))


def admit(member: Member, report: Report, terms: Terms, *, now: datetime) -> Admission:
    """Return the card with the report that allows its publication. `now` is in UTC.

    Raises Refused, which names every problem and has the report's exit code under --strict.
    """
    card, own = member.card, report.only(member.card.name).without_paths()
    if own.version < reports.VERSION:
        what = f"the report is from zoo {own.zoo}, in format {own.version}, which this version does not accept"
        raise _refusal(card, [Blocker(what, _verify_command(card))], 3)
    subject = _subject_of(member, own)
    datasets = {item.dataset: dataset for item in card.results if (dataset := member.catalog.dataset(item.dataset))}
    blockers = [
        *_age_blockers(card, own, now, terms.max_age_days),
        *_status_blockers(own.findings, terms.allowance),
        *(Blocker(what, _verify_command(card)) for what in contradictions(member, own, subject)),
        *_gap_blockers(card, datasets, own.findings, terms.allowance),
        *_allowance_blockers(own.findings, terms.allowance),
    ]
    if blockers:
        raise _refusal(card, blockers, exit_code(own.findings, strict=True))
    return Admission(member, datasets, own, subject, terms.allowance)


def prove(admission: Admission, artifacts: Sequence[Artifact]) -> Proof:
    """Return the admission with the files, measured just now; raises Refused when the report is about other bytes."""
    reported = {item.file: item.sha256 for item in admission.subject.weights}
    blockers = [
        Blocker(
            f"the report is about other bytes of {item.file}: sha256 {reported.get(item.file, 'missing')},"
            f" on this machine {item.sha256}",
            _verify_command(admission.card),
        )
        for item in artifacts
        if reported.get(item.file) != item.sha256
    ]
    if blockers:
        raise _refusal(admission.card, blockers, 3)
    return Proof(admission, tuple(artifacts))


def is_whole(finding: Finding, datasets: Mapping[str, Dataset]) -> bool:
    """Whether an accuracy finding covers every image of its split, by its own evidence and by the dataset card."""
    name = SplitName.parse(finding.key.rpartition("/")[0])
    images, split_images = finding.evidence.get("images"), finding.evidence.get("split_images")
    known = datasets[name.dataset].splits.get(name.split) if name.dataset in datasets else None
    return images is not None and images == split_images and (known is None or images == known.images)


def measured_in(report: Report, check: str, key: str) -> Finding | None:
    """Return the finding of that check and key; None when the report does not have it."""
    return next((item for item in report.findings if (item.check, item.key) == (check, key)), None)


def _subject_of(member: Member, report: Report) -> ReportSubject:
    card, digest = member.card, member.sha256
    if not report.subjects:
        raise _refusal(card, [Blocker(f"the report does not mention {card.name}", _verify_command(card))], 3)
    if len(report.subjects) > 1:
        what = f"the report mentions {card.name} {len(report.subjects)} times"
        raise _refusal(card, [Blocker(what, _verify_command(card))], 3)
    subject = report.subjects[0]
    if subject.card_sha256 != digest:
        what = f"the card changed since the report: card_sha256 was {subject.card_sha256[:12]}, is now {digest[:12]}"
        raise _refusal(card, [Blocker(what, _verify_command(card))], 3)
    return subject


def _age_blockers(card: Card, report: Report, now: datetime, max_age_days: float) -> Iterator[Blocker]:
    """Yield what is too old: the report, or an accuracy in it, which may come from an earlier evaluation."""
    command, limit = _verify_command(card), f"the limit is {_counted(max_age_days, 'day')}"
    created = _utc(report.created)
    if created is None or created < EARLIEST:
        yield Blocker(f"the report's time is not possible: {report.created}", command)
        return
    age_days = (now - created) / _DAY
    if age_days > max_age_days:
        yield Blocker(f"the report is {age_days:.1f} days old (of {report.created}), {limit}", command)
    if created - now > CLOCK_SKEW:
        yield Blocker(f"the report's time is in the future: {report.created}", f"set the clock, then run `{command}`")
    for finding in report.findings:
        if finding.check != "accuracy" or finding.status in NOT_MEASURED:
            continue
        written = str(finding.evidence.get("measured", "missing"))[:40]
        measured = _utc(written)
        if measured is None or not EARLIEST <= measured <= now + CLOCK_SKEW:
            yield Blocker(f"the time of accuracy {finding.key} is not possible: {written}", command)
        elif (now - measured) / _DAY > max_age_days:
            ago = f"{(now - measured) / _DAY:.1f} days ago (on {written})"
            yield Blocker(
                f"accuracy {finding.key} was measured {ago}, {limit}", f"{command} --max-age {max_age_days:g}"
            )


def _utc(written: str) -> datetime | None:
    """Read the time in a report, such as 2026-11-24T04:00:00Z; None when it is not a time."""
    try:
        return datetime.strptime(written, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def _status_blockers(findings: Iterable[Finding], allowance: Allowance | None) -> Iterator[Blocker]:
    covered = COVERED[allowance.check] if allowance else ()
    for finding in findings:
        if finding.check in covered and finding.status in NOT_MEASURED:
            continue
        if finding.status.exit_code(strict=True):
            yield Blocker(_describe(finding), finding.hint)


def _gap_blockers(
    card: Card, datasets: Mapping[str, Dataset], findings: Sequence[Finding], allowance: Allowance | None
) -> Iterator[Blocker]:
    """Yield what a card that is published has and this one lacks."""
    params = next((item for item in findings if (item.check, item.key) == ("params", "params")), None)
    if params is not None and params.status is Status.UNCLAIMED and params.measured is None:
        yield Blocker("the parameters were not measured", _verify_command(card))
    if not card.weights:
        yield Blocker(NO_WEIGHTS.what, NO_WEIGHTS.hint)
    yield from _result_blockers(card, datasets, [item for item in findings if item.check == "accuracy"], allowance)


def _result_blockers(
    card: Card, datasets: Mapping[str, Dataset], findings: Sequence[Finding], allowance: Allowance | None
) -> Iterator[Blocker]:
    if not card.results:
        hint = (
            f"add `claims: {{results: [...]}}` on a data set that zoo can evaluate, then run `{_verify_command(card)}`"
        )
        yield Blocker("the card claims no result, so nothing shows that the model works", hint)
    parts = [item for item in findings if item.status is Status.OK and not is_whole(item, datasets)]
    for finding in parts:
        images, known = finding.evidence.get("images"), finding.evidence.get("split_images")
        what = f"accuracy {finding.key} covers only a part of the split: {images} of {known} images"
        yield Blocker(what, _verify_command(card))
    if findings and not parts and not any(item.status is Status.OK for item in findings):
        allowed = allowance is not None and allowance.check == "accuracy"
        if not allowed and not any(item.status.exit_code(strict=True) for item in findings):
            yield Blocker("no claimed result was measured", _verify_command(card))


def _allowance_blockers(findings: Sequence[Finding], allowance: Allowance | None) -> Iterator[Blocker]:
    """Yield an allowance that covers nothing: the README would say that something was not verified."""
    if allowance is None or any(
        item.check in COVERED[allowance.check] and item.status in NOT_MEASURED for item in findings
    ):
        return
    what = f"--allow {allowance.check} is not needed: the report has a measurement for each of these claims"
    yield Blocker(what, "publish without --allow and --reason")


def _describe(finding: Finding) -> str:
    text = finding.reason
    if finding.measured is not None and finding.claimed is not None and finding.measured != finding.claimed:
        text = f"claimed {finding.claimed}, measured {finding.measured}" + (f"; {text}" if text else "")
    return f"{finding.where}: {finding.status.value} {finding.check} {finding.key}" + (f": {text}" if text else "")


def _verify_command(card: Card) -> str:
    return f"zoo verify {card.name} --fetch"


def _refusal(card: Card, blockers: Sequence[Blocker], code: int) -> Refused:
    """Make one error of them all; those with the same hint stand together."""
    by_hint: dict[str, list[str]] = {}
    for item in blockers:
        by_hint.setdefault(item.hint, []).append(item.what)
    lines = [f"cannot publish {card.name}: {_counted(len(blockers), 'problem')}"]
    for hint, blocked in by_hint.items():
        lines += [f"  {what}" for what in blocked] + ([f"    hint: {hint}"] if hint else [])
    them = "problem" if len(blockers) == 1 else "problems"
    is_said = list(by_hint) == [_verify_command(card)]
    hint = "" if is_said else f"fix the {them} above, then run `{_verify_command(card)}`"
    return Refused(terminal_lines(lines), where=str(card.where), hint=hint, exit_code=code or 3)


def _counted(number: float, noun: str) -> str:
    """Return `1 problem`, `2 problems`."""
    return f"{number:g} {noun}" + ("" if number == 1 else "s")
