"""One hostile card gives findings about itself: all other cards are found as without it, in bounded time and memory.

Each attack is the text of a card, a collection or a dataset card beside two good cards.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.attacks.helpers import about, copy_digits, findings, run_cli
from tests.helpers.project import ROOT, Ran, RunZoo

GOOD = ("resnest_digits", "second")
TEXT = (ROOT / "cards" / "digits" / "resnest_digits.yaml").read_text()
NAMED = TEXT.replace("name: resnest_digits", "name: hostile")
LONG = "x" * 100_000


def changed(pattern: str, new: str) -> str:
    """Return the digits card, named hostile, with a part of it replaced."""
    text, count = re.subn(pattern, lambda match: new, NAMED, count=1)
    assert count == 1, pattern
    return text


def flow(depth: int, inside: str = "") -> str:
    return "[" * depth + inside + "]" * depth


INPUT, BUILDER = r"size: \[.*?\]", r"builder: .*"
WEIGHTS = "weights: [{{file: net.pth, {}}}]\n"
CARDS = {
    # what the issue names
    "split": changed("split: validation", "split: nosuch"),
    "leading-dot": changed("file: resnest", "file: .resnest"),
    "digits-4000": changed(r"params: \{value: \d+", "params: {value: " + "9" * 4000),
    "digits-4000-float": changed(r"value: 99\.\d+", "value: 99." + "9" * 4000),
    "digits-hex": changed(r"params: \{value: \d+", "params: {value: 0x" + "f" * 1_000_000),
    "digits-300": changed(r"params: \{value: \d+", "params: {value: " + "9" * 240),
    "exponent": changed(r"value: 99\.\d+", "value: 1e999999"),
    "exponent-308": changed(r"value: 99\.\d+", "value: 1.7e308"),
    "exponent-minus": changed(r"value: 99\.\d+", "value: 1e-999999"),
    "nested": f"{NAMED}extra: {{a: {flow(99)}}}\n",
    "nested-2000": f"{NAMED}extra: {{a: {flow(2000)}}}\n",
    "nested-blocks": "name: hostile\nextra:\n" + "".join(f"{' ' * depth}a:\n" for depth in range(1, 1500)),
    "nested-options": changed(BUILDER, f"builder: {{library: timm, entry: resnest14d, options: {{a: {flow(33)}}}}}"),
    "long-string": changed("license: .*", f"license: {LONG}"),
    "long-name": changed("name: hostile", f"name: {LONG}"),
    "long-key": f"{NAMED}? {LONG}\n: 1\n",
    "input-area": changed(INPUT, "size: [3, 30000, 30000]"),
    "input-channels": changed(INPUT, "size: [4000000000, 1, 1]"),
    "crop": changed("crop_pct: .*", "crop_pct: 1e-6") if "crop_pct" in NAMED else f"{NAMED}extra: 1\n",
    "std": changed(r"std: \[.*?\]", "std: [0, 0, 0]"),
    "std-negative": changed(r"std: \[.*?\]", "std: [-1, 1, 1]"),
    "random": changed("interpolation: .*", "interpolation: random")
    if "interpolation" in NAMED
    else "name: hostile\ninput: {interpolation: random}\n",
    # variations
    "split-of-a-path": changed("split: validation", "split: ../../etc"),
    "dataset-of-punctuation": changed("dataset: digits", "dataset: '???'"),
    "dataset-with-a-null": changed("dataset: digits", 'dataset: "a\\0b"'),
    "metric": changed("metric: top1", "metric: top999999999"),
    "unit": changed("unit: percent", "unit: parsec"),
    "library": changed("library: timm", "library: ../../etc/passwd"),
    "convention": f"{NAMED}".replace("convention: macs", "convention: nosuch"),
    "scheme": NAMED.split("weights:")[0] + WEIGHTS.format("urls: ['gopher://host/x']"),
    "url": NAMED.split("weights:")[0]
    + WEIGHTS.format("urls: ['http://[::1', 'https://', 'file:relative', '//x', 'hf:']"),
    "file-with-a-null": NAMED.split("weights:")[0] + 'weights: [{file: "a\\0b"}]\n',
    "file-of-255-wide-characters": NAMED.split("weights:")[0] + f"weights: [{{file: {'é' * 255}}}]\n",
    "directory-as-file": NAMED.split("weights:")[0] + "weights: [{file: folder}]\n",
    "ignore": f"{NAMED}ignore: [{{rule: '*', reason: x}}, {{rule: consistency/nosuch, reason: x}}]\n",
    "results-1001": "name: hostile\nclaims:\n  results:\n"
    + "    - {dataset: digits, metric: top1, value: 50}\n" * 1001,
    "results-1000": "name: hostile\nclaims:\n  results:\n"
    + "    - {dataset: digits, metric: top1, value: 50}\n" * 1000,
    "aliases-of-many-kinds": "name: hostile\naliases: [" + "1, {a: 1}, [], " * 20_000 + "]\n",
    "aliases-equal": "name: hostile\naliases: [" + "a, " * 60_000 + "]\n",
    "values": "name: hostile\nextra: [" + "1," * 1_900_000 + "]\n",
    "lines": "name: hostile\nextra:\n" + "- 1\n" * 900_000,
    "unknown-fields": "name: hostile\n" + "".join(f"k{number}: 1\n" for number in range(60_000)),
    "duplicate-keys": "name: hostile\n" + "name: hostile\n" * 60_000,
    "wrong-items": "name: hostile\nweights: [" + "{a: 1}," * 30_000 + "]\n",
    "alias-bomb": "name: hostile\na: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "alias-of-itself": "name: hostile\nextra: &a [*a]\n",
    "tags": "name: hostile\nextra: !!python/object/apply:os.system [touch hostile]\n",
    "newer-format": f"schema: {'9' * 240}\nname: hostile\n",
    "control": 'name: hostile\nlicense: "\\x1b]0;title\\x07\\u202e"\n',
    "surrogate": 'name: hostile\nlicense: "\\ud800"\n',
    "documents": "name: hostile\n---\nname: hostile\n",
    "nothing": "",
}


def beside(zoo: Path, texts: dict[str, str]) -> Path:
    """Write a zoo of two good cards, and these files in the folder of the first."""
    copy_digits(zoo)
    (zoo / "digits" / "second.yaml").write_text(TEXT.replace("name: resnest_digits", "name: second"))
    (zoo / "digits" / "folder").mkdir()
    for name, text in texts.items():
        path = zoo / "digits" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return zoo


def validated(run_zoo: RunZoo, zoo: Path) -> Ran:
    return run_zoo("validate", "--all", "--cards", zoo, "--format", "json")


@pytest.mark.parametrize("attack", CARDS)
def test_validate_finds_the_others_as_without_it(run_zoo: RunZoo, tmp_path: Path, attack: str) -> None:
    zoo = beside(tmp_path / "zoo", {})
    clean = validated(run_zoo, zoo)
    # A collection's findings are shown with its first card, so that the hostile one is the last.
    (zoo / "digits" / "zz.yaml").write_text(CARDS[attack])
    ran = validated(run_zoo, zoo)
    assert ran.code in (0, 1) and clean.code == 0
    for good in GOOD:
        assert about(ran, good) == about(clean, good)
    hostile = [item for item in findings(ran) if item["model"] not in GOOD]
    assert 1 <= len(hostile) <= 101 + 1000
    assert {item["model"] for item in hostile} <= {"hostile", "zz"}
    assert max(len(item["reason"]) + len(item["key"]) + len(item["hint"]) for item in hostile) < 3000
    listed = run_zoo("list", "--cards", zoo)
    assert listed.code == 0 and all(good in listed.out for good in GOOD) and len(listed.err) < 3000


WRONG = [name for name in CARDS if name not in ("metric", "unit", "convention", "scheme", "dataset-of-punctuation", "exponent-minus",
    "file-of-255-wide-characters", "directory-as-file", "results-1000", "digits-4000-float", "split", "split-of-a-path",
    "dataset-with-a-null", "library", "control")]  # fmt: skip


@pytest.mark.parametrize("attack", WRONG)
def test_it_is_wrong_without_a_measurement(run_zoo: RunZoo, tmp_path: Path, attack: str) -> None:
    (tmp_path / "hostile.yaml").write_text(CARDS[attack])
    ran = run_zoo("validate", "--all", "--cards", tmp_path, "--format", "json")
    assert ran.code == 1 and any(item["status"] == "wrong" for item in findings(ran))


def test_verify_finds_the_others_as_without_them_also_with_several_jobs(tmp_path: Path) -> None:
    names = [name for name in CARDS if name not in WRONG] + ["digits-4000", "leading-dot", "nested", "nothing"]
    names.remove("results-1000")  # a thousand questions, each answered by the same evaluation
    texts = {f"zz_{name}.yaml": independent(CARDS[name].replace("hostile", f"zz_{name}", 1)) for name in names}
    clean = run_cli(
        "verify", "--all", "--cards", beside(tmp_path / "clean", {}), "--format", "json", cwd=tmp_path / "clean"
    )
    zoo = beside(tmp_path / "zoo", texts)
    for jobs in (1, 2):
        ran = run_cli("verify", "--all", "--cards", zoo, "--format", "json", "--jobs", jobs, cwd=zoo)
        assert (ran.code, clean.code) == (1, 0), ran.err[-2000:]
        for good in GOOD:
            assert without_folder(about(ran, good), zoo) == without_folder(about(clean, good), tmp_path / "clean")
        named = {item["model"] for item in findings(ran)}
        assert named >= {*GOOD, *(name.removesuffix(".yaml") for name in texts)}


def independent(text: str) -> str:
    """Return a card's text without its collection, whose size the rules about families depend on."""
    return re.sub("collection: .*\n", "", text)


