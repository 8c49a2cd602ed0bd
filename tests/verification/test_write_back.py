"""zoo verify --write: adds measured values that are not claimed, and changes neither claims nor the rest of the text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.project import ROOT, RunZoo
from zoo.registry.catalog import load_catalog
from zoo.verification import write_back
from zoo.verification.report import Finding, Status

BARE = """\
# A card that says little.
name: net
builder: {library: timm, entry: resnest14d, options: {num_classes: 10, channels: [8, 16, 24, 32], stem_width: 8}}

input:
  size: [3, 32, 32]   # small
  interpolation: bilinear
  crop_pct: 1.0
  mean: [0.5, 0.5, 0.5]
  std: [0.5, 0.5, 0.5]

weights:
  - file: net.safetensors  # lies beside
    sha256: "9fd38cd81797c875d7739fa736b170c6246e8ca92e1fe376fda71576bd065580"

extra:
  a: b   # last
"""

PAGE = """\
name: {name}
builder: {{library: timm, entry: {name}}}
input: {{size: [3, {size}, {size}]}}
claims:
  flops:
    - {{value: {value}, origin: upstream}}  # of the page
"""


def zoo_of(folder: Path, *cards: str) -> Path:
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(cards):
        (folder / f"{number}.yaml").write_text(text)
    weights = next((ROOT / "cards" / "digits").glob("*.safetensors"))
    (folder / "net.safetensors").write_bytes(weights.read_bytes())
    return folder


def test_measured_values_are_added_and_nothing_else_changes(run_zoo: RunZoo, tmp_path: Path) -> None:
    folder = zoo_of(tmp_path / "zoo", BARE)
    ran = run_zoo("verify", "net", "--cards", folder, "--write")
    assert ran.err == f"{folder / '0.yaml'}: added /weights/0/dtype, /claims/params, /claims/flops/0, /fingerprint\n"
    before, after = BARE.splitlines(), (folder / "0.yaml").read_text().splitlines()
    assert [line for line in after if line in before] == before
    added = [line for line in after if line not in before]
    logits = [float(number) for number in added[6].partition("[")[2].rstrip("]").split(", ")]
    # the last digits of a logit are the processor's own
    assert logits == pytest.approx(
        [2.235818, 0.01736436, -2.510429, -2.465202, -0.07960343, 0.8410724, -1.010294, -0.9037701], abs=3e-5
    )
    assert added[:6] + added[7:] == [
        "    dtype: float32",
        "claims:",
        "  params: {value: 64482, origin: computed}",
        "  flops:",
        "    - {value: 1037056, convention: macs, origin: computed}",
        "fingerprint:",
        "  tolerance: 0.0003",
    ]


def test_written_values_are_verified_and_written_once(run_zoo: RunZoo, tmp_path: Path) -> None:
    folder = zoo_of(tmp_path / "zoo", BARE)
    run_zoo("verify", "net", "--cards", folder, "--write")
    text = (folder / "0.yaml").read_text()
    ran = run_zoo("verify", "net", "--cards", folder, "--write", "--format", "json")
    assert ran.err == "net: nothing to add\n"
    assert (folder / "0.yaml").read_text() == text
    proved = {f"{item['check']} {item['key']}" for item in json.loads(ran.out)["findings"] if item["status"] == "ok"}
    assert proved >= {"params params", "flops macs", "fingerprint fingerprint", "loading net.safetensors"}


@pytest.mark.parametrize(
    ("name", "size", "value", "added"),
    [
        ("resnest50d", 224, 6937106336, "convention: thop, input: [3, 224, 285], solved: true"),
        ("resnest50d", 224, 5371160576, "convention: macs, solved: true"),
        ("resnest101e", 256, 2 * 13321472000, "convention: flops, solved: true"),
    ],
)
def test_the_convention_of_a_count_without_one_is_added_and_the_claim_stays(
    name: str, size: int, value: int, added: str, run_zoo: RunZoo, tmp_path: Path
) -> None:
    folder = zoo_of(tmp_path / "zoo", PAGE.format(name=name, size=size, value=value))
    options = ("--cards", folder, "--check", "flops", "--format", "json")
    finding = json.loads(run_zoo("verify", name, *options).out)["findings"][-1]
    assert (finding["status"], finding["claimed"]) == ("unknown", value)
    assert f"run `zoo verify {name} --write`" in finding["hint"] and added.split(",")[0] in finding["hint"]
    run_zoo("verify", name, *options, "--write")
    line = f"    - {{value: {value}, origin: upstream, {added}}}  # of the page"
    assert line in (folder / "0.yaml").read_text().splitlines()
    statuses = [item["status"] for item in json.loads(run_zoo("verify", name, *options).out)["findings"]]
    assert statuses == ["ok"] * len(statuses)


def test_multiply_adds_are_not_added_beside_a_claim_that_is_them(run_zoo: RunZoo, tmp_path: Path) -> None:
    folder = zoo_of(tmp_path / "zoo", PAGE.format(name="resnest50d", size=224, value=5371160576))
    run_zoo("verify", "resnest50d", "--cards", folder, "--check", "flops", "--write")
    assert len(load_catalog([folder]).find("resnest50d").flops) == 1


def test_a_count_that_no_convention_gives_stays_as_it_is(run_zoo: RunZoo, tmp_path: Path) -> None:
    text = PAGE.format(name="resnest50d", size=224, value=6937106337)
    folder = zoo_of(tmp_path / "zoo", text)
    ran = run_zoo("verify", "resnest50d", "--cards", folder, "--check", "flops", "--write", "--format", "json")
    (unsaid,) = (item for item in json.loads(ran.out)["findings"] if item["key"] == "unsaid")
    assert ran.code == 3 and unsaid["status"] == "unknown"
    assert (
        "no convention gives 6,937,106,337" in unsaid["reason"] and "1.2915 times the multiply-adds" in unsaid["reason"]
    )
    assert text.splitlines()[-1] in (folder / "0.yaml").read_text().splitlines()


def test_a_rounded_count_that_several_conventions_give_stays_as_it_is(run_zoo: RunZoo, tmp_path: Path) -> None:
    text = PAGE.format(name="resnest50d", size=224, value=5400000000).replace(
        "origin: upstream", "rounded_to: 100000000"
    )
    folder = zoo_of(tmp_path / "zoo", text)
    ran = run_zoo("verify", "resnest50d", "--cards", folder, "--check", "flops", "--write", "--format", "json")
    (unsaid,) = (item for item in json.loads(ran.out)["findings"] if item["key"] == "unsaid")
    assert "5,400,000,000 is macs at 3x224x224 or " in unsaid["reason"]
    assert unsaid["hint"].startswith("add `convention` and `input` of the right one to the claim")
    assert "convention" not in (folder / "0.yaml").read_text().partition("rounded_to")[2].splitlines()[0]


def test_a_wrong_claim_is_not_corrected_and_a_wrong_card_gets_no_fingerprint(run_zoo: RunZoo, tmp_path: Path) -> None:
    folder = zoo_of(tmp_path / "zoo", BARE.replace("extra:\n", "claims:\n  params: {value: 64483}\n\nextra:\n"))
    ran = run_zoo("verify", "net", "--cards", folder, "--write")
    text = (folder / "0.yaml").read_text()
    assert ran.code == 1
    assert "  params: {value: 64483}\n" in text and "64482" not in text
    assert "convention: macs" in text and "fingerprint" not in text


def test_a_model_without_files_gets_the_values_of_its_architecture(run_zoo: RunZoo, tmp_path: Path) -> None:
    text = BARE.replace('    sha256: "9fd3', '    urls: ["https://127.0.0.1:1/x"]\n    sha256: "0fd3')
    folder = zoo_of(tmp_path / "zoo", text)
    ran = run_zoo("verify", "net", "--cards", folder, "--write")
    assert ran.err == f"{folder / '0.yaml'}: added /claims/params, /claims/flops/0\n"


def test_a_card_that_changed_meanwhile_is_not_written(tmp_path: Path) -> None:
    from zoo.errors import UsageError
    from zoo.verification.report import ReportSubject
    from zoo.verification.runner import Verified

    folder = zoo_of(tmp_path / "zoo", BARE)
    catalog = load_catalog([folder])
    (folder / "0.yaml").write_text(BARE + "# mine\n")
    finding = Finding("net", "params", "params", Status.UNCLAIMED, measured=64482)
    with pytest.raises(UsageError, match="the file changed while zoo was using it"):
        list(write_back.write([Verified(ReportSubject("net", "0"), (finding,))], catalog, print))
    assert (folder / "0.yaml").read_text() == BARE + "# mine\n"


def test_only_values_that_the_schema_allows_are_added(tmp_path: Path) -> None:
    card = load_catalog([zoo_of(tmp_path / "zoo", BARE)]).find("net")
    loaded = Finding("net", "loading", "net.safetensors", Status.OK, evidence={"dtype": "int8"})
    wrong = Finding("net", "params", "params", Status.WRONG, measured=1)
    assert write_back.additions(card, [loaded, wrong]) == {}
