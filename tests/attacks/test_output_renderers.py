"""No renderer shows foreign text raw: hostile text in every field has no effect on a terminal, on CI or on a page."""

from __future__ import annotations

import ast
import dataclasses
import io
import json
import pickle
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.output import HOSTILE, assert_harmless, assert_harmless_page
from tests.helpers.project import ROOT
from zoo import commands, plugins
from zoo.accuracy.evaluate import Counts, EvaluationProgress
from zoo.commands import _evaluation, fetch
from zoo.conversion import importer
from zoo.conversion.importer import ImportPlan
from zoo.errors import CannotCheck, UnknownName, ZooError
from zoo.flops import costs
from zoo.models.subject import Settings
from zoo.registry import tables
from zoo.registry.card import Card, Collection, from_document
from zoo.registry.document import Document
from zoo.registry.index import Row
from zoo.registry.position import Problem, position
from zoo.runtime.text import terminal_lines
from zoo.verification import lint, predict, report, scores
from zoo.verification.formats import text
from zoo.verification.lint import LintResult
from zoo.verification.report import Finding, Report, Status
from zoo.weights.transfer.connections import DownloadProgress

VALUES = {int: 7, float: 0.5, bool: True, Path: Path(HOSTILE), Any: HOSTILE, object: HOSTILE, str: HOSTILE}


