"""The command line: what it imports, how it exits, and its messages for invalid requests."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.helpers.project import ROOT, RunZoo, may_be_interrupted
from zoo import plugins
from zoo.errors import CannotCheck, CardError, NotHere, Refused, TransferFailed, UnknownName, UsageError, WrongContent

HEAVY = {"torch", "timm", "torchvision", "requests", "huggingface_hub", "numpy"}


def imported(*arguments: str) -> set[str]:
    """Run a command in its own process; return the heavy libraries that it imported."""
    code = (
        "import json, os, sys, zoo_cli\n"
        f"sys.argv = ['zoo', *{list(arguments)!r}]\n"
        "sys.stdout = open(os.devnull, 'w')\n"
        "try: zoo_cli.main()\n"
        "except SystemExit: pass\n"
        f"print(json.dumps(sorted({HEAVY!r} & set(sys.modules))), file=sys.__stdout__)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(ran.stdout))


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("list",), ("show", "resnest269e"), ("validate", "--all"), ("verify", "--help")],
    ids=" ".join,
)
def test_a_command_that_only_reads_cards_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert imported(*arguments) == set()


def test_help_imports_neither_yaml_nor_jsonschema_nor_any_command() -> None:
    code = (
        "import sys, zoo_cli\n"
        "sys.argv = ['zoo', '--help']\n"
        "try: zoo_cli.main()\n"
        "except SystemExit: pass\n"
        "print([n for n in sys.modules if n in ('yaml', 'jsonschema', 'rich') or n.startswith('zoo.commands')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", plugins.names("commands"))
def test_a_commands_first_line_is_its_help(name: str, run_zoo: RunZoo) -> None:
    command = plugins.load("commands", name).command
    assert isinstance(command, click.Command)
    assert (command.help or "").partition("\n")[0] == plugins.summary("commands", name)
    assert run_zoo(name, "--help").code == 0


@pytest.mark.parametrize("name", plugins.names("commands"))
def test_every_option_says_what_it_does(name: str) -> None:
    command = plugins.load("commands", name).command
    commands = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    silent = [
        parameter.name
        for each in commands
        for parameter in each.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify", "resnest_digit"), "unknown model 'resnest_digit'\n  hint: did you mean 'resnest_digits'"),
        (("verify",), "no model is named\n  hint: name one or more models, or give --all"),
        (("eval",), "no model is named\n  hint: name one or more models"),
        (("verify", "--all", "--check", "parms"), "unknown check 'parms'\n  hint: did you mean 'params'?"),
        (("verify", "--all", "--cards", "/nowhere"), "no such folder: /nowhere"),
        (("verify", "resnest_digits", "--device", "cdua:0", "--refresh"), "unknown device 'cdua:0'"),
        (("validate", "cards/nothing.yaml"), "no such file or folder: cards/nothing.yaml"),
        (("verfy",), "unknown command 'verfy'\n  hint: did you mean 'verify'"),
        (("quux",), "unknown command 'quux'\n  hint: zoo --help lists the commands"),
        (("list", "--formt", "json"), "No such option"),
        (("verify", "--all", "--data", "digits"), "not of the form NAME=VALUE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_usage_error_exits_2(arguments: tuple[str, ...], message: str, run_zoo: RunZoo) -> None:
    ran = run_zoo(*arguments)
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("error", "code"),
    [(WrongContent("x"), 1), (CardError("x"), 1), (UsageError("x"), 2), (UnknownName("model", "x", ()), 2),
     (CannotCheck("x"), 3), (NotHere("x"), 3), (TransferFailed("x"), 3), (Refused("x"), 3), (Refused("x", exit_code=1), 1)],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)  # fmt: skip
def test_each_error_has_its_exit_code(
    error: Exception, code: int, run_zoo: RunZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("zoo.registry.catalog.load_catalog", fail)
    assert run_zoo("list").code == code


@pytest.mark.parametrize("arguments", ["list", "cache path", "verify resnest14d --check params", "fetch resnest14d"])
def test_a_home_of_an_unknown_user_is_a_usage_error(
    arguments: str, run_zoo: RunZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", "~nosuchuser/x")
    ran = run_zoo(*arguments.split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "zoo: ZOO_HOME is ~nosuchuser/x, but there is no home folder ~nosuchuser\n"
        "  hint: export ZOO_HOME=/absolute/path\n"
    )


def test_a_report_that_cannot_be_stored_is_mentioned_and_shown(
    run_zoo: RunZoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    (tmp_path / "a.yaml").write_text("name: a\n")
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    ran = run_zoo("verify", "a", "--cards", tmp_path)
    assert (ran.code, ran.out.splitlines()[0].split()[0]) == (0, "a")
    assert ran.err.count("a: cannot store the report for `zoo publish`") == 1 and "Not a directory" in ran.err


def test_a_bug_exits_70_with_its_traceback(run_zoo: RunZoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.registry.catalog.load_catalog", lambda *_: 1 / 0)
    ran = run_zoo("list")
    assert ran.code == 70
    assert "ZeroDivisionError" in ran.err and "this is a bug in zoo" in ran.err


def test_an_interrupted_run_exits_130_and_keeps_what_it_printed(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "zoo_cli", "verify", "--all"]
    environment = {**os.environ, "ZOO_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=may_be_interrupted,
    ) as run:
        assert run.stdout is not None
        first = run.stdout.readline()
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=120)
    assert first
    assert run.returncode == 130
    assert "interrupted" in err


@pytest.mark.parametrize(
    ("interrupted", "command"),
    [
        ("zoo.verification.checks.build.answer", ["verify", "resnest_digits", "--check", "build"]),
        ("zoo.verification.scores.measure", ["eval", "resnest_digits"]),
        ("zoo.publishing.run._publish", ["publish", "resnest_digits", "--to", "folder:release"]),
        ("zoo.publishing.run._check", ["publish", "resnest_digits", "--to", "folder:release", "--check"]),
        ("zoo.registry.catalog.Catalog.find", ["show", "resnest_digits"]),
    ],
)
def test_an_interrupt_that_a_library_turned_into_an_error_still_exits_130(interrupted: str, command: list[str]) -> None:
    swallowed = f"""
