"""Answer one question about a card: from what is known, else in a worker with limits (see zoo.runtime.sandbox).

This process answers what needs no measurement: the card's consistency, hashes of files, and cached facts. A check that
would have to build, load or evaluate a model raises NotMeasured here, and a worker answers the question. Its Reply counts
only when it is about that question.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from zoo import plugins
from zoo.errors import CannotCheck, NotHere, UnknownName, UsageError, WrongContent, ZooError
from zoo.models.subject import KnownFiles, NotMeasured, Settings, Subject
from zoo.registry.card import BUILDERS_OF_CODE, Card
from zoo.registry.catalog import Catalog, Member
from zoo.runtime import faults, interrupts, limits, process
from zoo.runtime.engines import Outcome, WorkerDied
from zoo.runtime.json_form import is_plain
from zoo.runtime.limits import Limits
from zoo.runtime.sandbox import HEAVY, Ask, Steps
from zoo.verification.checks import Check, Question
from zoo.verification.report import Finding, Status

BUG_REPORT = "this is a bug in zoo: please report it with the card"
READS = ("files", "data")
"""The checks that read files and data sets without torch. Of a single card they read them in this process."""
COUNTS = ("build", "params", "flops", "remote")
"""The checks that build a model on the meta device at most."""
LOADS = ("loading", "fingerprint")
"""The checks that load the card's files."""
TOO_LARGE = "correct `builder` or `input` in the card; zoo cannot verify a model this large"
LARGE_RUN = "use a smaller --batch-size, fewer --jobs, or a machine with more memory"


@dataclass
class CardAnswers:
    """What the workers of a run have in common: the cards and the settings. A worker keeps the card that it used last."""

    catalog: Catalog
    settings: Settings
    _last: tuple[int | Card, Subject] | None = field(default=None, repr=False)

    def subject(self, place: int | Card, known: KnownFiles) -> Subject:
        """Return the card as a Subject that may measure. place: the card's position in the catalogue, or a card of none."""
        if self._last is None or self._last[0] != place:
            card = self.catalog.cards[place] if isinstance(place, int) else place
            settings = replace(self.settings, may_measure=True, on_progress=process.emit)
            self._last = (place, Subject(Member(card, self.catalog), settings))
        subject = self._last[1]
        subject.learn(known)
        return subject


@dataclass(frozen=True, slots=True)
class Reply:
    """A worker's finding, and what it knows of the card's files."""

    finding: Finding
    known: KnownFiles


@dataclass(frozen=True, slots=True)
class Asker:
    """A card whose questions are answered here or in a worker.

    place: see CardAnswers. jobs: the workers that share the machine. subject: with settings that do not allow measuring.
    on_event: called here with each event of a long measurement.
    """

    subject: Subject
    place: int | Card
    jobs: int
    on_event: Callable[[Any], None] | None

    @classmethod
    def of(cls, member: Member, settings: Settings, jobs: int = 1) -> Asker:
        """Return the asker for a card of a run with these settings."""
        subject = Subject(member, replace(settings, may_measure=False, on_progress=None))
        return cls(subject, place_of(member), jobs, settings.on_progress if jobs == 1 else None)

    def answer(self, check_name: str, question: Question, number: int) -> Steps[Finding]:
        """Return the finding about a question: the one of that number that the check asks about the card."""
        check = plugins.load("checks", check_name)
        if self.jobs == 1 or check_name not in READS:
            try:
                return answer(check, self.subject, question)
            except NotMeasured:
                pass
        arguments = (check_name, question.key, number)
        imports = () if check_name in READS else HEAVY
        outcome = yield self.ask(_answer_in_worker, *arguments, limits=self._limits(check_name), imports=imports)
        return self._finding(question, outcome)

    def ask(self, function: Any, *arguments: Any, limits: Limits, imports: tuple[str, ...] = HEAVY) -> Ask:
        """Return the call `function(answers, place, known files, *arguments)` in a worker."""
        settings, builder = self.subject.settings, self.subject.card.builder
        return Ask(
            function,
            (self.place, self.subject.known_files, *arguments),
            limits,
            imports,
            takes_context=True,
            on_event=self.on_event,
            runs_code=settings.allow_code and builder is not None and builder.library in BUILDERS_OF_CODE,
        )

    def _limits(self, check_name: str) -> Limits:
        """Return the limits of a check's answer. Another distribution's check may evaluate the model."""
        if check_name == "files":  # a download has limits of its own
            return Limits(None, None)
        if check_name == "data":
            return Limits(None, limits.memory_share(self.jobs))
        if check_name in COUNTS:
            return limits.for_building(hint=TOO_LARGE)
        return self.loading_limits() if check_name in LOADS else limits.for_evaluation(self.jobs, hint=LARGE_RUN)

    def loading_limits(self) -> Limits:
        """Return the limits of loading the card's files, by their measured sizes."""
        return limits.for_files(sum(file.size_bytes for file in self.subject.measured_files), hint=TOO_LARGE)

    def _finding(self, question: Question, outcome: Outcome[Any]) -> Finding:
        if outcome.error is not None:
            return _from_outcome(question, outcome.error)
        reply = outcome.value
        if isinstance(reply, Finding):  # what the answer settled on before it ran into a limit
            reply = Reply(_with_plain_evidence(reply), KnownFiles({}, {}))
        if not isinstance(reply, Reply) or not _is_about(question, reply.finding):
            what = "the worker process sent an answer to another question"
            return from_error(question, CannotCheck(what, hint="verify the card again; did its file change meanwhile?"))
        self.subject.learn(reply.known)
        return reply.finding


