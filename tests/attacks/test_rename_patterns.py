"""Patterns in a card's `rename`: matched in linear time, refused at the card's line, never able to fill the memory."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.attacks.helpers import findings, run_cli
from tests.attacks.weights_zoo import fresh_state, saved, verify_files
from tests.helpers.fetching import card_about
from tests.helpers.project import ROOT
from zoo.errors import WrongContent
from zoo.registry.card import Rename
from zoo.weights import renames
from zoo.weights.renames import under_own_names

LONG = "a" * 900 + "!"
REFUSED = {
    "look_ahead": ({"pattern": "fc(?=b)", "replacement": "x"}, "RE2 does not support look-ahead", "`a(?=b)` as `a(b)`"),
    "negative": ({"pattern": "fc(?!b)"}, "RE2 does not support look-ahead", "match what may stand there"),
    "look_behind": ({"pattern": "(?<=f)c", "replacement": "x"}, "RE2 does not support look-ahead", "put it back"),
    "reference": ({"pattern": r"(f)\1", "replacement": "x"}, "RE2 does not support references to groups", "once more"),
    "named_reference": ({"pattern": "(?P<n>f)(?P=n)", "replacement": "x"}, "references to groups", "once more"),
    "possessive": ({"pattern": "f++", "replacement": "x"}, "possessive repetition", "leave out"),
    "end": ({"pattern": r"c\Z", "replacement": "x"}, r"RE2 does not support \Z", r"`\z`"),
    "brackets": ({"pattern": "(", "replacement": "x"}, "missing )", "re2/wiki/Syntax"),
    "large": ({"pattern": "((((.{0,99}){0,9}){0,9}){0,9}){0,9}", "replacement": "x"}, "is not a valid substitution", "wiki"),
    "group": ({"pattern": "(f)c", "replacement": r"\2"}, r"the replacement has \2, the pattern has 1 group", r"\1 to \9"),
    "named_group": ({"pattern": "(?P<n>f)c", "replacement": r"\g<n>"}, r"the replacement has \g", r"\1 to \9"),
    "newline": ({"pattern": "fc", "replacement": r"\n"}, r"the replacement has \n", "backslash"),
    "half_an_escape": ({"pattern": "fc", "replacement": "x\\"}, "the replacement has \\", "backslash"),
    "empty": ({"pattern": "q*", "replacement": "x"}, "it matches the empty text in", "prefix"),
    "prefix": ({"pattern": "^", "replacement": "net."}, "it matches the empty text in", r"`^(.)`"),
    "everything": ({"pattern": "q*"}, "it matches the empty text in", "prefix"),
}  # fmt: skip
"""A rename, what the finding says about it, and words of its hint."""
QUICK = ["^(([a-z0-9._])+)+$Z", "^(a+)+$", "(a|a)*b", "(a|aa)+$", r"([a-z]+)*\d", "(.*a){20}$"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    state = fresh_state()
    content = saved({**state, LONG: torch.ones(1)})
    patterns = {f"quick_{number}": {"pattern": pattern} for number, pattern in enumerate(QUICK)}
    grows = [{"pattern": "(.)", "replacement": r"\1\1\1\1\1\1\1\1\1\1"}] * 10
    fields: dict[str, dict[str, Any]] = {
        **{name: {"rename": [rename]} for name, (rename, _, _) in REFUSED.items()},
        **{
            name: {"rename": [{**pattern, "replacement": "x"}, {"pattern": "!$"}]} for name, pattern in patterns.items()
        },
        "grows": {"rename": grows},
        "sound": {"rename": [{"pattern": "!$"}, {"pattern": r"^fc\.(w|b)", "replacement": r"fc.\1"}]},
    }
    return verify_files(tmp_path_factory.mktemp("renames") / "zoo", dict.fromkeys(fields, content), fields)


def test_what_re2_does_not_support_is_said_at_the_line_with_what_to_write(found: dict[str, dict[str, Any]]) -> None:
    for name, (_, words, hint) in REFUSED.items():
        finding = found[name]
        assert finding["status"] == "wrong" and words in finding["reason"] and hint in finding["hint"], (name, finding)
        assert f"{name}.yaml:" in finding["where"], finding["where"]


def test_a_pattern_that_takes_exponential_time_in_python_is_quick(found: dict[str, dict[str, Any]]) -> None:
    assert {found[f"quick_{number}"]["status"] for number in range(len(QUICK))} <= {"ok", "wrong"}
    rename = Rename(None, "^(([a-z0-9._])+)+$Z", "x")  # type: ignore[arg-type]  # without a place in a card
    started = time.monotonic()
    under_own_names({"a" * 1000: 1, **{f"{number}" * 100: 1 for number in range(1000, 1100)}}, [rename])
    assert time.monotonic() - started < 1


def test_names_cannot_grow_without_bounds(found: dict[str, dict[str, Any]]) -> None:
    assert found["grows"]["status"] == "wrong" and "more than 1000" in found["grows"]["reason"]
    assert found["sound"]["status"] == "ok"


def test_the_matches_of_all_renames_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(renames, "MAX_MATCHES", 1000)
    card = card_about(
        tmp_path, b"x", rename=[{"pattern": "a", "replacement": "b"}, {"pattern": "b", "replacement": "a"}]
    )
    with pytest.raises(WrongContent, match="with the renames before it, it has more than 1000 matches"):
        under_own_names({"a" * 600: 1}, card.weights[0].rename)


def test_replacements_use_the_match_and_its_groups(tmp_path: Path) -> None:
    rename = [
        {"pattern": r"^blocks\.(\d+)\.(\w+)", "replacement": r"layer\1.\2"},
        {"pattern": "gamma$", "replacement": r"\0_"},
        {"pattern": "(x)?beta", "replacement": r"\1\\"},
        {"pattern": "^aux"},
    ]
    card = card_about(tmp_path, b"x", rename=rename)
    names = {"module.blocks.3.norm.gamma": 1, "module.blocks.12.norm.beta": 2, "module.aux.weight": 3}
    values, notes = under_own_names(names, card.weights[0].rename)
    assert values == {"layer3.norm.gamma_": 1, "layer12.norm.\\": 2}
    assert notes[-1] == "`^aux` removed 1 of 3 tensors"


def test_a_pattern_is_refused_without_the_weights(tmp_path: Path) -> None:
    card_about(tmp_path, b"x", ["https://example.org/net.pth"], rename=[{"pattern": "a(?=b)", "replacement": "c"}])
    ran = run_cli("validate", "net", "--cards", tmp_path, "--format", "json", ZOO_HOME=str(tmp_path / "home"))
    (finding,) = [item for item in findings(ran) if item["key"] == "rename"]
    assert ran.code == 1 and "RE2 does not support look-ahead" in finding["reason"]


def test_cards_without_renames_do_not_import_re2() -> None:
    program = (
        "import sys; from zoo.weights import renames; renames.under_own_names({'module.a': 1}, []);"
        "sys.exit('re2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
