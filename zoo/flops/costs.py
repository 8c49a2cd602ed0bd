"""Subject -> what a forward pass costs under each convention, and which convention a bare number is of: `zoo flops`.

Everything measured is a fact, found again without torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from zoo import plugins
from zoo.errors import CannotCheck, UsageError
from zoo.flops.counting import Fit, Solution
from zoo.flops.tracing import Shape
from zoo.models import facts
from zoo.models.facts import Fact
from zoo.models.subject import Subject
from zoo.registry.card import FlopsClaim

MOST_FITS = 3
"""How many ways to come by a rounded number are named."""
MOST_PARTS = 12
"""How many modules and operators a table shows; the rest is one line."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One forward pass of one image under a convention; by_operator and by_module: (name, amount), the largest first."""

    convention: str
    value: int
    by_operator: tuple[tuple[str, int], ...]
    by_module: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class ExplainedNumber:
    """A number that somebody published: where it stands, and what it can be."""

    where: str
    solution: Solution
    rounded_to: int
    own: Shape


@dataclass(frozen=True, slots=True)
class CostReport:
    """What `zoo flops` tells of a model at an input; `problems` are the conventions that cannot be counted, and why."""

    model: str
    input_shape: Shape
    params: int
    costs: tuple[Cost, ...]
    problems: tuple[tuple[str, str], ...]
    explained: tuple[ExplainedNumber, ...]


def report_costs(
    subject: Subject, *, input_shape: Shape | None = None, depth: int = 1, explain: Sequence[int] = ()
) -> CostReport:
    """The counts of a model under every convention, and what the numbers in `explain` and unexplained claims can be.

    input_shape: (channels, height, width), the card's own when None; depth: see `counting.count`.
    """
    if depth < 1:
        raise UsageError(f"depth is {depth}", hint="give a depth of 1 or more")
    shape = input_shape or subject.input_size
    costs: list[Cost] = []
    problems: list[tuple[str, str]] = []
    for convention in plugins.names("conventions"):
        try:
            costs.append(cost(subject, convention, shape, depth=depth))
        except CannotCheck as error:
            problems.append((convention, error.what))
    bare = [claim for claim in subject.card.flops if claim.convention is None]
    explained = [
        ExplainedNumber(str(claim.where["value"]), solve(subject, claim), rounding_step(claim), shape) for claim in bare
    ]
    explained += [ExplainedNumber("", solve_number(subject, value), 1, shape) for value in explain]
    return CostReport(subject.card.name, shape, params(subject), tuple(costs), tuple(problems), tuple(explained))


def cost(subject: Subject, convention: str, shape: Shape, *, depth: int = 1) -> Cost:
    """The count under one convention at an input; raises CannotCheck as `counting.count` does."""
    inputs = {"convention": convention, "input": list(shape), "depth": depth}
    code = (__name__, _module_of(convention))
    key = facts.architecture_key("cost", subject.builder, measured_by=code, **inputs)

    def measure() -> Fact:
        from zoo.flops.counting import count

        counted = count(subject.meta, shape, convention, depth=depth)
        return Fact(counted.value, {"by_operator": counted.by_operator, "by_module": counted.by_module})

    fact = subject.fact(key, measure)
    parts = {name: tuple((str(part), int(amount)) for part, amount in fact.evidence[name]) for name in fact.evidence}
    return Cost(convention, int(fact.value or 0), parts["by_operator"], parts["by_module"])


def params(subject: Subject) -> int:
    """The number of parameters of the architecture."""

    def measure() -> Fact:
        from zoo.flops.counting import measure_state

        return Fact(measure_state(subject.meta).params)

    key = facts.architecture_key("parameters", subject.builder, measured_by=(__name__,))
    return int(subject.fact(key, measure).value or 0)


def rounding_step(claim: FlopsClaim) -> int:
    """What a claimed number is rounded to, 1 when it is exact."""
    return max(1, round(claim.rounded_to or 1))


def solve(subject: Subject, claim: FlopsClaim) -> Solution:
    """What a claim without a convention can be: at its own input where it has one, else at those that people use."""
    return solve_number(subject, round(claim.value), rounded_to=rounding_step(claim), shape=claim.input)


def solve_number(subject: Subject, value: int, *, rounded_to: int = 1, shape: Sequence[int] | None = None) -> Solution:
    """The conventions and inputs that give a number; see `counting.solve`. shape: the one input that may be meant."""
    code = (__name__, *(_module_of(name) for name in plugins.names("conventions")))
    inputs = {"value": value, "rounded_to": rounded_to, "own": list(subject.input_size), "input": list(shape or ())}
    key = facts.architecture_key("solution", subject.builder, measured_by=code, **inputs)

    def measure() -> Fact:
        solution = (
            _solve_at(subject, value, rounded_to, tuple(shape))
            if shape
            else _solve_anywhere(subject, value, rounded_to)
        )
        return Fact(solution.value, {"fits": [asdict(fit) for fit in solution.fits], "macs": solution.macs})

    evidence = subject.fact(key, measure).evidence
    fits = tuple(Fit(**{**fit, "input_shape": tuple(fit["input_shape"])}) for fit in evidence["fits"])
    return Solution(value, fits, evidence["macs"], value / evidence["macs"] if evidence["macs"] else 0.0)


def _module_of(convention: str) -> str:
    return facts.module_name(plugins.load("conventions", convention))


