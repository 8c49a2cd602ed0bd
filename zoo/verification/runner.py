"""Run the checks on cards, in the order of their needs, and turn the errors that they raise into findings.

A check answers only when the checks that it needs are ok. If one of them is wrong or unknown, the finding is `unknown` and
names it; if one is skipped, the finding is `skipped`. Findings are yielded card by card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from zoo import plugins
from zoo.errors import CannotCheck, NotHere, UnknownName, UsageError, WrongContent, ZooError
from zoo.models.subject import Settings, Subject
from zoo.registry.card import Card, SplitName
from zoo.registry.catalog import Broken, Catalog, Member
from zoo.registry.metrics import METRICS
from zoo.runtime import engines, interrupts
from zoo.runtime.engines import Options, WorkerDied
from zoo.runtime.storage import state_folder, write_atomically
from zoo.verification import report
from zoo.verification.accept import accept
from zoo.verification.checks import Check, Question, data, schema
from zoo.verification.report import Finding, MeasuredData, MeasuredFile, Report, ReportSubject, Status

ASKS_SERVERS = "remote"
"""The check that runs only on request (`--remote`): it needs a network, and does not prove what the bytes are."""
BUG_REPORT = "this is a bug in zoo: please report it with the card"


@dataclass(frozen=True, slots=True)
class Verified:
    """The findings about one card, and the card, files and data that they are about; without a subject for a broken file."""

    subject: ReportSubject | None
    findings: tuple[Finding, ...]


def verify(
    cards: Iterable[Card | Broken], catalog: Catalog, settings: Settings, checks: Sequence[str] = ()
) -> Iterator[Verified]:
    """Yield the findings of each card, in the order of the cards; of all checks when none are named.

    With several jobs or a cluster, an engine verifies several cards in parallel, or the images of a single card. The level
    of the verdicts on accuracies is divided by their number. Raises UnknownName for an unknown check or engine.
    """
    cards, selected = list(cards), select_checks(checks, remote=settings.remote)
    settings = _divide_level(settings, cards)
    evaluation, order = settings.evaluation, order_checks(selected)
    if len(cards) <= 1 or (evaluation.engine == "local" and evaluation.options.jobs == 1):
        yield from (_verify_one(catalog, settings, order, frozenset(selected), card) for card in cards)
        return
    work = partial(_verify_one, catalog, worker_settings(settings), order, frozenset(selected))
    # A task is the card's position: rules compare cards by identity, so a worker must take the card from its own catalogue.
    places = {id(card): place for place, card in enumerate(catalog.cards)}
    tasks = [places.get(id(card), card) for card in cards]
    running = plugins.load("engines", evaluation.engine).run(work, tasks, evaluation.options)
    for outcome in engines.in_order(running):
        card = cards[outcome.position]
        if isinstance(outcome.error, WorkerDied) and isinstance(card, Card):
            yield _result_of_lost_worker(Member(card, catalog), selected, outcome.error)
        else:
            yield outcome.result()


def examine(catalog: Catalog, names: Sequence[str], settings: Settings) -> Iterator[Verified]:
    """Yield the findings about this machine's copy of each named data set (DATASET) or split (DATASET/SPLIT).

    Raises UnknownName for an unknown data set, UsageError for an unknown split.
    """
    for name in names:
        named = SplitName.parse(name)
        dataset = catalog.find_dataset(named.dataset)
        if named.split:
            dataset.find_split(named.split)
        splits = [named.split] if named.split else dataset.splits
        examined = (finding for split in splits for finding in data.examine(dataset, split, settings))
        yield Verified(None, tuple(examined))


def select_checks(named: Sequence[str], *, remote: bool) -> tuple[str, ...]:
    """Return the checks to report: those named, else all but ASKS_SERVERS, which is added for `remote`."""
    chosen = tuple(named) or tuple(name for name in plugins.names("checks") if name != ASKS_SERVERS)
    return tuple(dict.fromkeys((*chosen, ASKS_SERVERS))) if remote else chosen


def worker_settings(settings: Settings) -> Settings:
    """Return the settings for a worker, which reports no progress and starts no workers."""
    return replace(
        settings, on_progress=None, evaluation=replace(settings.evaluation, engine="local", options=Options())
    )


def _divide_level(settings: Settings, cards: Iterable[Card | Broken]) -> Settings:
    """Return the settings with an equal share of the level for each verdict on an accuracy.

    By Bonferroni's inequality, the probability of any error among all verdicts then stays below the given level.
    """
    claims = [claim for card in cards if isinstance(card, Card) for claim in card.results if claim.metric in METRICS]
    evaluation = settings.evaluation
    return replace(settings, evaluation=replace(evaluation, level=evaluation.level / max(1, len(claims))))


def refuse_wrong_weights(subject: Subject) -> None:
    """Raise CannotCheck, with the first finding that is not ok, unless the weights are as claimed and load.

    A suspect finding that the card's `ignore` accepts is ok.
    """
    for finding in _verify_card(subject, order_checks(("loading",)), frozenset({"loading"})).findings:
        if finding.status not in (Status.OK, Status.UNCLAIMED):
            reason = finding.reason or f"{finding.check} {finding.key} is {finding.status.value}"
            raise CannotCheck(reason, where=finding.where, hint=finding.hint)


def as_report(verified: Iterable[Verified], *, options: Mapping[str, object]) -> Report:
    """Return the report of these results."""
    parts = tuple(verified)
    return report.make(
        (part.subject for part in parts if part.subject is not None),
        (finding for part in parts for finding in part.findings),
        options=options,
    )


def store_reports(
    verified: Iterable[Verified], options: Mapping[str, object], report_line: Callable[[str], None] = lambda line: None
) -> Iterator[Verified]:
    """Yield the same results, after storing each model's report, which `zoo publish` reads.

    The report of a run with selected checks is not stored: it could hide the findings of a complete run. `report_line` is
    called with a line about each report that cannot be written.
    """
    for part in verified:
        if part.subject is not None and not options.get("checks"):
            model_report = as_report([part], options={**options, "strict": True})
            folder = state_folder("reports", part.subject.card_sha256)
            try:
                write_atomically(folder / f"{model_report.created.replace(':', '')}.json", model_report.to_json())
            except OSError as error:
                report_line(
                    f"{part.subject.model}: cannot store the report for `zoo publish` in {folder}: {error.strerror}"
                )
        yield part


def order_checks(checks: Iterable[str]) -> tuple[str, ...]:
    """Return the checks and all that they need, each after its needs, otherwise sorted by name."""
    ordered: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in ordered:
            for need in sorted(plugins.load("checks", name).needs):
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
        return Verified(None, tuple(schema.findings_of(card)))
    return _verify_card(Subject(Member(card, catalog), settings), order, selected)


def _result_of_lost_worker(member: Member, selected: Iterable[str], error: WorkerDied) -> Verified:
    """Return `unknown` for every question about a card whose worker died."""
    questions = [question for name in selected for question in plugins.load("checks", name).questions(member)]
    findings = (question.finding(Status.UNKNOWN, reason=error.what, hint=error.hint) for question in questions)
    return Verified(ReportSubject(member.card.name, member.sha256), tuple(findings))


def _verify_card(subject: Subject, order: Sequence[str], selected: frozenset[str]) -> Verified:
    findings: dict[str, tuple[Finding, ...]] = {}
    for name in order:
        check = plugins.load("checks", name)
        answers = [_answer(check, subject, question, findings) for question in check.questions(subject.member)]
        findings[name] = tuple(accept(subject.card, answer) for answer in answers)
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
    except Exception as error:  # a bug that one card triggers must not hide the findings of the others
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        finding = question.finding(Status.UNKNOWN, reason=reason, hint=BUG_REPORT, evidence={"bug": True})
    interrupts.raise_if_interrupted()  # an error of a library that was interrupted says nothing about the file
    return finding


def _blocked(question: Question, needed: Sequence[Sequence[Finding]]) -> Finding | None:
    """Return the answer to a question whose check needs findings that are not ok; None when they are.

    When some keys of a needed check are about the same file or data set (one key is the beginning of the other), only
    these count.
    """
    counting = [finding for findings in needed for finding in _relevant(findings, question.key)]
    for status in (Status.WRONG, Status.UNKNOWN, Status.SKIPPED):
        for finding in counting:
            if finding.status is status:
                reason = f"{finding.check} {finding.key} is {status.value}"
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


def _report_subject(subject: Subject, findings: dict[str, tuple[Finding, ...]]) -> ReportSubject:
    files = (MeasuredFile(item.file, item.sha256, item.size_bytes) for item in subject.measured_files)
    data = tuple(
        MeasuredData(name.dataset, name.split, str(finding.evidence["manifest_sha256"]))
        for finding in findings.get("data", ())
        if "manifest_sha256" in finding.evidence and (name := SplitName.parse(finding.key))
    )
    return ReportSubject(subject.card.name, subject.member.sha256, tuple(files), data)
