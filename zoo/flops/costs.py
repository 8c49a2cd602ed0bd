"""Count a model's operations under each convention, and find the convention of a published number, for `zoo flops`.

All counts are cached facts, which are read again without torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from zoo import plugins
from zoo.errors import CannotCheck, UsageError
from zoo.flops.counting import Fit, Solution
from zoo.flops.tracing import Shape
from zoo.models import facts
from zoo.models.facts import Fact, with_form
from zoo.models.subject import NotMeasured, Subject
from zoo.registry import bounds
from zoo.registry.card import FlopsClaim
from zoo.runtime import limits, sandbox
from zoo.runtime.json_form import has_form, is_count, is_text
from zoo.runtime.text import json_text, terminal, terminal_lines

TOO_LARGE = "correct `builder` or `input` in the card; zoo cannot count a model this large"
MAX_FITS = 3
"""The most explanations of a number that a message gives."""
MAX_PARTS = 12
"""The most modules or operators that a table shows; the others are added up in one line."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The count of a forward pass of one image under a convention; by_operator, by_module: (name, amount), largest first."""

    convention: str
    value: int
    by_operator: tuple[tuple[str, int], ...]
    by_module: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class ExplainedNumber:
    """A published number: its place in the card, or empty, and the conventions and inputs that explain it."""

    where: str
    solution: Solution
    rounded_to: int
    own: Shape


@dataclass(frozen=True, slots=True)
class CostReport:
    """What `zoo flops` prints about a model at an input; problems: (convention, reason) of those that cannot be counted."""

    model: str
    input_shape: Shape
    params: int
    costs: tuple[Cost, ...]
    problems: tuple[tuple[str, str], ...]
    explained: tuple[ExplainedNumber, ...]


def report_costs(
    subject: Subject, *, input_shape: Shape | None = None, depth: int = 1, explain: Sequence[int] = ()
) -> CostReport:
    """Return the counts of a model under every convention, and explanations of `explain` and of claims without convention.

    input_shape: (channels, height, width), or None for the card's own; depth: see `counting.count`.
    """
    if depth < 1:
        raise UsageError(f"depth is {depth}", hint="give a depth of 1 or more")
    known_only = replace(subject, settings=replace(subject.settings, may_measure=False))
    try:
        return _report_costs(known_only, input_shape, depth, explain)
    except NotMeasured:
        bare = [claim for claim in subject.card.flops if claim.convention is None]
        call_limits = limits.for_building(1 + len(bare) + len(explain), hint=TOO_LARGE)
        return sandbox.call(_report_costs, subject, input_shape, depth, explain, limits=call_limits)


def _report_costs(subject: Subject, input_shape: Shape | None, depth: int, explain: Sequence[int]) -> CostReport:
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
    """Return the count under one convention at an input; raises CannotCheck as `counting.count` does."""
    inputs = {"convention": convention, "input": list(shape), "depth": depth}
    code = (__name__, _module_of(convention))
    key = facts.architecture_key("cost", subject.builder, measured_by=code, **inputs)

    def measure() -> Fact:
        from zoo.flops.counting import count

        counted = count(subject.meta, shape, convention, depth=depth)
        return Fact(counted.value, {"by_operator": counted.by_operator, "by_module": counted.by_module})

    fact = subject.fact(key, measure, _is_cost)
    parts = {name: tuple((str(part), int(amount)) for part, amount in fact.evidence[name]) for name in fact.evidence}
    return Cost(convention, int(fact.value or 0), parts["by_operator"], parts["by_module"])


def params(subject: Subject) -> int:
    """Return the number of parameters of the architecture."""

    def measure() -> Fact:
        from zoo.flops.counting import measure_state

        return Fact(measure_state(subject.meta).params)

    key = facts.architecture_key("parameters", subject.builder, measured_by=(__name__,))
    return int(subject.fact(key, measure, with_form(is_count, {})).value or 0)


def rounding_step(claim: FlopsClaim) -> int:
    """Return the step that a claimed number is rounded to, 1 when it is exact."""
    return max(1, round(claim.rounded_to or 1))


def solve(subject: Subject, claim: FlopsClaim) -> Solution:
    """Explain a claim without a convention, at its own input if it has one, otherwise at the common input sizes."""
    return solve_number(subject, round(claim.value), rounded_to=rounding_step(claim), shape=claim.input)


def solve_number(subject: Subject, value: int, *, rounded_to: int = 1, shape: Sequence[int] | None = None) -> Solution:
    """Return the conventions and inputs that give a number; see `counting.solve`. shape: the only input to try, if given."""
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

    evidence = subject.fact(key, measure, _IS_SOLUTION).evidence
    fits = tuple(Fit(**{**fit, "input_shape": tuple(fit["input_shape"])}) for fit in evidence["fits"])
    return Solution(value, fits, evidence["macs"], value / evidence["macs"] if evidence["macs"] else 0.0)