def without_folder(found: list[dict[str, object]], folder: Path) -> list[dict[str, object]]:
    return [{**item, "where": str(item["where"]).removeprefix(f"{folder}/")} for item in found]


FAMILIES = {
    "another/collection.yaml": "name: digits\n" + "x: 1\n" * 1000,
    "another/collection.yml": f"name: hostile\ntitle: {LONG}\n",
    "datasets/a.yaml": "name: hostile\nkind: ../../etc\nsplits: {'../../x': {images: 1}}\nclasses: [a, b]\n",
    "datasets/b.yaml": "name: hostile2\nkind: folder\nsplits: {}\nclasses: [a, a]\n",
    "datasets/c.yaml": "name: hostile3\nkind: folder\nsplits: {v: {images: 1e300}}\nclasses: [a, b]\n",
    "datasets/d.yaml": 'name: hostile4\nkind: folder\nsplits: {v: {images: 1}}\nclasses: ["a\\nb", c]\n',
    "datasets/e.yaml": "name: hostile5\nkind: folder\nsplits: {v: {images: 1}}\nclasses: [" + "a, " * 65_537 + "]\n",
    "datasets/f.yaml": "name: hostile6\nkind: folder\nlabel_space: hostile6\nsplits: {v: {images: 1, label_files: [../x]}}\nclasses: [a, b]\n",
}


