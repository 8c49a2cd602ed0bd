"""Cards -> findings: asks each check's questions in the order of their needs, and turns what is raised into findings.

A check is answered only when what it needs is ok: if that is wrong or unknown the answer is `unknown` and names it, if it
is skipped the answer is `skipped`. Findings come card by card, as they are found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from zoo import plugins
from zoo.errors import CannotCheck, NotHere, UnknownName, UsageError, WrongContent, ZooError
from zoo.models.subject import Settings, Subject
from zoo.registry.card import METRICS, Card, card_sha256
from zoo.registry.catalog import Broken, Catalog, Member
from zoo.runtime import engines, interrupts
from zoo.runtime.engines import Options, Outcome, WorkerDied
from zoo.runtime.storage import state_folder, write_atomically
from zoo.verification import report
from zoo.verification.checks import Check, Question, data
from zoo.verification.report import Finding, MeasuredData, MeasuredFile, Report, ReportSubject, Status

ASKS_SERVERS = "remote"
"""The check that is run only for who wants it (`--remote`): it needs a network, and proves nothing of the bytes."""
BUG_REPORT = "this is a bug in zoo: please report it with the card"


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found about one card, and the very card, bytes and data that it is about."""

    subject: ReportSubject | None
    findings: tuple[Finding, ...]


def verify(
    cards: Iterable[Card | Broken], catalog: Catalog, settings: Settings, checks: Sequence[str] = ()
) -> Iterator[Verified]:
    """What each card's checks find, in the cards' order, as soon as it is known; all checks when none are named.

    With more than one job, or a cluster, an engine does the cards, several at a time; a single card's images else. The
    level of the verdicts on accuracies is divided among their number. Raises UnknownName for a check or an engine that
    does not exist.
    """
    cards, selected = list(cards), select_checks(checks, remote=settings.remote)
    settings = _divide_level(settings, cards)
    evaluation, order = settings.evaluation, order_checks(selected)
    if len(cards) <= 1 or (evaluation.engine == "local" and evaluation.options.jobs == 1):
        yield from (_verify_one(catalog, settings, order, frozenset(selected), card) for card in cards)
        return
    work = partial(_verify_one, catalog, worker_settings(settings), order, frozenset(selected))
    # A worker takes the card out of its own catalogue, where it stands beside its kin: rules compare which one it is.
    places = {id(card): place for place, card in enumerate(catalog.cards)}
    tasks = [places.get(id(card), card) for card in cards]
    running: Iterator[Outcome[Verified]] = plugins.load("engines", evaluation.engine).run(
        work, tasks, evaluation.options
    )
    for outcome in engines.in_order(running):
        card = cards[outcome.position]
        if isinstance(outcome.error, WorkerDied) and isinstance(card, Card):
            yield _result_of_lost_worker(card, catalog, selected, outcome.error)
        else:
            yield outcome.result()


def examine(catalog: Catalog, names: Sequence[str], settings: Settings) -> Iterator[Verified]:
    """What is found about this machine's copies of data sets, named as DATASET or DATASET/SPLIT, one by one.

    Raises UnknownName for a data set, UsageError for a split, that no dataset card describes.
    """
    for name in names:
        dataset = catalog.dataset(name.partition("/")[0])
        if dataset is None:
            raise UnknownName("data set", name.partition("/")[0], [item.name for item in catalog.datasets])
        splits = [name.partition("/")[2]] if "/" in name else list(dataset.splits)
        for split in splits:
            if split not in dataset.splits:
                raise UsageError(f"{dataset.name} has no split {split!r}", hint=f"it has {', '.join(dataset.splits)}")
        examined = (finding for split in splits for finding in data.examine(dataset, split, settings))
        yield Verified(None, tuple(examined))


def select_checks(named: Sequence[str], *, remote: bool) -> tuple[str, ...]:
    """The checks to show: those named, or all but the one that asks servers, which is for who wants it."""
    chosen = tuple(named) or tuple(name for name in plugins.names("checks") if name != ASKS_SERVERS)
    return tuple(dict.fromkeys((*chosen, ASKS_SERVERS))) if remote else chosen


def worker_settings(settings: Settings) -> Settings:
    """The settings for a worker: it tells nobody of its progress, and has no workers of its own."""
    return replace(
        settings, on_progress=None, evaluation=replace(settings.evaluation, engine="local", options=Options())
    )


def _divide_level(settings: Settings, cards: Iterable[Card | Broken]) -> Settings:
    """The level of each verdict on an accuracy: an equal share, so that all together err no oftener than one would
    (Bonferroni's inequality)."""
    claims = [claim for card in cards if isinstance(card, Card) for claim in card.results if claim.metric in METRICS]
    evaluation = settings.evaluation
    return replace(settings, evaluation=replace(evaluation, level=evaluation.level / max(1, len(claims))))


def as_report(verified: Iterable[Verified], *, options: Mapping[str, object]) -> Report:
    """The report of what was verified."""
    parts = tuple(verified)
    return report.make(
        (part.subject for part in parts if part.subject is not None),
        (finding for part in parts for finding in part.findings),
        options=options,
    )


def store_reports(verified: Iterable[Verified], options: Mapping[str, object]) -> Iterator[Verified]:
    """The same, each model's report stored as soon as it is whole: what `zoo publish` asks for.

    A run of some checks only is not stored: it could hide what a whole one found.
    """
    for part in verified:
        if part.subject is not None and not options.get("checks"):
            model_report = as_report([part], options={**options, "strict": True})
            folder = state_folder("reports", part.subject.card_sha256)
            write_atomically(folder / f"{model_report.created.replace(':', '')}.json", model_report.to_json())
        yield part