def _is_cost(fact: Fact) -> bool:
    """Return whether it is a count, with the amounts of operators and of modules that add up to it."""
    parts = [(is_text, is_count)]
    return (
        is_count(fact.value)
        and has_form(fact.evidence, {"by_operator": parts, "by_module": parts})
        and all(sum(amount for _, amount in amounts) == fact.value for amounts in fact.evidence.values())
    )


_IS_SOLUTION = with_form(
    is_count,
    {
        "fits": [
            {
                "convention": is_text,
                "variant": is_text,
                "batch": is_count,
                "input_shape": (is_count, is_count, is_count),
                "value": is_count,
            }
        ],
        "macs": is_count,
    },
)


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
    """Return the fit if it is the only one and a card can express it (no variant, one image), otherwise None."""
    plain = [fit for fit in solution.fits if not fit.variant and fit.batch == 1]
    return plain[0] if len(plain) == 1 == len(solution.fits) else None


def describe_fit(fit: Fit) -> str:
    """Return a description such as `thop without biases at 3x224x285, for 2 images`."""
    variant = f" {fit.variant}" if fit.variant else ""
    images = f", for {fit.batch} images" if fit.batch > 1 else ""
    return f"{fit.convention}{variant} at {format_shape(fit.input_shape)}{images}"


def format_shape(shape: Sequence[int]) -> str:
    """Return the shape as text, such as `3x224x285`."""
    return "x".join(map(str, shape))


def parse_shape(text: str) -> Shape:
    """Return `3x224x285` as (3, 224, 285); raises UsageError for text in another form."""
    parts = text.split("x")
    if len(parts) != 3 or not all(re.fullmatch("0*[1-9][0-9]{0,8}", part) for part in parts):
        raise UsageError(f"invalid input size {text!r}", hint="give channels x height x width, for example 3x224x224")
    channels, height, width = map(int, parts)
    if height * width > bounds.MAX_AREA or channels * height * width > bounds.MAX_INPUT_VALUES:
        limit = f"at most {bounds.MAX_AREA:,} pixels and {bounds.MAX_INPUT_VALUES:,} values"
        raise UsageError(f"input size {text} is too large", hint=f"give {limit}")
    return (channels, height, width)


def explanation(solution: Solution) -> str:
    """Return what the number counts, in one sentence."""
    if not solution.fits:
        ratio = f"; it is {solution.ratio:.4f} times the multiply-adds ({solution.macs:,})" if solution.macs else ""
        return f"no convention gives {solution.value:,} at a common input size{ratio}"
    fits = [describe_fit(fit) for fit in solution.fits[:MAX_FITS]]
    more = f", or {len(solution.fits) - MAX_FITS} more" if len(solution.fits) > MAX_FITS else ""
    return f"{solution.value:,} is {' or '.join(fits)}{more}"


def hint(solution: Solution, model: str, own: Sequence[int]) -> str:
    """Return the hint for a claim without a convention."""
    fit = claimable_fit(solution)
    if fit is not None:
        at = "" if tuple(own) == fit.input_shape else f", input: [{', '.join(map(str, fit.input_shape))}]"
        return f"run `zoo verify {model} --write`, or add `convention: {fit.convention}{at}, solved: true` to the claim"
    if solution.fits:
        return (
            "add `convention` and `input` of the right one to the claim; if that cannot express it, move it to `extra`"
        )
    return "ask the publisher for the convention, or move the claim to `extra`"


def render(report: CostReport, format_name: str, convention: str = "macs") -> str:
    """Return the report as `text`, with the breakdown of one convention, or as `json` with all of them."""
    if format_name == "json":
        return json_text(json.dumps(_as_data(report), indent=2)) + "\n"
    lines = [f"{report.model}  {format_shape(report.input_shape)}  {report.params:,} parameters"]
    lines += [f"  {item.convention:<12} {item.value:>18,}  {_summary(item.convention)}" for item in report.costs]
    lines += [f"  {name:<12} {'unknown':>18}  {why}" for name, why in report.problems]
    selected = next((item for item in report.costs if item.convention == convention), None)
    if selected is not None:
        lines += _table("module", selected.by_module, selected) + _table("operator", selected.by_operator, selected)
    lines += [f"{item.where}: {explanation(item.solution)}".removeprefix(": ") for item in report.explained]
    return terminal_lines([*lines, ""])


def _table(title: str, parts: Sequence[tuple[str, int]], selected: Cost) -> list[str]:
    rest = sum(amount for _, amount in parts[MAX_PARTS:])
    rows = [(terminal(name), amount) for name, amount in parts[:MAX_PARTS]]
    rows += [(f"{len(parts) - MAX_PARTS} more", rest)] if rest else []
    width = max((len(name) for name, _ in rows), default=0)
    share = selected.value or 1
    lines = [
        f"  {name or '(the model itself)':<{width}}  {amount:>18,}  {amount / share:6.1%}" for name, amount in rows
    ]
    return [f"{selected.convention} by {title}", *lines]


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
