"""README, CONTRIBUTING and schemas/README are true: generated parts are current, commands exist, the Python example runs."""

from __future__ import annotations

import re

import pytest

from tests.documentation import generate
from tests.helpers.project import ROOT, RunZoo

README = (ROOT / "README.md").read_text(encoding="utf-8")
PARTS = [(document, name) for document, parts in generate.PARTS.items() for name in parts]


@pytest.mark.parametrize(("document", "name"), PARTS, ids=lambda value: value)
def test_a_generated_part_is_current(document: str, name: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    renewed = generate.renew(text, name, generate.PARTS[document][name]())
    assert text == renewed, "run python -m tests.documentation.generate"


@pytest.mark.parametrize("document", [*generate.PARTS, "CHANGELOG.md"])
def test_links_to_files_and_headings_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    headings = {_anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif "://" not in target:
            assert ((ROOT / document).parent / target).exists(), target


def _anchor(heading: str) -> str:
    """Return the anchor that code hosts give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_python_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})


def test_the_commands_of_the_readme_exist_with_their_options(run_zoo: RunZoo) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [
        line.partition("#")[0].split() for block in blocks for line in block.splitlines() if line.startswith("zoo ")
    ]
    assert len(lines) >= 20
    for _, name, *arguments in lines:
        shown = run_zoo(name, "--help")
        assert shown.code == 0, name
        for option in (argument for argument in arguments if argument.startswith("--")):
            assert option in shown.out, f"zoo {name} has no {option}"


def test_the_exit_codes_are_the_codes() -> None:
    import zoo_cli

    for code in (0, 1, 2, 3, zoo_cli.BUG, zoo_cli.INTERRUPTED):
        assert f"\n| {code} |" in README


def test_every_status_is_explained() -> None:
    from zoo.verification.report import Status

    for status in Status:
        assert f"\n| `{status.value}` |" in README


def test_there_are_exactly_two_set_up_commands() -> None:
    assert README.count("python3 -m venv .venv && ") == 2


def test_ci_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "grep -F \"pip install -e '.[dev]'\" README.md" in script
    assert sum("pip install -e '.[dev]'" in line for line in README.splitlines()) == 1


def test_the_map_has_every_room() -> None:
    assert {path.name for path in (ROOT / "zoo").iterdir() if (path / "__init__.py").exists()} == set(generate.ROOMS)
