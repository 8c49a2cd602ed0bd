"""Write measured values that a card does not claim yet into the card: `zoo verify --write`.

These are multiply-adds, parameters, dtypes, the fingerprint, and the convention and input that reproduce a claimed count
without a convention. Claimed values are never changed, and comments and layout stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from zoo.errors import CannotCheck
from zoo.models import fingerprint
from zoo.models.subject import KnownFiles, NotMeasured, Settings
from zoo.registry import edit, schema
from zoo.registry.card import Card
from zoo.registry.catalog import Broken, Catalog
from zoo.registry.document import parse
from zoo.registry.position import Pointer, json_pointer
from zoo.runtime.sandbox import Steps
from zoo.verification import runner
from zoo.verification.answering import Asker, CardAnswers
from zoo.verification.report import Finding, Status
from zoo.verification.runner import Verified

DTYPES = ("float64", "float32", "float16", "bfloat16")
"""The dtypes that the schema of a card allows."""


def additions(card: Card, findings: Sequence[Finding], logits: tuple[float, ...] = ()) -> dict[Pointer, Any]:
    """Return the values to add to the card by their place, in the order of writing.

    findings: those of this card. logits: those for the generated image, empty when they were not measured.
    """
    by_check: dict[str, list[Finding]] = {}
    for finding in findings:
        by_check.setdefault(finding.check, []).append(finding)
    fields: dict[Pointer, Any] = {}
    fields |= _types(card, by_check.get("loading", []))
    fields |= _parameters(card, by_check.get("params", []))
    solved = _solved_conventions(card, by_check.get("flops", []))
    fields |= solved | _multiply_adds(card, by_check.get("flops", []), solved)
    if logits and card.fingerprint is None:
        fields["fingerprint",] = {"logits": list(logits), "tolerance": fingerprint.tolerance(logits)}
    return fields


def verify_and_write(
    cards: Iterable[Card | Broken],
    catalog: Catalog,
    settings: Settings,
    checks: Sequence[str],
    report_line: Callable[[str], None],
) -> Iterator[Verified]:
    """Verify the cards as `runner.verify` does, and write into each one as `write` does."""
    return write(runner.verify(cards, catalog, settings, checks, then=measure_logits), catalog, report_line)


def write(verified: Iterable[Verified], catalog: Catalog, report_line: Callable[[str], None]) -> Iterator[Verified]:
    """Yield the same results, after writing into each card as soon as it is verified.

    report_line: called with a line about each card, which says what was added. Raises CannotCheck when a card cannot be
    written, UsageError when the file changed after zoo read it.
    """
    for part in verified:
        if part.subject is not None:
            report_line(_complete(catalog.find(part.subject.model), part))
        yield part


def measure_logits(asker: Asker, findings: Sequence[Finding]) -> Steps[tuple[float, ...] | CannotCheck]:
    """Return the logits to add to a card with these findings; none when it has a fingerprint or its weights do not load.

    An error that says why they cannot be measured is returned. It is the argument `then` of `runner.verify`.
    """
    if not _may_be_fingerprinted(asker.subject.card, findings):
        return ()
    try:
        return fingerprint.logits(asker.subject)
    except NotMeasured:
        outcome = yield asker.ask(_logits_in_worker, limits=asker.loading_limits())
    except CannotCheck as error:
        return error
    try:
        return tuple(float(logit) for logit in outcome.result())
    except CannotCheck as error:
        return error


def _logits_in_worker(answers: CardAnswers, place: int | Card, known: KnownFiles) -> tuple[float, ...]:
    return fingerprint.logits(answers.subject(place, known))


def _complete(card: Card, verified: Verified) -> str:
    document, logits, left_out = card.where.document, verified.logits, ""
    if isinstance(logits, CannotCheck):
        left_out = f"; no fingerprint, because {logits.what}"
        logits = ()
    planned = additions(card, verified.findings, logits)
    if not planned:
        return f"{card.name}: nothing to add{left_out}"
    text = edit.apply(document, planned)
    wrong = schema.problems(parse(text, document.path, document.label), "card")
    if wrong:
        what = f"the measured values do not fit the schema of a card: {wrong[0].what}"
        raise CannotCheck(what, where=str(wrong[0].place))
    edit.save(document, text)
    return f"{document.label}: added {', '.join(json_pointer(pointer) for pointer in planned)}{left_out}"


def _may_be_fingerprinted(card: Card, findings: Sequence[Finding]) -> bool:
    """Return whether the card has no fingerprint, its weights load, and no finding is wrong."""
    loading = [finding for finding in findings if finding.check == "loading"]
    is_loaded = bool(loading) and all(finding.status is Status.OK for finding in loading)
    return card.fingerprint is None and is_loaded and not any(finding.status is Status.WRONG for finding in findings)


def _types(card: Card, findings: Sequence[Finding]) -> dict[Pointer, Any]:
    measured = {finding.key: finding.evidence.get("dtype") for finding in findings if finding.status is Status.OK}
    return {
        ("weights", index, "dtype"): measured[weights.file]
        for index, weights in enumerate(card.weights)
        if weights.dtype is None and measured.get(weights.file) in DTYPES
    }


def _parameters(card: Card, findings: Sequence[Finding]) -> dict[Pointer, Any]:
    if card.claims is not None and card.claims.params is not None:
        return {}
    measured = [finding.measured for finding in findings if finding.status is Status.UNCLAIMED]
    return {("claims", "params"): {"value": value, "origin": "computed"} for value in measured[:1] if value is not None}  # noqa: B035  # there is one


def _solved_conventions(card: Card, findings: Sequence[Finding]) -> dict[Pointer, Any]:
    """Return the convention and input that reproduce each claim without one; the input only if it is not the card's."""
    solutions = {finding.where: finding.evidence["solution"] for finding in findings if "solution" in finding.evidence}
    own = list(card.input.size or ()) if card.input else []
    fields: dict[Pointer, Any] = {}
    for index, claim in enumerate(card.flops):
        solution: Mapping[str, Any] | None = solutions.get(str(claim.where["value"]))
        if claim.convention is None and solution is not None:
            fields["claims", "flops", index, "convention"] = solution["convention"]
            if claim.input is None and solution["input"] != own:
                fields["claims", "flops", index, "input"] = solution["input"]
            fields["claims", "flops", index, "solved"] = True
    return fields


def _multiply_adds(card: Card, findings: Sequence[Finding], solved: Mapping[Pointer, Any]) -> dict[Pointer, Any]:
    """Return the multiply-adds at the card's input, unless a claim in `solved` turned out to be them."""
    own = [index for (*_, index, name), value in solved.items() if name == "convention" and value == "macs"]
    if any(("claims", "flops", index, "input") not in solved and card.flops[int(index)].input is None for index in own):
        return {}
    return {
        ("claims", "flops", len(card.flops)): {"value": finding.measured, "convention": "macs", "origin": "computed"}
        for finding in findings
        if finding.key == "macs" and finding.status is Status.UNCLAIMED and finding.measured is not None
    }