def hostile(kind: Any) -> Any:
    """Return a value of this type in which every text is hostile; new fields of the dataclasses are filled too."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{item.name: hostile(hints[item.name]) for item in dataclasses.fields(kind) if item.init})  # type: ignore[operator]  # a class
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(hostile(item) for item in arguments if item is not ...)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return {hostile(arguments[0]): hostile(arguments[1])}
    if origin in (typing.Union, types.UnionType):
        return hostile(str if str in arguments else arguments[0])
    if origin is typing.Literal:
        return arguments[0]
    return VALUES[kind]


def hostile_report() -> Report:
    findings = [dataclasses.replace(hostile(Finding), status=status) for status in Status]
    others = [dataclasses.replace(finding, hint="", claimed=None) for finding in findings]
    calm = [dataclasses.replace(finding, model="net", hint=f"zoo fetch {HOSTILE}") for finding in findings]
    named = [dataclasses.replace(finding, hint=f"zoo fetch {finding.model}") for finding in findings]
    return dataclasses.replace(hostile(Report), findings=(*findings, *others, *calm, *named))


def hostile_costs() -> costs.CostReport:
    made = hostile(costs.CostReport)
    return dataclasses.replace(made, costs=tuple(dataclasses.replace(cost, convention="macs") for cost in made.costs))


def hostile_card(cls: type[Any]) -> Any:
    data = {
        "name": HOSTILE,
        HOSTILE: HOSTILE,
        ":": f":error::{HOSTILE}",
        "license": HOSTILE,
        "extra": {HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}], "list": [HOSTILE, 1]},
        "claims": {"results": [{"dataset": HOSTILE, "metric": HOSTILE, "value": 1.0}]},
    }
    return from_document(cls, Document(Path(HOSTILE), HOSTILE, data, (), ""))


RENDERERS: Mapping[str, Callable[[], list[str]]] = {
    "zoo.commands.failure_text": lambda: [commands.failure_text(hostile_error(), HOSTILE)],
    "zoo.conversion.importer.describe": lambda: [
        importer.describe(dataclasses.replace(ImportPlan({}), problems=(hostile(Problem),), notes=(HOSTILE,)), dry_run=True)
    ],
    "zoo.errors.__str__": lambda: [str(hostile_error()), str(CannotCheck(HOSTILE)), str(UnknownName(HOSTILE, HOSTILE, [HOSTILE], where=HOSTILE))],
    "zoo.flops.costs.render": lambda: [costs.render(hostile_costs(), name) for name in ("text", "json")],
    "zoo.registry.tables.render": lambda: [
        tables.render([hostile(Row)], name, columns)
        for name in ("text", "json", "names")
        for columns in ((), ("where", "name", "license", "deprecated", "dataset"))
    ],
    "zoo.registry.tables.render_card": lambda: [
        tables.render_card(hostile_card(Card), hostile_card(Collection), name) for name in ("text", "json")
    ],
    "zoo.registry.tables.render_comparison": lambda: [
        tables.render_comparison([hostile_card(Card)] * 2, name) for name in ("text", "json")
    ],
    "zoo.verification.formats.text.model": lambda: [text.model(hostile_report().findings[:8])],
    "zoo.verification.formats.text.summary": lambda: [text.summary(hostile_report().findings)],
    "zoo.verification.lint.render_batches": lambda: [
        lines
        for lines, _ in lint.render_batches([LintResult(HOSTILE, HOSTILE, (), hostile_report().findings)], text.model)
    ],
    "zoo.verification.predict.render": lambda: [
        predict.render([hostile(predict.Prediction)], name) for name in ("text", "json")
    ],
    "zoo.verification.report.to_json": lambda: [hostile_report().to_json()],
    "zoo.verification.scores.render": lambda: [scores.render([hostile(scores.Score)], name) for name in ("text", "json")],
    **{
        f"zoo.verification.formats.{name}.render": lambda name=name: [plugins.load("formats", name).render(hostile_report())]  # type: ignore[misc]  # bound in the loop
        for name in plugins.names("formats")
    },
}  # fmt: skip
"""Each function whose text is printed, by name, called with hostile text in every field."""


def hostile_error() -> ZooError:
    return CannotCheck(HOSTILE, where=HOSTILE, hint=HOSTILE)


@pytest.mark.parametrize("name", RENDERERS)
def test_hostile_text_in_any_field_has_no_effect(name: str) -> None:
    for output in RENDERERS[name]():
        assert output
        assert_harmless(output, is_github=name.endswith("github.render"))


def test_hostile_text_makes_no_markup_in_a_page() -> None:
    pages = [plugins.load("formats", "markdown").render(hostile_report())]
    pages.append(
        scores.render([hostile(scores.Score), dataclasses.replace(hostile(scores.Score), top1=None)], "markdown")
    )
    for page in pages:
        assert_harmless(page)
        assert_harmless_page(page)


def test_each_finding_is_one_annotation_and_nothing_else_is() -> None:
    made = plugins.load("formats", "github").render(hostile_report())
    levels = ("wrong", "unknown", "suspect")
    expected = sum(finding.status.value in levels for finding in hostile_report().findings)
    assert sum(line.startswith("::") for line in made.splitlines()) == expected
    assert "%0A::error::x%0A  ::add-mask::y" in made


def test_every_function_that_renders_is_in_the_list() -> None:
    """A new renderer must be tried with hostile text, too."""
    found = set()
    for path in (ROOT / "zoo").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and re.match(r"render|to_json$", node.name):
                found.add(f"{module}.{node.name}".replace(".__init__.", "."))
    contract = "zoo.verification.formats.render"
    pages = {name for name in found if name.startswith(("zoo.publishing.", "zoo.site."))}
    assert found - pages - {contract} <= set(RENDERERS)


def test_commands_print_only_what_passed_a_safe_function() -> None:
    """click.echo gets the result of a renderer or of a safe function; all other lines go through print_line and print_error."""
    safe = {
        "text.summary", "text.model", "tables.render", "tables.render_card", "tables.render_comparison", "costs.render", "scores.render",
        "predict.render", "importer.describe", "lint.explain_rule", "exporter.printable", "terminal", "terminal_lines",
        "plugins.load('formats', format_name).render",
    }  # fmt: skip
    names = {"lines", "f'zoo {zoo_version()}'", "f'zoo: {error}'"}
    """From lint.render_batches; of zoo's own; from ZooError.__str__."""
    for path in (*(ROOT / "zoo" / "commands").glob("*.py"), ROOT / "zoo_cli.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in ("click.echo", "print", "echo"):
                continue
            (value,) = node.args
            is_safe = isinstance(value, ast.Constant) or (
                isinstance(value, ast.Call) and ast.unparse(value.func) in safe
            )
            assert is_safe or ast.unparse(value) in names, f"{path.name}:{node.lineno}: {ast.unparse(node)}"


def test_json_keeps_the_data(tmp_path: Path) -> None:
    original = dataclasses.replace(
        hostile_report(), created="2026-11-28T00:00:00Z", environment={}, zoo="1", subjects=()
    )
    (tmp_path / "report.json").write_text(original.to_json(), encoding="utf-8")
    assert report.read(tmp_path / "report.json").findings[0].where == HOSTILE.replace("\ud800", "\\ud800")


def test_lines_that_zoo_makes_stay_lines_also_from_another_process() -> None:
    error = CannotCheck(terminal_lines(["cannot download", f"  {HOSTILE}"]))
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert len(str(each).split("\n")) == 2
        assert_harmless(str(each))


def test_a_name_in_a_hint_is_one_argument_of_the_command() -> None:
    names = ["a b", "x;touch pwned", "$(touch pwned)", "net-1.0+x"]
    findings = [Finding(name, "files", "f", Status.SKIPPED, hint=f"zoo fetch {name}") for name in names]
    last = text.summary(findings).splitlines()[-1]
    assert last == "  skipped files: zoo fetch 'a b' 'x;touch pwned' '$(touch pwned)' net-1.0+x"


def test_a_sarif_message_has_no_link() -> None:
    finding = Finding(
        "net", "files", "f", Status.WRONG, where="a.yaml:1:1", reason="see [x](javascript:1) and input: [3, 4]"
    )
    report_of = dataclasses.replace(hostile(Report), findings=(finding,))
    (result,) = json.loads(plugins.load("formats", "sarif").render(report_of))["runs"][0]["results"]
    assert result["message"]["text"] == "net: see \\[x\\](javascript:1) and input: [3, 4]"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def replace_stderr(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a wide terminal, and return it. Not a fixture: pytest sets its own before the test."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "400")
    return shown


MARKUP = "[red]a[/red] [link=https://h]b[/link] :bomb: \x1b]0;x\x07\u202e"
"""What rich reads as markup and as an emoji, unless it is asked not to."""
SHOWN = MARKUP.replace("\x1b", "\\x1b").replace("\x07", "\\x07").replace("\u202e", "\\u202e")


def without_colours(output: Terminal) -> str:
    made = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", output.getvalue())
    assert_harmless(made)
    return made


def test_the_progress_of_downloads_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = replace_stderr(monkeypatch)
    with fetch._progress([10, 10]) as progress:
        progress(DownloadProgress("net", MARKUP, 1, 10, note=f"waiting {MARKUP}"))
        progress.print_line(f"done {MARKUP}")
    made = without_colours(shown)
    assert f"waiting {SHOWN}" in made
    assert f"done {SHOWN}" in made


def test_the_progress_of_evaluations_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = replace_stderr(monkeypatch)
    with _evaluation.show_progress(Settings()) as settings:
        assert settings.on_progress is not None
        settings.on_progress(EvaluationProgress("net", MARKUP, "test", Counts(2, 1, 2), 4, 4, 2, 1.0))
    assert f"net {SHOWN}/test" in without_colours(shown)


def test_a_place_that_looks_like_a_position_is_none() -> None:
    assert position("a.yaml:3:14") == ("a.yaml", 3, 14)
    for where in ("a.yaml:²:³", f"a.yaml:{'9' * 5000}:1", "::", ""):
        assert position(where) == (where, 1, 1)
