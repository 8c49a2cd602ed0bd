"""Run the checks on cards, in the order of their needs, and collect their findings.

A check answers only when the checks that it needs are ok. If one of them is wrong or unknown, the finding is `unknown` and
names it; if one is skipped, the finding is `skipped`. Findings are yielded card by card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from zoo import plugins
from zoo.errors import CannotCheck
from zoo.models.subject import Settings, Subject
from zoo.registry.card import Card, SplitName
from zoo.registry.catalog import Broken, Catalog, Member
from zoo.registry.metrics import METRICS
from zoo.runtime import engines, sandbox
from zoo.runtime.engines import Options, WorkerDied
from zoo.runtime.sandbox import Steps
from zoo.runtime.storage import home, note_lost_write
from zoo.verification import report, stored_reports
from zoo.verification.accept import accept
from zoo.verification.answering import Asker, CardAnswers, place_of
from zoo.verification.checks import Question, data, schema
from zoo.verification.report import Finding, MeasuredData, MeasuredFile, Report, ReportSubject, Status

ASKS_SERVERS = "remote"
"""The check that runs only on request (`--remote`): it needs a network, and does not prove what the bytes are."""


@dataclass(frozen=True, slots=True)
class Verified:
    """The findings about one card, and the card, files and data that they are about; without a subject for a broken file.

    logits: what `verify(..., then=...)` measured, or why it could not.
    """

    subject: ReportSubject | None
    findings: tuple[Finding, ...]
    logits: tuple[float, ...] | CannotCheck = ()


Then = Callable[[Asker, Sequence[Finding]], "Steps[tuple[float, ...] | CannotCheck]"]
"""Steps that measure the logits of a card whose findings are these."""


def verify(
    cards: Iterable[Card | Broken],
    catalog: Catalog,
    settings: Settings,
    checks: Sequence[str] = (),
    *,
    then: Then | None = None,
) -> Iterator[Verified]:
    """Yield the findings of each card, in the order of the cards; of all checks when none are named.

    What is not known is measured in worker processes with limits (see answering). Several jobs verify several cards in
    parallel, or evaluate the images of a single card. The level of the verdicts on accuracies is divided by their number.
    then: measures the logits of a card after its findings (see write_back). Raises UnknownName for an unknown check or engine.
    """
    cards, selected = list(cards), select_checks(checks, remote=settings.remote)
    settings = _divide_level(settings, cards)
    run = _Run(catalog, order_checks(selected), frozenset(selected), then)
    evaluation = settings.evaluation
    if len(cards) > 1 and evaluation.engine != "local":
        work = partial(_verify_alone, run, single_job(settings))
        tasks = [place_of(Member(card, catalog)) if isinstance(card, Card) else card for card in cards]
        outcomes = plugins.load("engines", evaluation.engine).run(work, tasks, evaluation.options)
    else:
        jobs = 1 if len(cards) <= 1 else min(evaluation.options.jobs, len(cards))
        shared = settings if len(cards) <= 1 else single_job(settings)
        outcomes = sandbox.run(
            (run.steps(card, shared, jobs) for card in cards),
            jobs=jobs,
            context=CardAnswers(catalog, without_events(shared)),
        )
    for outcome in engines.in_order(outcomes):
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


def single_job(settings: Settings) -> Settings:
    """Return the settings of a run of which each worker does a card alone."""
    return replace(settings, evaluation=replace(settings.evaluation, engine="local", options=Options()))


def without_events(settings: Settings) -> Settings:
    """Return the settings without the function for events, which stays in this process."""
    return replace(settings, on_progress=None)


def _divide_level(settings: Settings, cards: Iterable[Card | Broken]) -> Settings:
    """Return the settings with an equal share of the level for each verdict on an accuracy.

    By Bonferroni's inequality, the probability of any error among all verdicts then stays below the given level.
    """
    claims = [claim for card in cards if isinstance(card, Card) for claim in card.results if claim.metric in METRICS]
    evaluation = settings.evaluation
    return replace(settings, evaluation=replace(evaluation, level=evaluation.level / max(1, len(claims))))


def require_right_weights(asker: Asker) -> Steps[None]:
    """Raise CannotCheck, with the first finding that is not ok, unless the weights are as claimed and load.

    A suspect finding that the card's `ignore` accepts is ok.
    """
    findings = yield from _answer_all(asker, order_checks(("loading",)))
    for finding in findings["loading"]:
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


def store_reports(verified: Iterable[Verified], options: Mapping[str, object]) -> Iterator[Verified]:
    """Yield the same results, after storing each model's report, which `zoo publish` reads.

    The report of a run with selected checks is not stored: it could hide the findings of a complete run. When a
    report cannot be written, `storage.take_lost_write` says so.
    """
    for part in verified:
        if part.subject is not None and not options.get("checks"):
            model_report = as_report([part], options={**options, "strict": True}).without_paths()
            try:
                stored_reports.store(model_report, part.subject.card_sha256)
            except OSError as error:
                what = f"{part.subject.model}: cannot store the report for `zoo publish` in {home()}: {error.strerror}"
                note_lost_write(what)
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


@dataclass(frozen=True, slots=True)
class _Run:
    """What is verified of each card: checks in the order of their needs, and those whose findings are reported."""

    catalog: Catalog
    order: Sequence[str]
    selected: frozenset[str]
    then: Then | None

    def steps(self, card: Card | Broken, settings: Settings, jobs: int) -> Steps[Verified]:
        """Verify one card; one of `jobs` at a time."""
        if isinstance(card, Broken):
            return Verified(None, tuple(schema.findings_of(card)))
        asker = Asker.of(Member(card, self.catalog), settings, jobs)
        findings = yield from _answer_all(asker, self.order)
        reported = tuple(finding for name in self.order if name in self.selected for finding in findings[name])
        verified = Verified(_report_subject(asker.subject, findings), reported)
        return replace(verified, logits=(yield from self.then(asker, reported))) if self.then else verified


def _verify_alone(run: _Run, settings: Settings, task: int | Card | Broken) -> Verified:
    """Verify one card on a machine of a cluster, with a worker there."""
    card = run.catalog.cards[task] if isinstance(task, int) else task
    return sandbox.result_of(run.steps(card, settings, 1), context=CardAnswers(run.catalog, settings))


def _result_of_lost_worker(member: Member, selected: Iterable[str], error: WorkerDied) -> Verified:
    """Return `unknown` for every question about a card whose worker died."""
    questions = [question for name in selected for question in plugins.load("checks", name).questions(member)]
    findings = (question.finding(Status.UNKNOWN, reason=error.what, hint=error.hint) for question in questions)
    return Verified(ReportSubject(member.card.name, member.sha256), tuple(findings))


def _answer_all(asker: Asker, order: Sequence[str]) -> Steps[dict[str, tuple[Finding, ...]]]:
    """Return the findings of these checks about a card, by the check's name."""
    findings: dict[str, tuple[Finding, ...]] = {}
    for name in order:
        check, answers = plugins.load("checks", name), list[Finding]()
        for number, question in enumerate(check.questions(asker.subject.member)):
            blocked = _blocked(question, [findings[need] for need in check.needs])
            answers.append(blocked or (yield from asker.answer(name, question, number)))
        findings[name] = tuple(accept(asker.subject.card, answer) for answer in answers)
    return findings


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


def _report_subject(subject: Subject, findings: dict[str, tuple[Finding, ...]]) -> ReportSubject:
    files = (MeasuredFile(item.file, item.sha256, item.size_bytes) for item in subject.measured_files)
    data = tuple(
        MeasuredData(name.dataset, name.split, str(finding.evidence["manifest_sha256"]))
        for finding in findings.get("data", ())
        if "manifest_sha256" in finding.evidence and (name := SplitName.parse(finding.key))
    )
    return ReportSubject(subject.card.name, subject.member.sha256, tuple(files), data)