import os, signal, sys
import zoo.registry.catalog, zoo.verification.checks.build, zoo.publishing.run, zoo.verification.scores, zoo_cli
from zoo.errors import WrongContent

def interrupted(*arguments, **options):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
    except KeyboardInterrupt:
        raise WrongContent("no sound file") from None

{interrupted} = interrupted
zoo_cli.main()
"""
    ran = subprocess.run(
        [sys.executable, "-c", swallowed, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=may_be_interrupted,
    )
    assert ran.returncode == 130
    assert "interrupted" in ran.stderr
    assert "no sound file" not in ran.stdout + ran.stderr


def test_a_closed_pipe_is_not_an_error() -> None:
    command = f"{sys.executable} -m zoo_cli list --format json | head -c 1; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_cards_replace_the_shipped_ones_but_not_their_data_sets(run_zoo: RunZoo, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nclaims: {results: [{dataset: digits, metric: top1, value: 90}]}\n")
    assert run_zoo("list", "--format", "names", "--cards", tmp_path).out == "mine\n"
    ran = run_zoo("validate", "--all", "--cards", tmp_path)
    assert ran.code == 0, ran.out


def test_the_environment_variable_selects_folders_of_cards(
    run_zoo: RunZoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.yaml").write_text(f"name: {name}\n")
    monkeypatch.setenv("ZOO_CARDS", f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}")
    assert run_zoo("list", "--format", "names").out == "a\nb\n"


def test_an_alias_and_a_deprecated_card_are_reported(run_zoo: RunZoo, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\naliases: [old-a]\ndeprecated: use b\n")
    ran = run_zoo("show", "old-a", "--cards", tmp_path)
    assert ran.code == 0
    assert ran.err == "old-a is an alias of a\na is deprecated: use b\n"


def test_show_prints_everything_in_card_and_collection(run_zoo: RunZoo) -> None:
    ran = run_zoo("show", "resnest269e")
    for text in ("0cc87c48", "84.53", "100830307104", "ResNeSt: Split-Attention Networks", "64x NVIDIA V100 GPUs"):
        assert text in ran.out


def test_list_shows_claimed_values(run_zoo: RunZoo) -> None:
    rows = {row.split()[0]: row.split() for row in run_zoo("list").out.splitlines()}
    assert rows["resnest269e"][1:5] == ["resnest", "110.93M", "77.349G", "84.53%"]
    assert len(rows) >= 10


@pytest.mark.parametrize("format_name", plugins.names("formats"))
def test_every_format_shows_the_error_and_its_place(format_name: str, run_zoo: RunZoo, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nclaims: {results: [{dataset: digits, metric: top1, value: 101}]}\n")
    ran = run_zoo("validate", "--all", "--cards", tmp_path, "--format", format_name)
    assert ran.code == 1
    assert "a.yaml" in ran.out and "101" in ran.out and "outside 0 to 100" in ran.out


@pytest.mark.parametrize("command", ["show", "verify", "fetch", "publish"])
def test_names_are_completed_without_torch(command: str) -> None:
    code = "import sys, zoo_cli\ntry: zoo_cli.main()\nfinally: print('torch' in sys.modules)"
    variables = {"_ZOO_COMPLETE": "bash_complete", "COMP_WORDS": f"zoo {command} resnest2", "COMP_CWORD": "2"}
    environment = {**os.environ, **variables}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.stdout.split() == ["plain,resnest200e", "plain,resnest269e", "plain,resnest26d", "False"]


def test_no_shared_function_has_the_name_of_a_command() -> None:
    """Importing zoo.commands.list makes `list` an attribute of the package, which hides the built-in function."""
    shared = ast.parse((ROOT / "zoo" / "commands" / "__init__.py").read_text(encoding="utf-8"))
    calls = [node.func for node in ast.walk(shared) if isinstance(node, ast.Call)]
    called = {function.id for function in calls if isinstance(function, ast.Name)}
    defined = {node.name for node in shared.body if isinstance(node, ast.FunctionDef)}
    assert (called | defined) & set(plugins.names("commands")) == set()
