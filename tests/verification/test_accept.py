"""What a card's `ignore` accepts, and that validate, verify and the publishing gate agree about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.project import RunZoo, replace_once
from tests.helpers.releases import NAME, admit
from zoo.errors import Refused
from zoo.registry.catalog import Catalog, load_catalog
from zoo.verification import report
from zoo.verification.report import Report

TWO_DEAD_LINKS = ("dead-host", "dead-host#2")


def ignore(zoo: Path, *rules: str) -> None:
    """Give the digits card two links to hosts that are gone, and an `ignore` for each of these rules."""
    card = zoo / "digits" / f"{NAME}.yaml"
    ignored = "".join(f"  - {{rule: {rule}, reason: kept for the record}}\n" for rule in rules)
    card.write_text(f"{card.read_text()}code: https://paperswithcode.com/code\nignore:\n{ignored}")
    replace_once(zoo / "digits" / "collection.yaml", "https://arxiv.org/abs/2004.08955", "https://goo.gl/paper")


def statuses(out: str) -> dict[str, tuple[str, str, str]]:
    """Return (status, reason, hint) of the findings about dead links, by key."""
    findings = json.loads(out)["findings"]
    return {
        item["key"]: (item["status"], item["reason"], item["hint"])
        for item in findings
        if item["key"] in TWO_DEAD_LINKS
    }


def blockers(catalog: Catalog, verified: Report) -> list[str]:
    """Return the keys of the dead links for which the gate refuses the digits card; empty when it admits the card."""
    try:
        admit(verified, catalog=catalog)
    except Refused as error:
        return [key for key in TWO_DEAD_LINKS if f"suspect consistency {key}:" in error.what] or [error.what]
    return []


@pytest.mark.parametrize(
    ("rule", "accepted"),
    [
        ("consistency/dead-host", TWO_DEAD_LINKS),
        ("consistency", TWO_DEAD_LINKS),
        ("consistency/dead-host#2", ("dead-host#2",)),
        ("consistency/near-host", ()),
        ("loading/dead-host", ()),
    ],
)
def test_validate_verify_and_the_gate_agree_about_a_rule_that_fires_twice(
    rule: str, accepted: tuple[str, ...], run_zoo: RunZoo, digits_zoo: Path, tmp_path: Path
) -> None:
    ignore(digits_zoo, rule)
    file = tmp_path / "report.json"
    validated = run_zoo("validate", NAME, "--strict", "--cards", digits_zoo, "--format", "json")
    verified = run_zoo("verify", NAME, "--strict", "--cards", digits_zoo, "--report", file)
    found = statuses(validated.out)
    assert {key for key, (status, *_) in found.items() if status == "unclaimed"} == set(accepted)
    assert found == statuses(file.read_text()) and len(found) == 2
    assert all(found[key] == ("unclaimed", "accepted by the card: kept for the record", "") for key in accepted)
    assert validated.code == verified.code == (0 if accepted == TWO_DEAD_LINKS else 1)
    blocked = [key for key in TWO_DEAD_LINKS if key not in accepted]
    assert blockers(load_catalog([digits_zoo]), report.read(file)) == blocked


def test_what_is_wrong_is_never_accepted(run_zoo: RunZoo, digits_zoo: Path) -> None:
    ignore(digits_zoo, "consistency", "params")
    card = digits_zoo / "digits" / f"{NAME}.yaml"
    replace_once(card, "mean: [0.5, 0.5, 0.5]", "mean: [127.5, 127.5, 127.5]")
    replace_once(card, "value: 64482", "value: 64483")
    for command in ("validate", "verify"):
        ran = run_zoo(command, NAME, "--cards", digits_zoo, "--format", "json")
        by_key = {item["key"]: item["status"] for item in json.loads(ran.out)["findings"]}
        assert ran.code == 1 and by_key["mean-std"] == "wrong" and by_key["dead-host"] == "unclaimed"
    assert by_key["params"] == "wrong"
