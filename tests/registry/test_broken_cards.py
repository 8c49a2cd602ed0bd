"""Each kind of broken card gives one clear finding at its line, never a traceback, and hides no other card.

Each file of tests/registry/broken starts with `# expect LINE:COLUMN WHAT | HINT`, the beginnings of both texts.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.helpers.project import ROOT, RunZoo

BROKEN = sorted((ROOT / "tests" / "registry" / "broken").glob("*.yaml"))
EXPECTED = re.compile(rb"# expect (\d+:\d+) (.*?)(?: \| (.*))?\n")


@pytest.mark.parametrize("file", BROKEN, ids=lambda path: path.stem)
def test_it_is_found_at_its_line(file: Path, run_zoo: RunZoo) -> None:
    match = EXPECTED.match(file.read_bytes())
    assert match, "the file does not say what is expected"
    place, what, hint = (part.decode() for part in (match[1], match[2], match[3] or b""))
    ran = run_zoo("validate", file, "--format", "json")
    findings = json.loads(ran.out)["findings"]
    assert ran.code == 1 and "Traceback" not in ran.err
    assert [finding["status"] for finding in findings] == ["wrong"], [f["reason"] for f in findings]
    (finding,) = findings
    assert finding["where"].endswith(f"{file.name}:{place}")
    assert finding["reason"].startswith(what)
    assert finding["hint"].startswith(hint)


def test_the_other_cards_are_still_checked(run_zoo: RunZoo, digits_zoo: Path) -> None:
    for file in BROKEN:
        shutil.copy(file, digits_zoo)
    ran = run_zoo("validate", "--all", "--cards", digits_zoo, "--format", "json")
    findings = json.loads(ran.out)["findings"]
    assert ran.code == 1
    assert {finding["status"] for finding in findings if finding["model"] == "resnest_digits"} == {"ok"}
    files = {finding["where"].rpartition("/")[2].partition(":")[0] for finding in findings}
    assert files >= {file.name for file in BROKEN}


def test_a_command_that_names_a_broken_card_shows_its_problem(run_zoo: RunZoo, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nlicence: mit\n")
    ran = run_zoo("verify", "mine", "--cards", tmp_path)
    assert ran.code == 1
    assert "mine.yaml:2:1: wrong schema /licence: unknown field 'licence'" in ran.out
    show = run_zoo("show", "mine", "--cards", tmp_path)
    assert show.code == 1 and "mine.yaml:2:1: unknown field 'licence'" in show.err
