"""zoo verify from card files to findings, on the shipped zoo and on zoos with wrong claims and files."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.project import RunZoo, replace_once

RESNESTS = {
    # name: multiply-adds at the card's input, and the page's number at the photograph's input
    "resnest14d": (2749405184, 3548594464),
    "resnest26d": (3623391232, 4678918720),
    "resnest50d": (5371160576, 6937106336),
    "resnest50d_1s4x24d": (4399827456, 5686764544),
    "resnest50d_4s2x40d": (4369060736, 5657064720),
    "resnest101e": (13321472000, 17423183648),
    "resnest200e": (35519694848, 45954387872),
    "resnest269e": (77348702208, 100830307104),
}


@pytest.fixture(scope="module")
def whole_report(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """Return the findings of `zoo verify --all`, from its report."""
    import os
    import subprocess
    import sys

    file = tmp_path_factory.mktemp("report") / "report.json"
    command = [sys.executable, "-m", "zoo_cli", "verify", "--all", "--report", str(file)]
    ran = subprocess.run(
        command, env={**os.environ, "ZOO_HOME": str(shared_home)}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(file.read_text())["findings"]


def test_the_shipped_zoo_gives_nothing_but_ok_and_skipped(whole_report: list[dict]) -> None:
    assert {finding["status"] for finding in whole_report} == {"ok", "skipped"}


@pytest.mark.parametrize("name", RESNESTS)
def test_both_conventions_give_the_claimed_counts_exactly(name: str, whole_report: list[dict]) -> None:
    counted = {f["key"]: f["measured"] for f in whole_report if f["model"] == name and f["check"] == "flops"}
    assert counted == dict(zip(("macs", "thop"), RESNESTS[name], strict=True))


@pytest.mark.parametrize("name", RESNESTS)
def test_a_model_without_files_is_verified_as_far_as_its_architecture_allows(
    name: str, whole_report: list[dict]
) -> None:
    by_status: dict[str, set[str]] = {"ok": set(), "skipped": set()}
    for finding in whole_report:
        if finding["model"] == name:
            by_status[finding["status"]].add(finding["check"])
    assert by_status["ok"] == {"schema", "consistency", "build", "params", "flops"}
    assert by_status["skipped"] == {"files", "loading", "data", "accuracy"}


def test_a_skipped_finding_says_what_to_run(whole_report: list[dict]) -> None:
    hints = {f["check"]: f["hint"] for f in whole_report if f["model"] == "resnest269e" and f["status"] == "skipped"}
    assert hints["files"] == hints["loading"] == "zoo fetch resnest269e"
    assert "--data imagenet-1k=PATH" in hints["data"]


def test_the_model_with_shipped_weights_is_verified_completely(whole_report: list[dict]) -> None:
    digits = [finding for finding in whole_report if finding["model"] == "resnest_digits"]
    assert {finding["status"] for finding in digits} == {"ok"}
    top1 = next(f for f in digits if f["key"] == "digits/validation/top1")
    assert top1["evidence"]["images"] == 360
    assert round(100 * top1["evidence"]["correct"] / 360, 2) == top1["claimed"]


def test_strict_treats_skipped_as_a_failure(run_zoo: RunZoo, whole_report: list[dict]) -> None:
    assert run_zoo("verify", "--all", "--strict").code == 3


def test_the_report_fits_its_schema_and_is_sorted(run_zoo: RunZoo) -> None:
    from zoo.registry.schema import violations

    ran = run_zoo("verify", "resnest_digits", "resnest14d", "--format", "json")
    report = json.loads(ran.out)
    assert violations(report, "report") == ()
    keys = [(finding["model"], finding["check"], finding["key"]) for finding in report["findings"]]
    assert keys == sorted(keys) and len(keys) == len(set(keys))
    assert report["exit_code"] == ran.code == 0


def findings(run_zoo: RunZoo, zoo: Path, *more: str) -> tuple[int, dict[str, dict]]:
    """Verify the digits model in that zoo, and return the exit code and the findings by `check key`."""
    ran = run_zoo("verify", "resnest_digits", "--cards", zoo, "--format", "json", *more)
    return ran.code, {f"{f['check']} {f['key']}": f for f in json.loads(ran.out)["findings"]}


def only_wrong(by_key: dict[str, dict]) -> list[str]:
    """Return the keys of the findings that are wrong."""
    return [name for name, finding in by_key.items() if finding["status"] == "wrong"]


def test_a_flipped_byte_of_the_weights_is_found(run_zoo: RunZoo, digits_zoo: Path) -> None:
    file = next((digits_zoo / "digits").glob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    code, by_key = findings(run_zoo, digits_zoo)
    wrong = by_key[f"files {file.name}/sha256"]
    assert code == 1 and wrong["status"] == "wrong"
    assert len(wrong["claimed"]) == len(wrong["measured"]) == 64 and wrong["claimed"] != wrong["measured"]
    assert by_key[f"loading {file.name}"]["status"] == "unknown"
    assert by_key["accuracy digits/validation/top1"]["status"] == "unknown"


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("value: 64482", "value: 64483", "params params"),
        ("value: 1037056", "value: 1037156", "flops macs"),
        ("value: 99.72", "value: 98.72", "accuracy digits/validation/top1"),
        ("size_bytes: 279632", "size_bytes: 279633", "files resnest_digits-9fd38cd8.safetensors/size"),
        ('sha256: "9fd38cd8', 'sha256: "9fd38cd9', "files resnest_digits-9fd38cd8.safetensors/sha256"),
    ],
)
def test_a_changed_digit_of_a_claim_is_reported_with_both_values(
    old: str, new: str, name: str, run_zoo: RunZoo, digits_zoo: Path
) -> None:
    replace_once(digits_zoo / "digits" / "resnest_digits.yaml", old, new)
    code, by_key = findings(run_zoo, digits_zoo)
    finding = by_key[name]
    assert (code, finding["status"]) == (1, "wrong")
    assert finding["claimed"] is not None and finding["measured"] is not None
    assert finding["claimed"] != finding["measured"]


def test_swapped_labels_are_found_before_the_model_is_blamed(run_zoo: RunZoo, digits_zoo: Path) -> None:
    file = digits_zoo / "datasets" / "digits.csv.gz"
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    (first, first_label), (second, second_label) = (lines[index].rsplit(",", 1) for index in (0, 5))
    assert first_label != second_label
    lines[0], lines[5] = f"{first},{second_label}", f"{second},{first_label}"
    file.write_bytes(gzip.compress("\n".join(lines).encode() + b"\n", mtime=0))
    code, by_key = findings(run_zoo, digits_zoo)
    assert code == 1 and only_wrong(by_key) == ["data digits/validation"]
    assert by_key["accuracy digits/validation/top1"]["reason"].startswith(
        "the copy of digits/validation is wrong: the images are right, but some are in the wrong class"
    )


def test_another_architecture_is_found_by_shapes_params_and_macs(run_zoo: RunZoo, digits_zoo: Path) -> None:
    replace_once(digits_zoo / "digits" / "resnest_digits.yaml", "entry: resnest14d", "entry: resnest101e")
    code, by_key = findings(run_zoo, digits_zoo)
    assert code == 1
    assert only_wrong(by_key) == ["flops macs", "loading resnest_digits-9fd38cd8.safetensors", "params params"]


def test_an_architecture_that_does_not_exist_is_found_at_its_line(run_zoo: RunZoo, digits_zoo: Path) -> None:
    card = digits_zoo / "digits" / "resnest_digits.yaml"
    replace_once(card, "entry: resnest14d", "entry: resnest14x")
    line = next(n for n, text in enumerate(card.read_text().splitlines(), 1) if "resnest14x" in text)
    code, by_key = findings(run_zoo, digits_zoo)
    assert code == 1 and by_key["build build"]["status"] == "wrong"
    assert f"resnest_digits.yaml:{line}:" in by_key["build build"]["where"]
    assert "did you mean 'resnest14d'" in by_key["build build"]["hint"]
    assert {by_key[name]["status"] for name in ("params params", "flops macs")} == {"unknown"}


def test_a_library_that_does_not_exist_is_a_finding_not_a_traceback(run_zoo: RunZoo, digits_zoo: Path) -> None:
    replace_once(digits_zoo / "digits" / "resnest_digits.yaml", "library: timm", "library: tim")
    code, by_key = findings(run_zoo, digits_zoo)
    assert code == 1 and by_key["build build"]["status"] == "wrong"
    assert "did you mean 'timm'?" in by_key["build build"]["hint"]


def test_cached_facts_are_not_measured_again_and_need_no_torch(whole_report: list[dict], shared_home: Path) -> None:
    import os
    import subprocess
    import sys

    code = (
        "import sys, zoo_cli\n"
        "sys.argv = ['zoo', 'verify', '--all']\n"
        "try: zoo_cli.main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    environment = {**os.environ, "ZOO_HOME": str(shared_home)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "0 False"


def test_each_finding_of_the_shipped_zoo_has_its_own_key(whole_report: list[dict]) -> None:
    keys = Counter((finding["model"], finding["check"], finding["key"]) for finding in whole_report)
    assert max(keys.values()) == 1


def test_data_verify_takes_a_data_set_or_one_of_its_splits(run_zoo: RunZoo) -> None:
    def splits(name: str) -> set[str]:
        ran = run_zoo("data", "verify", name, "--format", "json")
        return {finding["key"].partition("/")[0] for finding in json.loads(ran.out)["findings"]}

    assert splits("digits") == {"train", "validation"}
    assert splits("digits/train") == {"train"}
    unknown = run_zoo("data", "verify", "digits/test")
    assert unknown.code == 2 and "digits has no split 'test'" in unknown.err and "train, validation" in unknown.err
    assert run_zoo("data", "verify", "digit/train").err.endswith("did you mean 'digits'?\n")
