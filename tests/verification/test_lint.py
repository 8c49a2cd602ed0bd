"""zoo validate: selecting rules and cards, `ignore`, output formats and --fix."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.helpers.project import RunZoo
from tests.helpers.rule_zoo import card, family, make_zoo


@pytest.fixture
def zoo_folder(tmp_path: Path) -> Path:
    """The sound family, with one claim out of range in net_l."""
    texts = family()
    texts["net_l"] = texts["net_l"].replace("value: 93.0", "value: 930.0")
    make_zoo(tmp_path, texts)
    return tmp_path


def test_suspect_findings_fail_only_a_strict_run(run_zoo: RunZoo, tmp_path: Path) -> None:
    texts = family()
    texts["net_l"] = texts["net_l"].replace("crop_pct: 0.875", "crop_pct: 1.14")
    make_zoo(tmp_path, texts)
    assert run_zoo("validate", "--all", "--cards", tmp_path).code == 0
    assert run_zoo("validate", "--all", "--strict", "--cards", tmp_path).code == 1


def test_select_and_ignore_choose_rules_by_id_and_by_beginning(run_zoo: RunZoo, zoo_folder: Path) -> None:
    assert run_zoo("validate", "--all", "--select", "top1,shared", "--cards", zoo_folder).out.endswith(
        "5 models: 19 ok\n"
    )
    assert run_zoo("validate", "--all", "--ignore", "ranges", "--cards", zoo_folder).code == 0
    unknown = run_zoo("validate", "--all", "--select", "rangs", "--cards", zoo_folder)
    assert unknown.code == 2
    assert "did you mean 'ranges'?" in unknown.err


def test_explain_says_what_a_rule_is_for(run_zoo: RunZoo) -> None:
    ran = run_zoo("validate", "--explain", "size-params")
    assert ran.code == 0
    assert "auxiliary head" in ran.out
    assert "consistency/size-params" in ran.out
    assert len(run_zoo("validate", "--explain", "all").out.splitlines()) > 20


def test_ignore_accepts_a_suspect_finding_and_never_a_wrong_one(run_zoo: RunZoo, tmp_path: Path) -> None:
    texts = family()
    ignored = "ignore: [{rule: consistency/crop, reason: padded}, {rule: consistency/ranges, reason: no}]\n"
    texts["net_l"] = (
        texts["net_l"].replace("crop_pct: 0.875", "crop_pct: 1.14").replace("value: 93.0", "value: 930.0") + ignored
    )
    make_zoo(tmp_path, texts)
    ran = run_zoo("validate", "net_l", "--strict", "--cards", tmp_path, "--format", "json")
    statuses = {finding["key"]: finding["status"] for finding in json.loads(ran.out)["findings"]}
    assert (statuses["crop"], statuses["ranges"], ran.code) == ("unclaimed", "wrong", 1)


def test_github_annotations_point_at_the_line(
    run_zoo: RunZoo, zoo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(zoo_folder)
    out = run_zoo("validate", "--all", "--cards", ".", "--format", "github").out
    line, text = next((n, t) for n, t in enumerate(Path("fam/net_l.yaml").read_text().splitlines(), 1) if "930" in t)
    place = f"line={line},col={text.index('value') + 1}"
    assert out.startswith(
        f"::error file=fam/net_l.yaml,{place},title=consistency ranges::net_l: top5 is 930.0 percent, outside 0 to 100%0Ahint: "
    )


def test_sarif_names_rule_place_and_fingerprint(
    run_zoo: RunZoo, zoo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(zoo_folder)
    log = json.loads(run_zoo("validate", "--all", "--cards", ".", "--format", "sarif").out)
    (result,) = log["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert (log["version"], result["ruleId"], result["level"]) == ("2.1.0", "consistency/ranges", "error")
    assert place["artifactLocation"]["uri"] == "fam/net_l.yaml"
    assert place["region"]["startLine"] > 1
    assert log["runs"][0]["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]


def test_fix_corrects_unambiguous_mistakes_and_changes_no_other_line(run_zoo: RunZoo, tmp_path: Path) -> None:
    texts = family()
    broken = (
        texts["net_l"]
        .replace("schema: 1\n", "# kept\n")
        .replace("interpolation: bicubic", "interpolaton:   bicubc   # why")
    )
    broken = broken.replace('sha256: "3a3b3c3d"', 'sha256: "3A3B3C3D"').replace("[https://models", "[ (https：//models")
    make_zoo(tmp_path, {**texts, "net_l": broken.replace("name: net_l\n", "name: net_l\nlicence: mit\n")})
    ran = run_zoo("validate", "--all", "--fix", "--cards", tmp_path)
    after = (tmp_path / "fam" / "net_l.yaml").read_text()
    assert ran.code == 0, ran.out + ran.err
    assert "license: mit" in after
    assert "interpolation:   bicubic   # why" in after
    assert 'sha256: "3a3b3c3d"' in after
    assert "https://models.example.org" in after
    assert after.startswith("# kept\nschema: 1\nname: net_l\n")
    assert len(ran.err.splitlines()) == 6
    assert run_zoo("validate", "--all", "--fix", "--cards", tmp_path).err == ""


def test_fix_does_not_change_claims(run_zoo: RunZoo, zoo_folder: Path) -> None:
    before = (zoo_folder / "fam" / "net_l.yaml").read_text()
    assert run_zoo("validate", "--all", "--fix", "--cards", zoo_folder).code == 1
    assert (zoo_folder / "fam" / "net_l.yaml").read_text() == before


def test_shards_are_disjoint_and_together_everything(run_zoo: RunZoo, zoo_folder: Path) -> None:
    parts = [
        {
            line.split()[0]
            for line in run_zoo("validate", "--all", "--shard", f"{part}/3", "--cards", zoo_folder).out.splitlines()
            if line.startswith("net")
        }
        for part in (1, 2, 3)
    ]
    assert sorted(name for part in parts for name in part) == sorted(family())
    assert run_zoo("validate", "--all", "--shard", "4/3", "--cards", zoo_folder).code == 2


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ("git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@x", *arguments),
        check=True,
        capture_output=True,
    )


def names(out: str) -> list[str]:
    return [line.split()[0] for line in out.splitlines() if re.match(r"\w+ +(ok|wrong|suspect)", line)]


def test_changed_since_selects_changed_cards_and_those_that_share_a_key(run_zoo: RunZoo, tmp_path: Path) -> None:
    texts = family()
    loner = card("loner", 44, "8a8b8c8d").replace("collection: fam\n", "")
    copy = loner.replace("name: loner", "name: copy")
    make_zoo(tmp_path, {**texts, "loner": loner, "copy": copy})
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    assert names(run_zoo("validate", "--changed-since", "HEAD", "--cards", tmp_path).out) == []
    path = tmp_path / "fam" / "loner.yaml"
    path.write_text(
        loner.replace("models.example.org/fam", "elsewhere.example.org/fam")
        .replace("8a8b8c8d", "7a7b7c7d")
        .replace("176020000", "176030000")
    )
    assert names(run_zoo("validate", "--changed-since", "HEAD", "--cards", tmp_path).out) == ["copy", "loner"]
    (tmp_path / "fam" / "net_l.yaml").write_text(texts["net_l"] + "# edited\n")
    assert set(names(run_zoo("validate", "--changed-since", "HEAD", "--cards", tmp_path).out)) == {
        *family(),
        "copy",
        "loner",
    }


def test_changed_since_outside_git_is_a_usage_error(run_zoo: RunZoo, zoo_folder: Path) -> None:
    ran = run_zoo("validate", "--changed-since", "HEAD", "--cards", zoo_folder)
    assert ran.code == 2
    assert "git failed" in ran.err


def test_a_path_is_compared_with_the_rest_of_the_zoo(
    run_zoo: RunZoo, zoo_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("new") / "net_s2.yaml"
    path.write_text(card("net_s2", 99, "1a1b1c1d").replace("fam/net_s2", "fam/net_s"))
    out = run_zoo("validate", path, "--cards", zoo_folder).out
    assert names(out) == ["net_s2"]
    assert "shared-url" in out