def _solve_anywhere(subject: Subject, value: int, rounded_to: int) -> Solution:
    from zoo.flops.counting import solve as find_solution

    return find_solution(subject.meta, value, subject.input_size[1], rounded_to=rounded_to)


def _solve_at(subject: Subject, value: int, rounded_to: int, shape: Shape) -> Solution:
    from zoo.flops.counting import tally
    from zoo.flops.tracing import trace

    recorded = trace(subject.meta, (1, *shape))
    macs = tally(recorded, "macs").value
    fits: dict[int, Fit] = {}
    for convention in sorted(plugins.names("conventions"), key=lambda name: (name != "macs", name != "flops", name)):
        counted = tally(recorded, convention).value
        if abs(counted - value) * 2 <= rounded_to:
            fits.setdefault(counted, Fit(convention, "", 1, shape, counted))
    return Solution(value, tuple(fits.values()), macs, value / macs if macs else 0.0)


def claimable_fit(solution: Solution) -> Fit | None:
    """The one fit that a card can say: a plain convention, one image; None when there is none, or more than one."""
    plain = [fit for fit in solution.fits if not fit.variant and fit.batch == 1]
    return plain[0] if len(plain) == 1 == len(solution.fits) else None


def describe_fit(fit: Fit) -> str:
    """`thop at 3x224x285`, with what is done differently."""
    differently = f" {fit.variant}" if fit.variant else ""
    images = f", for {fit.batch} images" if fit.batch > 1 else ""
    return f"{fit.convention}{differently} at {format_shape(fit.input_shape)}{images}"


def format_shape(shape: Sequence[int]) -> str:
    """`3x224x285`."""
    return "x".join(map(str, shape))


def parse_shape(text: str) -> Shape:
    """`3x224x285` as (3, 224, 285). Raises UsageError when it is none."""
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) for part in parts):
        raise UsageError(f"{text!r} is no input", hint="write channels x height x width, as 3x224x224")
    return tuple(int(part) for part in parts)


def explanation(solution: Solution) -> str:
    """What the number can be, in one sentence."""
    if not solution.fits:
        near = (
            f"{solution.ratio:.4f} times the multiply-adds ({solution.macs:,})" if solution.macs else "not comparable"
        )
        return f"no convention gives {solution.value:,} at an input that people use; it is {near}"
    fits = [describe_fit(fit) for fit in solution.fits[:MOST_FITS]]
    more = f", or {len(solution.fits) - MOST_FITS} more" if len(solution.fits) > MOST_FITS else ""
    return f"{solution.value:,} is {' or '.join(fits)}{more}"


def hint(solution: Solution, model: str, own: Sequence[int]) -> str:
    """What to do about a claim that has no convention."""
    fit = claimable_fit(solution)
    if fit is not None:
        at = "" if tuple(own) == fit.input_shape else f", input: [{', '.join(map(str, fit.input_shape))}]"
        return f"run `zoo verify {model} --write`, or add `convention: {fit.convention}{at}, solved: true` to the claim"
    if solution.fits:
        return "add to the claim which of these it is, or move it to `extra`: a card cannot say more than convention and input"
    return "ask the publisher what was counted, or move it to `extra`"


def render(report: CostReport, format_name: str, convention: str = "macs") -> str:
    """The report as `text`, with one convention's breakdown, or all of it as `json`."""
    if format_name == "json":
        return json.dumps(_as_data(report), indent=2) + "\n"
    head = f"{report.model}  {format_shape(report.input_shape)}  {report.params:,} parameters\n"
    counts = [f"  {item.convention:<12} {item.value:>18,}  {_summary(item.convention)}\n" for item in report.costs]
    unknown = [f"  {name:<12} {'unknown':>18}  {why}\n" for name, why in report.problems]
    selected = next((item for item in report.costs if item.convention == convention), None)
    parts = (
        ""
        if selected is None
        else _table("module", selected.by_module, selected) + _table("operator", selected.by_operator, selected)
    )
    solved = [f"{item.where}: {explanation(item.solution)}\n".removeprefix(": ") for item in report.explained]
    return head + "".join((*counts, *unknown)) + parts + "".join(solved)


def _table(title: str, parts: Sequence[tuple[str, int]], selected: Cost) -> str:
    rest = sum(amount for _, amount in parts[MOST_PARTS:])
    rows = [*parts[:MOST_PARTS], *([(f"{len(parts) - MOST_PARTS} more", rest)] if rest else [])]
    width = max((len(name) for name, _ in rows), default=0)
    share = selected.value or 1
    lines = (
        f"  {name or '(the model itself)':<{width}}  {amount:>18,}  {amount / share:6.1%}\n" for name, amount in rows
    )
    return f"{selected.convention} by {title}\n" + "".join(lines)


def _summary(convention: str) -> str:
    return plugins.summary("conventions", convention).rstrip(".")


def _as_data(report: CostReport) -> Mapping[str, Any]:
    return {
        "model": report.model,
        "input": list(report.input_shape),
        "params": report.params,
        "counts": [asdict(item) for item in report.costs],
        "problems": dict(report.problems),
        "explained": [
            {"value": item.solution.value, "where": item.where, "macs": item.solution.macs, "ratio": item.solution.ratio,
             "fits": [asdict(fit) for fit in item.solution.fits]}
            for item in report.explained
        ],
    }  # fmt: skip
