"""zoo flops: counts by convention, where they come from, and what a bare number is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.project import RunZoo

PAGE = {
    "resnest14d": (224, 3548594464),
    "resnest26d": (224, 4678918720),
    "resnest50d": (224, 6937106336),
    "resnest50d_1s4x24d": (224, 5686764544),
    "resnest50d_4s2x40d": (224, 5657064720),
    "resnest101e": (256, 17423183648),
    "resnest200e": (320, 45954387872),
    "resnest269e": (416, 100830307104),
}


def counts_of(run_zoo: RunZoo, *arguments: object) -> dict:
    ran = run_zoo("flops", *arguments, "--format", "json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


@pytest.mark.parametrize("name", PAGE)
def test_the_published_number_is_explained(name: str, run_zoo: RunZoo) -> None:
    size, value = PAGE[name]
    (explained,) = counts_of(run_zoo, name, "--explain", value)["explained"]
    (fit,) = explained["fits"]
    assert (fit["convention"], fit["variant"], fit["batch"]) == ("thop", "", 1)
    assert fit["input_shape"] == [3, size, int(size * 1546 / 1213)]


def test_every_convention_is_counted_and_one_is_broken_down(run_zoo: RunZoo) -> None:
    ran = run_zoo("flops", "resnest50d")
    assert ran.out.splitlines()[0] == "resnest50d  3x224x224  27,483,240 parameters"
    counts = {line.split()[0]: line.split()[1] for line in ran.out.splitlines()[1:] if line.startswith("  ")}
    assert (counts["macs"], counts["flops"], counts["torchvision"]) == (
        "5,371,160,576",
        "10,742,321,152",
        "5,371,160,576",
    )
    assert "macs by module\n  layer3       1,811,742,720   33.7%\n" in ran.out
    assert "macs by operator\n  aten.conv2d       5,369,112,576  100.0%\n" in ran.out


def test_the_parts_add_up_to_the_count_at_any_depth(run_zoo: RunZoo) -> None:
    for depth in (1, 2, 3):
        for count in counts_of(run_zoo, "resnest14d", "--depth", depth)["counts"]:
            assert sum(amount for _, amount in count["by_module"]) == count["value"]
            assert sum(amount for _, amount in count["by_operator"]) == count["value"]


def test_another_input_is_counted(run_zoo: RunZoo) -> None:
    report = counts_of(run_zoo, "resnest50d", "--input", "3x224x285")
    assert report["input"] == [3, 224, 285]
    assert {count["convention"]: count["value"] for count in report["counts"]}["thop"] == 6937106336


def test_a_count_of_two_images_and_a_number_without_explanation(run_zoo: RunZoo) -> None:
    ran = run_zoo("flops", "resnest14d", "--explain", 2 * 3548594464, "--explain", 123456789)
    assert "7,097,188,928 is thop at 3x224x285, for 2 images\n" in ran.out
    assert "no convention gives 123,456,789 at a common input size; it is 0.0449 times the multiply-adds" in ran.out


def test_a_claim_without_a_convention_is_explained_with_its_line(run_zoo: RunZoo, tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(
        "name: net\nbuilder: {library: timm, entry: resnest50d}\ninput: {size: [3, 224, 224]}\n"
        "claims:\n  flops:\n    - {value: 6937106336}\n    - {value: 5371160576, input: [3, 224, 224]}\n"
    )
    ran = run_zoo("flops", "net", "--cards", tmp_path)
    assert f"{tmp_path / 'net.yaml'}:6:8: 6,937,106,336 is thop at 3x224x285\n" in ran.out
    assert f"{tmp_path / 'net.yaml'}:7:8: 5,371,160,576 is macs at 3x224x224\n" in ran.out


@pytest.mark.parametrize("size", ["224", "3x224", "3x0x224", "3x224x224x2", "axbxc"])
def test_an_invalid_input_size_is_refused(size: str, run_zoo: RunZoo) -> None:
    ran = run_zoo("flops", "resnest14d", "--input", size)
    assert (ran.code, f"invalid input size {size!r}" in ran.err) == (2, True)


def test_an_input_that_the_model_does_not_accept_exits_3(run_zoo: RunZoo) -> None:
    ran = run_zoo("flops", "resnest14d", "--input", "4x224x224")
    assert ran.code == 3
    assert "does not run on an input of 1x4x224x224" in ran.out


def test_a_known_count_needs_no_torch(run_zoo: RunZoo) -> None:
    import subprocess
    import sys

    counts_of(run_zoo, "resnest14d", "--explain", 3548594464)
    code = (
        "import sys, zoo_cli\nsys.argv = ['zoo', 'flops', 'resnest14d', '--explain', '3548594464']\n"
        "try: zoo_cli.main()\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] in ("0 False", "None False")
