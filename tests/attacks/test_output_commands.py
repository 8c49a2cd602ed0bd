"""No command prints foreign text raw: hostile cards, file names, data sets, documents and servers have no effect on the output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import zoo_cli
from tests.attacks.output import HOSTILE, assert_harmless, assert_harmless_page
from tests.helpers.project import ROOT, RunZoo
from zoo import plugins
from zoo.registry.document import parse, parse_foreign
from zoo.registry.edit import apply, card_text

TEXT = HOSTILE.replace("\ud800", "")
"""libyaml accepts no unpaired surrogate."""
SHORT = "::error::x\x1b]0;x\x07\u202e\n::add-mask::y ##[error]z"
ODD_NAME = "::error::x\x1b]0;x\x07\u202e\n::add-mask::y"
REPORT_FORMATS = tuple(plugins.names("formats"))


def write(path: Path, data: Mapping[str, Any]) -> None:
    """Write data as YAML, with escape sequences for hostile text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(card_text(data), encoding="utf-8")


@pytest.fixture
def hostile_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo whose cards, valid and not, are hostile wherever the schema allows text; the current folder is its own."""
    claims = {
        "params": {"value": 10, "origin": "upstream", "source": TEXT},
        "flops": [{"value": 77, "origin": "upstream", "source": TEXT}],
        "results": [{"dataset": SHORT, "split": SHORT, "metric": SHORT, "value": 1, "unit": "%\n::error::u", "origin": "upstream"},
                    {"dataset": "odd", "split": "validation", "metric": "top1", "value": 930, "unit": "percent", "origin": "upstream"}],
    }  # fmt: skip
    weights = {"file": "::error::x\u202e\u200b.pth", "format": "pickle", "urls": [f"file:///nosuch/{SHORT}", SHORT],
               "source": TEXT, "size_bytes": 10, "rename": [{"pattern": "(\n::error::", "replacement": SHORT}]}  # fmt: skip
    card = {
        "schema": 1, "name": "odd", "deprecated": TEXT, "license": SHORT, "task": SHORT, "base_model": TEXT, "code": TEXT,
        "class_names": [TEXT[:400], "b"], "builder": {"library": SHORT, "entry": TEXT, "options": {"x": TEXT}}, "weights": [weights],
        "claims": claims, "ignore": [{"rule": SHORT, "reason": TEXT}], "training": {"epochs": TEXT}, "extra": {TEXT: {":": TEXT}},
    }  # fmt: skip
    write(tmp_path / "odd.yaml", card)
    write(tmp_path / "family" / "collection.yaml", {"schema": 1, "name": "family", "title": TEXT, "description": TEXT})
    write(tmp_path / "family" / "timm.yaml", {"schema": 1, "name": "timmy", "collection": "family", "task": SHORT, "license": SHORT,
                                             "builder": {"library": "timm", "entry": SHORT, "options": {TEXT: TEXT}}})  # fmt: skip
    write(
        tmp_path / f"{ODD_NAME}.yaml",
        {"schema": 1, "name": TEXT, TEXT: TEXT, "licence": TEXT, "weights": [{"file": SHORT}]},
    )
    write(tmp_path / f"{ODD_NAME} d" / "datasets" / "x.yaml", {"name": "x", "kind": SHORT, TEXT: 1})
    write(tmp_path / "datasets" / "odd.yaml", {
        "schema": 1, "name": "odd", "kind": "folder", "obtain": SHORT, "license": SHORT, "homepage": TEXT, "description": TEXT,
        "splits": {"validation": {"images": 2}}, "classes": ["\u202e::error::a", "\u200b"], "class_names": [SHORT, TEXT],
    })  # fmt: skip
    (tmp_path / "broken.yaml").write_text(f"name: 'x;touch pwned'\n? {json.dumps(SHORT)}\n: !x {json.dumps(SHORT)}\n")
    (tmp_path / f"{ODD_NAME}.yml").write_text("name: [\x1b\n", encoding="utf-8")
    (tmp_path / f"up{ODD_NAME}").symlink_to("..")
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMANDS = (
    *(("list", "--format", name) for name in ("text", "json", "names")),
    ("list", "--fields", "name,license,task,library,deprecated,dataset,where"),
    *(("show", "odd", "--format", name) for name in ("text", "json")),
    *(("compare", "odd", "timmy", "--format", name) for name in ("text", "json")),
    *(("validate", "--all", "--format", name) for name in REPORT_FORMATS),
    ("validate", f"{ODD_NAME}.yaml", "family/timm.yaml", "--fix"),
    ("verify", "--all"),
    *(
        ("verify", "--all", "--remote", "--check", "remote,files,schema,consistency", "--format", name)
        for name in REPORT_FORMATS
    ),
    *(("data", "verify", "odd", "--format", name) for name in REPORT_FORMATS),
    ("data", "list"),
    *(("eval", "odd", "timmy", "--format", name) for name in ("text", "json", "markdown")),
    ("predict", "odd", "x.png"),
    ("flops", "odd"),
    ("flops", "timmy"),
    ("fetch", "--all", "--dry-run"),
    ("fetch", "odd", "--stall", "1"),
    ("pin", "odd", "--offline"),
    ("publish", "--all", "--to", "folder:out"),
    ("publish", "odd", "--to", "folder:out", "--check"),
    *(("export", "--all", "--format", name.replace("_", "-")) for name in ("csv", "hf", "model_index")),
    ("export", "--all", "--format", "model-index", "--to", "exported"),
    ("import", "odd.yaml", "family", "--to", "imported"),
    ("new", "mine", "--weights", ODD_NAME, "--builder", SHORT),
    ("fetch", SHORT),
    ("show", SHORT),
    (SHORT,),
    ("list", f"--{SHORT}"),
    ("list", "--format", SHORT),
    ("list", "--where", SHORT),
    ("validate", SHORT, "--select", SHORT),
    ("cache", "list"),
    ("cache", "prune", "--dry-run"),
)


@pytest.mark.parametrize(
    "arguments", COMMANDS, ids=lambda arguments: " ".join(arguments)[:60].encode("unicode_escape").decode()
)
def test_a_hostile_zoo_has_no_effect_on_the_output(
    arguments: tuple[str, ...], hostile_zoo: Path, run_zoo: RunZoo
) -> None:
    is_about_cards = arguments[0] not in ("import", "new", "cache", SHORT)
    ran = run_zoo(*arguments, *(("--cards", ".") if is_about_cards else ()))
    assert ran.code in (0, 1, 2, 3), ran.err
    assert ran.out + ran.err
    assert_harmless(ran.out, is_github="github" in arguments)
    assert_harmless(ran.err)
    if "markdown" in arguments:
        assert_harmless_page(ran.out)


def test_the_zoo_of_these_tests_is_read_as_far_as_the_schema_allows(hostile_zoo: Path, run_zoo: RunZoo) -> None:
    assert run_zoo("list", "--format", "names", "--cards", ".").out == "odd\ntimmy\n"
    assert "\\n::add-mask::y" in run_zoo("data", "list", "--cards", ".").out


def test_a_name_in_a_hint_is_quoted(hostile_zoo: Path, run_zoo: RunZoo) -> None:
    assert "(zoo validate 'x;touch pwned')" in run_zoo("list", "--cards", ".").err
    Path("a b").symlink_to("..")
    assert "read it with --cards './a b'" in run_zoo("validate", "--all", "--cards", ".").out


def test_a_bug_prints_no_foreign_text_raw(run_zoo: RunZoo, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise RuntimeError(HOSTILE)

    monkeypatch.setattr(zoo_cli, "_run", fail)
    ran = run_zoo("list")
    assert ran.code == 70
    assert "RuntimeError: net\\x1b]0;x" in ran.err
    assert_harmless(ran.err)


def test_a_document_that_would_control_the_terminal_is_written_to_files_only(
    hostile_zoo: Path, run_zoo: RunZoo
) -> None:
    shown = run_zoo("export", "odd", "--format", "csv", "--cards", ".")
    assert (shown.code, shown.out) == (2, "")
    assert "--to FOLDER" in shown.err
    written = run_zoo("export", "odd", "--format", "csv", "--to", "out", "--cards", ".")
    assert written.code == 0
    assert "\x1b" in Path("out/models.csv").read_text(encoding="utf-8")


def test_a_spreadsheet_finds_no_formula_and_zoo_reads_the_text_back(tmp_path: Path, run_zoo: RunZoo) -> None:
    formula = '=HYPERLINK("https://h")'
    card = {"name": "net", "license": formula, "task": "@SUM(1)", "builder": {"library": "+1", "entry": "-1+1"}}
    write(tmp_path / "zoo" / "net.yaml", {**card, "claims": {"params": {"value": 5, "origin": "upstream"}}})
    table = run_zoo("export", "net", "--format", "csv", "--cards", tmp_path / "zoo").out
    assert 'net,,\'@SUM(1),"\'=HYPERLINK(""https://h"")",\'+1,\'-1+1,5,' in table
    (tmp_path / "table.csv").write_text(table)
    assert run_zoo("import", tmp_path / "table.csv", "--to", tmp_path / "again").code == 0
    (path,) = (tmp_path / "again").rglob("net.yaml")
    data = parse(path.read_text(), path).data
    assert (data["license"], data["task"], data["builder"]) == (formula, "@SUM(1)", card["builder"])


def test_a_card_that_zoo_writes_has_no_hidden_character(tmp_path: Path) -> None:
    data = {"name": "net", "license": TEXT, "extra": {TEXT: [TEXT, {"text": f"a\n{TEXT}\n  ::error::x\n"}]}}
    commands = {"name": "net", "extra": {"text": "a\n  ::error::x\n", "other": "a\nb ##[error]y\n"}}
    for each in (data, commands):
        text = card_text(each)
        assert_harmless(text)
        assert parse(text, tmp_path / "net.yaml").data == each
    document = parse("name: net\nextra: {a: 1}\n", tmp_path / "net.yaml")
    changed = apply(document, {("license",): TEXT, ("extra", "a"): TEXT})
    assert_harmless(changed)
    assert parse_foreign(changed, tmp_path / "net.yaml", "net.yaml").data["license"] == TEXT


def test_an_import_shows_and_writes_no_hidden_character(tmp_path: Path, run_zoo: RunZoo) -> None:
    source = tmp_path / f"{ODD_NAME}.yml"
    write(source, {"Models": [{"Name": TEXT, "Metadata": {"Training Data": TEXT}, "README": TEXT, "Weights": f"https://h/{SHORT}"}],
                   "Collections": [{"Name": TEXT, "README": TEXT}], "Import": [TEXT[:60]]})  # fmt: skip
    ran = run_zoo("import", source, "--to", tmp_path / "zoo")
    assert ran.code in (0, 1), ran.err
    for text in (ran.out, ran.err, *(path.read_text(encoding="utf-8") for path in (tmp_path / "zoo").rglob("*.yaml"))):
        assert_harmless(text)


def test_every_character_can_be_printed_in_every_encoding(tmp_path: Path) -> None:
    write(tmp_path / "net.yaml", {"name": "net", "license": "日本語"})
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "zoo_cli", "list", "--cards", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "\\u65e5\\u672c\\u8a9e" in ran.stdout


SERVER_WARNING = """
import sys
from zoo.runtime import process
if sys.argv[1] == "ours":
    process.claim()
process.log_safely()
process.log_safely()
import httpx2 as httpx, logging
from huggingface_hub.utils import _http
answer = httpx.Response(200, headers=[("X-HF-Warning", "x; ::add-mask::y \\x1b]0;x\\x07")])
_http._warn_on_warning_headers(answer)
logging.getLogger("other").warning("%s", "::error::x")
"""


def test_what_a_server_has_a_library_log_has_no_effect(tmp_path: Path) -> None:
    """huggingface_hub logs each X-HF-Warning header of an answer to stderr, without anything before it."""
    logged = {}
    for owner in ("ours", "of the caller"):
        command = [sys.executable, "-c", SERVER_WARNING, owner]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        logged[owner] = ran.stderr
    assert_harmless(logged["ours"])
    assert "add-mask::y \\x1b]0;x\\x07" in logged["ours"]
    assert "::error::x" in logged["of the caller"].splitlines()
