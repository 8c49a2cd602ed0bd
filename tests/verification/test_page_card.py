"""zoo validate finds without a network that the published page gives resnest101e's file to resnest200e."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.helpers.project import ROOT, RunZoo

AS_PUBLISHED = """\
schema: 1
name: resnest200e
builder: {library: timm, entry: resnest200e}
input: {size: [3, 320, 320], interpolation: bicubic, crop_pct: 0.909}
weights:
  - file: resnest101-22405ba7.pth
    format: pickle
    size_bytes: 193782911
    sha256: "22405ba7"
    urls:
      - https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-resnest/resnest101-22405ba7.pth
claims:
  params: {value: 70200000, rounded_to: 10000, origin: upstream}
"""


def test_a_card_with_another_models_file_is_found_and_the_other_is_named(run_zoo: RunZoo, tmp_path: Path) -> None:
    card = tmp_path / "resnest200e.yaml"
    card.write_text(AS_PUBLISHED)
    ran = run_zoo("validate", card, "--format", "json")
    wrong = {f["key"]: f for f in json.loads(ran.out)["findings"] if f["status"] == "wrong"}
    assert ran.code == 1
    assert wrong["shared-url"]["where"] == f"{card}:11:9"
    for key in ("shared-url", "shared-size", "shared-digest"):
        assert "resnest101e" in wrong[key]["reason"]
        assert "193,782,911" in wrong[key]["reason"] and "280,800,000" in wrong[key]["reason"]
    assert "193,782,911" in wrong["size-params"]["reason"]


def test_the_model_that_the_file_belongs_to_stays_ok(run_zoo: RunZoo, tmp_path: Path) -> None:
    card = tmp_path / "resnest200e.yaml"
    card.write_text(AS_PUBLISHED)
    ran = run_zoo("validate", "resnest101e", card, "--format", "json")
    findings = json.loads(ran.out)["findings"]
    assert {f["status"] for f in findings if f["model"] == "resnest101e"} == {"ok"}


def test_it_is_found_without_torch_and_without_a_network_library(tmp_path: Path) -> None:
    card = tmp_path / "resnest200e.yaml"
    card.write_text(AS_PUBLISHED)
    code = (
        "import sys, zoo_cli\n"
        f"sys.argv = ['zoo', 'validate', {str(card)!r}]\n"
        "try: zoo_cli.main()\n"
        "except SystemExit as end: print(end.code, sorted({'torch', 'timm', 'requests', 'huggingface_hub'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "1 []"
