"""Whether each file's tensors load safely and fit the architecture strictly: every key, every shape, every value finite."""

from __future__ import annotations

from collections.abc import Iterable

from zoo import facts
from zoo.card import Card, Weights
from zoo.catalog import Catalog
from zoo.checks import Question
from zoo.errors import WrongContent
from zoo.facts import Fact
from zoo.model import Subject, main_dtype, read_state_dict, refuse_misfit
from zoo.report import Finding, Status

needs = ("files", "build")
CODE = ("checks/loading.py", "model.py")


def questions(card: Card, catalog: Catalog) -> Iterable[Question]:
    """One for each file."""
    if not card.weights:
        yield Question(card.name, "loading", "weights", str(card.where))
    for weights in card.weights:
        yield Question(card.name, "loading", weights.file, str(weights.where), about=weights)


def answer(subject: Subject, question: Question) -> Finding:
    """Ok when the file loads; the number and type of its tensors are in the evidence."""
    weights: Weights | None = question.about
    if weights is None:
        return question.finding(Status.SKIPPED, reason="the card lists no weights", mend="add `weights: [{file: ...}]`")
    artifact = subject.artifact(weights)
    key = facts.architecture("loading", subject.builder, code=CODE, sha256=artifact.sha256)
    fact = facts.of(key, lambda: _measure(subject, weights), refresh=subject.settings.refresh)
    return _judge_dtype(question, weights, fact)


def _judge_dtype(question: Question, weights: Weights, fact: Fact) -> Finding:
    if weights.dtype is not None and fact.evidence["dtype"] != weights.dtype:
        reason = f"the tensors are {fact.evidence['dtype']}, the card says {weights.dtype}"
        return question.finding(Status.WRONG, reason=reason, mend="correct dtype in the card", evidence=fact.evidence)
    return question.finding(Status.OK, evidence=fact.evidence)


def _measure(subject: Subject, weights: Weights) -> Fact:
    state = read_state_dict(subject.artifact(weights))
    broken = [
        name for name, tensor in state.items() if tensor.is_floating_point() and not bool(tensor.isfinite().all())
    ]
    if broken:
        raise WrongContent(
            f"{len(broken)} tensors of {weights.file} hold NaN or Inf, first {broken[0]}", where=str(weights.where)
        )
    refuse_misfit(subject.meta, state, weights.file)
    return Fact(len(state), {"tensors": len(state), "dtype": main_dtype(state)})