@pytest.mark.parametrize("attack", FAMILIES)
def test_a_hostile_collection_or_data_set_is_a_finding_of_its_own(run_zoo: RunZoo, tmp_path: Path, attack: str) -> None:
    zoo = beside(tmp_path / "zoo", {})
    clean = validated(run_zoo, zoo)
    (zoo / attack).parent.mkdir(exist_ok=True)
    (zoo / attack).write_text(FAMILIES[attack])
    ran = validated(run_zoo, zoo)
    assert ran.code == 1
    for good in GOOD:
        assert about(ran, good) == about(clean, good)


def test_a_card_whose_label_space_is_not_known_is_a_finding(run_zoo: RunZoo, tmp_path: Path) -> None:
    zoo = beside(tmp_path / "zoo", {"hostile.yaml": changed("dataset: digits", "dataset: mine")})
    text = (zoo / "datasets" / "digits.yaml").read_text().replace("name: digits", "name: mine\nlabel_space: nosuch")
    (zoo / "datasets" / "mine.yaml").write_text(text)
    ran = run_zoo("verify", "--all", "--cards", zoo, "--format", "json", "--check", "accuracy")
    top1 = next(item for item in findings(ran) if item["model"] == "hostile" and item["key"] == "mine/validation/top1")
    assert (ran.code, top1["status"], top1["reason"]) == (1, "wrong", "unknown data set 'nosuch'")
    assert {item["status"] for item in findings(ran) if item["model"] in GOOD} == {"ok"}