def place_of(member: Member) -> int | Card:
    """Return the card's position in its catalogue, or the card itself when the catalogue does not have it.

    Rules compare cards by identity, so a worker must take the card from its own catalogue.
    """
    cards, card = member.catalog.cards, member.card
    positions = (place for place, name in enumerate(cards.names) if name == card.name)
    return next((place for place in positions if cards[place] is card), card)


def answer(check: Check, subject: Subject, question: Question) -> Finding:
    """Return the check's finding; an error becomes a finding too.

    Raises NotMeasured when the subject may not measure, UsageError, and in a worker the error of a failed allocation.
    """
    try:
        finding = check.answer(subject, question)
    except NotMeasured:
        raise
    except Exception as error:
        if limits.is_out_of_memory(error):  # also where a library turned it into an error of its own
            if process.is_worker():  # its caller knows the limit
                raise
            error = CannotCheck("not enough memory", hint="run it on a larger machine")
        finding = from_error(question, error)
    interrupts.raise_if_interrupted()  # an error of a library that was interrupted says nothing about the file
    return finding


def from_error(question: Question, error: Exception) -> Finding:
    """Return the finding for an error of a check. Raises a UsageError, which is about the request and not about the card."""
    error = faults.as_error(error) or error
    if not isinstance(error, ZooError):  # a bug that one card triggers must not hide the findings of the others
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return question.finding(Status.UNKNOWN, reason=reason, hint=BUG_REPORT, evidence={"bug": True})
    status = Status.UNKNOWN
    if isinstance(error, (WrongContent, UnknownName)):
        status = Status.WRONG
    elif isinstance(error, NotHere):
        status = Status.SKIPPED
    elif isinstance(error, UsageError) and not isinstance(error, CannotCheck):
        raise error
    finding = question.finding(status, reason=error.what, hint=error.hint)
    return replace(finding, where=error.where or finding.where)


def _from_outcome(question: Question, error: Exception) -> Finding:
    finding = from_error(question, error)
    if isinstance(error, WorkerDied) and error.output:
        finding = replace(finding, evidence={"output": error.output})
    return finding


def _answer_in_worker(
    answers: CardAnswers, place: int | Card, known: KnownFiles, check_name: str, key: str, number: int
) -> Reply:
    subject, check = answers.subject(place, known), plugins.load("checks", check_name)
    questions = [*check.questions(subject.member)]
    if number >= len(questions) or questions[number].key != key:
        raise CannotCheck("the card's file changed while it was verified", hint="verify it again")
    return Reply(_with_plain_evidence(answer(check, subject, questions[number])), subject.known_files)


def _with_plain_evidence(finding: Finding) -> Finding:
    """Return the finding with lists in the place of tuples, as in a cached fact."""
    return replace(finding, evidence=json.loads(json.dumps(dict(finding.evidence))))


def _is_about(question: Question, finding: Any) -> bool:
    """Return whether a worker's finding is an answer to the question and can stand in a report."""
    if not isinstance(finding, Finding) or not isinstance(finding.status, Status):
        return False
    same = ("model", "check", "key", "claimed", "unit", "tolerance")
    texts = (finding.where, finding.reason, finding.hint)
    return (
        all(getattr(finding, name) == getattr(question, name) for name in same)
        and (finding.status is not Status.OK or finding.where == question.where)
        and all(isinstance(text, str) for text in texts)
        and is_plain(finding.measured)
        and not isinstance(finding.measured, (dict, list))
        and is_plain(finding.evidence)
    )
