"""The findings of the check `accuracy`, and the table of `zoo eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.project import RunZoo, replace_once


@pytest.fixture(autouse=True)
def _fresh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty cache of facts."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))


def top1(run_zoo: RunZoo, zoo: Path, *arguments: object) -> tuple[int, dict[str, Any]]:
    ran = run_zoo("verify", "resnest_digits", "--cards", zoo, "--check", "accuracy", "--format", "json", *arguments)
    findings = json.loads(ran.out)["findings"]
    return ran.code, next(item for item in findings if item["key"] == "digits/validation/top1")


def claiming(zoo: Path, value: str, more: str = "") -> Path:
    path = zoo / "digits" / "resnest_digits.yaml"
    replace_once(path, "value: 99.72, unit: percent, rounded_to: 0.01", f"value: {value}, unit: percent{more}")
    return zoo


def test_a_whole_split_has_its_counts_as_evidence(run_zoo: RunZoo, digits_zoo: Path) -> None:
    code, finding = top1(run_zoo, digits_zoo)
    assert (code, finding["status"], finding["measured"]) == (0, "ok", 99.722222)
    evidence = finding["evidence"]
    assert {key: evidence[key] for key in ("correct", "images", "split_images", "device", "precision")} == {
        "correct": 359, "images": 360, "split_images": 360, "device": "cpu", "precision": "fp32",
    }  # fmt: skip
    assert len(evidence["manifest_sha256"]) == 64 and evidence["libraries"]["torch"]


@pytest.mark.parametrize(("value", "more", "status"), [
    ("99.77", "", "ok"), ("99.78", "", "wrong"), ("99.7", ", rounded_to: 0.1", "ok"), ("99.5", ", tolerance: 0.3", "ok"),
    ("99.0", "", "wrong"),
])  # fmt: skip
def test_claimed_and_measured_may_differ_by_rounding_and_tolerance(
    run_zoo: RunZoo, digits_zoo: Path, value: str, more: str, status: str
) -> None:
    assert top1(run_zoo, claiming(digits_zoo, value, more))[1]["status"] == status


def test_a_sample_without_a_verdict_says_how_many_images_are_needed(run_zoo: RunZoo, digits_zoo: Path) -> None:
    code, finding = top1(run_zoo, digits_zoo, "--limit", 100)
    assert (code, finding["status"]) == (3, "unknown")
    assert finding["evidence"]["images"] == 100 and finding["evidence"]["split_images"] == 360
    interval, more = finding["evidence"]["interval"], finding["evidence"]["more_images"]
    assert interval["low"] <= finding["measured"] <= interval["high"]
    assert finding["reason"] == (
        f"100 of 360 images give {round(interval['low'], 4):g} to {round(interval['high'], 4):g}; "
        f"about {more} more are needed for a verdict"
    )
    assert finding["hint"] == f"evaluate {100 + more} images (--limit), or all 360"


def test_a_sample_refutes_a_claim_that_is_far_from_the_truth(run_zoo: RunZoo, digits_zoo: Path) -> None:
    code, finding = top1(run_zoo, claiming(digits_zoo, "60.0"), "--limit", 100)
    assert (code, finding["status"]) == (1, "wrong")
    assert finding["evidence"]["images"] == 100


def test_a_sample_proves_a_claim_that_leaves_room(run_zoo: RunZoo, digits_zoo: Path) -> None:
    _, finding = top1(run_zoo, claiming(digits_zoo, "95.0", ", tolerance: 20"), "--limit", 200)
    assert finding["status"] == "ok" and finding["evidence"]["images"] == 200


def test_early_stop_ends_the_evaluation_of_a_clearly_wrong_card(run_zoo: RunZoo, digits_zoo: Path) -> None:
    code, finding = top1(run_zoo, claiming(digits_zoo, "60.0"), "--early-stop")
    assert (code, finding["status"]) == (1, "wrong")
    assert finding["evidence"]["images"] <= 90 and finding["evidence"]["interval"]["low"] > 60.055


def test_early_stop_measures_the_whole_split_of_a_correct_card(run_zoo: RunZoo, digits_zoo: Path) -> None:
    code, finding = top1(run_zoo, digits_zoo, "--early-stop")
    assert (code, finding["status"], finding["evidence"]["images"]) == (0, "ok", 360)


def test_a_claim_of_another_unit_is_judged_in_its_own(run_zoo: RunZoo, digits_zoo: Path) -> None:
    path = digits_zoo / "digits" / "resnest_digits.yaml"
    replace_once(path, "value: 99.72, unit: percent, rounded_to: 0.01", "value: 0.9972, unit: fraction")
    code, finding = top1(run_zoo, digits_zoo)
    assert (code, finding["measured"]) == (0, 0.997222)


def test_a_metric_without_an_evaluator_is_skipped(run_zoo: RunZoo, digits_zoo: Path) -> None:
    replace_once(digits_zoo / "digits" / "resnest_digits.yaml", "metric: top5", "metric: box_ap")
    ran = run_zoo("verify", "resnest_digits", "--cards", digits_zoo, "--check", "accuracy", "--format", "json")
    assert {item["status"] for item in json.loads(ran.out)["findings"]} == {"ok", "skipped"}


def test_the_level_is_divided_among_the_claims_of_an_invocation(digits_zoo: Path) -> None:
    from zoo.models.subject import Settings
    from zoo.registry.catalog import load_catalog
    from zoo.verification import runner

    card = load_catalog((digits_zoo,)).find("resnest_digits")
    assert runner._divide_level(Settings(), [card] * 900).evaluation.level == pytest.approx(0.001 / 1800)


# zoo eval


def test_eval_prints_a_table_with_intervals(run_zoo: RunZoo, digits_zoo: Path) -> None:
    ran = run_zoo("eval", "resnest_digits", "--cards", digits_zoo)
    assert (ran.code, ran.out) == (
        0,
        "model           data               images  top1   95 %            claimed  top5    95 %             claimed\n"
        "resnest_digits  digits/validation  360     99.72  98.46 to 99.99  99.72    100.00  98.98 to 100.00  100\n",
    )


def test_eval_on_another_split_has_no_claim(run_zoo: RunZoo, digits_zoo: Path) -> None:
    ran = run_zoo(
        "eval", "resnest_digits", "--on", "digits/train", "--limit", 50, "--format", "json", "--cards", digits_zoo
    )
    (score,) = json.loads(ran.out)
    assert (score["split"], score["images"], score["split_images"]) == ("train", 50, 1437)
    assert score["top1"]["claimed"] is None and score["top1"]["percent"] > 90


def test_eval_of_damaged_weights_reports_them_and_exits_with_3(run_zoo: RunZoo, digits_zoo: Path) -> None:
    file = digits_zoo / "digits" / "resnest_digits-9fd38cd8.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    ran = run_zoo("eval", "resnest_digits", "--cards", digits_zoo, "--format", "markdown")
    assert (
        ran.code == 3
        and ran.out.startswith("| model ")
        and "files resnest_digits-9fd38cd8.safetensors/sha256 is wrong" in ran.out
    )


@pytest.mark.parametrize(("on", "message"), [
    ("digit", "unknown data set 'digit'"), ("digits/test", "digits has no split 'test'"),
])  # fmt: skip
def test_eval_on_an_unknown_data_set_or_split_is_a_usage_error(
    run_zoo: RunZoo, digits_zoo: Path, on: str, message: str
) -> None:
    ran = run_zoo("eval", "resnest_digits", "--on", on, "--cards", digits_zoo)
    assert ran.code == 2 and message in ran.err


def test_fashion_mnist_is_verified_on_its_real_images_or_says_how_to_get_them(
    run_zoo: RunZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path("/usr/share/datasets/fashion-mnist").is_dir()
    ran = run_zoo("verify", "resnest_fashion", "--check", "accuracy", "--format", "json")
    findings = json.loads(ran.out)["findings"]
    assert ran.code == 0 and {item["status"] for item in findings} == ({"ok"} if here else {"skipped"})
    if here:
        assert [item["evidence"]["images"] for item in findings] == [10_000, 10_000]
    else:
        assert findings[0]["hint"].startswith("apt-get install dataset-fashion-mnist")