def order_checks(checks: Iterable[str]) -> tuple[str, ...]:
    """The checks with all that they need, each after its needs, else by name."""
    ordered: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in ordered:
            for need in sorted(_load(name).needs):
                visit(need)
            ordered[name] = None

    for name in sorted(checks):
        visit(name)
    return tuple(ordered)


def _verify_one(
    catalog: Catalog, settings: Settings, order: Sequence[str], selected: frozenset[str], task: Card | Broken | int
) -> Verified:
    card = catalog.cards[task] if isinstance(task, int) else task
    if isinstance(card, Broken):
        return Verified(None, tuple(_load("schema").findings_of(card)))  # type: ignore[attr-defined]  # only schema has it
    return _verify_card(Subject(Member(card, catalog), settings), order, selected)


def _result_of_lost_worker(card: Card, catalog: Catalog, selected: Iterable[str], error: WorkerDied) -> Verified:
    """What can be said of a card whose worker died: that nothing is known."""
    questions = [question for name in selected for question in _load(name).questions(card, catalog)]
    findings = (question.finding(Status.UNKNOWN, reason=error.what, hint=error.hint) for question in questions)
    return Verified(ReportSubject(card.name, card_sha256(card, catalog.collection_of(card))), tuple(findings))


def _verify_card(subject: Subject, order: Sequence[str], selected: frozenset[str]) -> Verified:
    findings: dict[str, tuple[Finding, ...]] = {}
    for name in order:
        check = _load(name)
        questions = check.questions(subject.card, subject.catalog)
        findings[name] = tuple(
            _accept(subject.card, _answer(check, subject, question, findings)) for question in questions
        )
    selected_findings = tuple(finding for name in order if name in selected for finding in findings[name])
    return Verified(_report_subject(subject, findings), selected_findings)


def _answer(check: Check, subject: Subject, question: Question, findings: dict[str, tuple[Finding, ...]]) -> Finding:
    blocked = _blocked(question, [findings[need] for need in check.needs])
    if blocked is not None:
        return blocked
    try:
        finding = check.answer(subject, question)
    except ZooError as error:
        finding = _from_error(question, error)
    except MemoryError:
        finding = question.finding(Status.UNKNOWN, reason="not enough memory", hint="run it on a larger machine")
    except (
        Exception
    ) as error:  # one card's surprise must not hide what the others are; it is shown, and never as passed
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        finding = question.finding(Status.UNKNOWN, reason=reason, hint=BUG_REPORT, evidence={"bug": True})
    interrupts.raise_if_interrupted()  # what an interrupted library says of a file is no finding
    return finding


def _blocked(question: Question, needed: Sequence[Sequence[Finding]]) -> Finding | None:
    """The answer to a question of which a needed check is not met; None when all are.

    Where some keys of a needed check are about the same file or data set (one key is the beginning of the other), only
    those count.
    """
    counting = [finding for findings in needed for finding in _relevant(findings, question.key)]
    for status in (Status.WRONG, Status.UNKNOWN, Status.SKIPPED):
        for finding in counting:
            if finding.status is status:
                reason = f"needs {finding.check} {finding.key}, which is {status.value}"
                answer = Status.SKIPPED if status is Status.SKIPPED else Status.UNKNOWN
                return question.finding(answer, reason=reason, hint=finding.hint)
    return None


def _relevant(findings: Sequence[Finding], key: str) -> Sequence[Finding]:
    return [finding for finding in findings if _is_about_the_same(finding.key, key)] or findings


def _is_about_the_same(key: str, other_key: str) -> bool:
    return f"{key}/".startswith(f"{other_key}/") or f"{other_key}/".startswith(f"{key}/")


def _from_error(question: Question, error: ZooError) -> Finding:
    status = Status.UNKNOWN
    if isinstance(error, (WrongContent, UnknownName)):
        status = Status.WRONG
    elif isinstance(error, NotHere):
        status = Status.SKIPPED
    elif isinstance(error, UsageError) and not isinstance(error, CannotCheck):
        raise error
    finding = question.finding(status, reason=error.what, hint=error.hint)
    return replace(finding, where=error.where or finding.where)


def _accept(card: Card, finding: Finding) -> Finding:
    """A suspicion that the card's `ignore` explains is accepted, never one that is wrong."""
    if finding.status is not Status.SUSPECT:
        return finding
    for item in card.ignore:
        if item.rule in (finding.check, f"{finding.check}/{finding.key}"):
            return replace(finding, status=Status.UNCLAIMED, reason=f"accepted by the card: {item.reason}")
    return finding


def _report_subject(subject: Subject, findings: dict[str, tuple[Finding, ...]]) -> ReportSubject:
    card = subject.card
    files = (MeasuredFile(item.file, item.sha256, item.size_bytes) for item in subject.measured_files)
    data = (
        MeasuredData(
            name=finding.key.rpartition("/")[0],
            split=finding.key.rpartition("/")[2],
            manifest_sha256=str(finding.evidence["manifest_sha256"]),
        )
        for finding in findings.get("data", ())
        if "manifest_sha256" in finding.evidence
    )
    digest = card_sha256(card, subject.catalog.collection_of(card))
    return ReportSubject(card.name, digest, tuple(files), tuple(data))


def _load(name: str) -> Check:
    return cast(Check, plugins.load("checks", name))
