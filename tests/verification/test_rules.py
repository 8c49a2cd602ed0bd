"""Each consistency rule finds its problem at the right line, and legitimate cards are never wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.rule_zoo import card, family, make_zoo, verdicts
from zoo.verification import rules

CASES = [
    # (rule, status, pattern, replacement, a word of the reason)
    ("size-params", "suspect", r"size_bytes: \d+", "size_bytes: 60010000", "half precision"),
    ("size-params", "suspect", r"size_bytes: \d+", "size_bytes: 136800000", "auxiliary head"),
    ("size-params", "suspect", r"size_bytes: \d+", "size_bytes: 40000000", "fewer bits per parameter"),
    ("size-params", "wrong", r"size_bytes: \d+", "size_bytes: 83000000", "smaller than its content"),
    ("size-params", "wrong", r"size_bytes: \d+", "size_bytes: 9000000", "smaller than its content"),
    (
        "size-params",
        "wrong",
        r"size_bytes: \d+",
        "dtype: float32\n    size_bytes: 83000000",
        "smaller than its content",
    ),
    ("file-size", "suspect", r"size_bytes: \d+", "size_bytes: 133", "LFS pointer"),
    ("hash-in-name", "wrong", r'sha256: "\w+"', 'sha256: "01234567"', "says 3a3b3c3d"),
    ("hash-in-name", "suspect", r'sha256: "\w+"', f'sha256: "{"01234567" * 8}"', "named after other bytes"),
    ("flops-params", "wrong", r"value: 4800000000,", "value: 4800000,", "uses every parameter"),
    ("flops-params", "wrong", r"value: 4800000000,", "value: 4.8,", "lost its unit"),
    ("flops-params", "wrong", r"value: 4800000000,", "value: 9000000000000000,", "positions"),
    ("flops-params", "suspect", r"value: 4800000000,", "value: 90000000,", "counter"),
    ("params-plausible", "wrong", r"value: 30000000,", "value: 30,", "in millions"),
    ("flops-family", "suspect", r"value: 4800000000,", "value: 48000000000,", "10 times"),
    ("flops-family", "suspect", r"value: 30000000,", "value: 3000000,", "10 times too few"),
    (
        "duplicate-claim",
        "wrong",
        r"(- {value: 4800000000, convention: macs})",
        r"\1\n    - {value: 4900000000, convention: macs}",
        "two counts",
    ),
    ("no-convention", "suspect", r", convention: macs", "", "how the operations were counted"),
    ("ranges", "wrong", r"value: 93.0", "value: 930.0", "outside 0 to 100"),
    ("top1-top5", "wrong", r"value: 93.0", "value: 60.0", "above top-5"),
    ("top1-top5", "wrong", r"value: 73.0", "value: 1.01", "the most possible"),
    (
        "far-below-family",
        "suspect",
        r"metric: top1, value: 73.0(.*)\n(.*)value: 93.0",
        r"metric: top1, value: 20.0\1\n\2value: 70.0",
        "which no trained model has",
    ),
    (
        "near-chance",
        "suspect",
        r"metric: top1, value: 73.0(.*)\n(.*)value: 93.0",
        r"metric: top1, value: 0.11\1\n\2value: 0.52",
        "guessing",
    ),
    (
        "tolerance-limit",
        "suspect",
        r"value: 73.0, unit: percent",
        "value: 73.0, unit: percent, tolerance: 60",
        "at most 0.5 points",
    ),
    (
        "rounding-limit",
        "suspect",
        r"value: 73.0, unit: percent",
        "value: 73.0, unit: percent, rounded_to: 100",
        "at most 1 point",
    ),
    ("rounding-limit", "suspect", r"convention: macs", "convention: macs, rounded_to: 1e9", "at most 5 %"),
    ("rounding-limit", "suspect", r"rounded_to: 10000", "rounded_to: 1e7", "at most 5 %"),
    (
        "fingerprint-limit",
        "suspect",
        r"claims:",
        "fingerprint: {logits: [2.0, -1.5], tolerance: 1e6}\nclaims:",
        "at most 0.002",
    ),
    ("fraction-percent", "suspect", r"value: 73.0", "value: 0.73", "may be a fraction"),
    ("ranges", "wrong", r"value: 73.0, unit: percent", "value: 73.0, unit: fraction", "outside 0 to 1"),
    ("duplicate-result", "suspect", r"(    - {dataset: imagenet-1k, .*metric: top1.*\n)", r"\1\1", "listed twice"),
    (
        "unknown-dataset",
        "suspect",
        r"dataset: imagenet-1k, split: validation, metric: top1",
        "dataset: imagnet-1k, metric: top1",
        "no dataset card",
    ),
    (
        "unknown-dataset",
        "suspect",
        r"dataset: imagenet-1k, split: validation, metric: top1",
        "dataset: unknown, metric: top1",
        "does not say on which data set",
    ),
    ("url-form", "wrong", r"https://models", "checkpoints/models", "local path"),
    ("url-form", "wrong", r"https://models", "https：//models", "full-width"),
    ("url-form", "wrong", r"\[https://models", "[ (https://models", "is not a URL"),
    ("url-form", "wrong", r"https://models", "htps://models", "misspelt"),
    ("url-form", "wrong", r"https://models\.", "https://mоdels.", "several scripts"),
    ("url-form", "wrong", r"https://models", "https:///models", "no host"),
    ("url-form", "wrong", r"\[https://models.example.org/(.*)\]", r'["https://[models.example.org/\1"]', "malformed"),
    ("dead-host", "suspect", r"models.example.org", "paperswithcode.com", "closed in July 2025"),
    ("near-host", "suspect", r"models.example.org", "modles.example.org", "differs in one letter"),
    (
        "moving-revision",
        "suspect",
        r"https://models.example.org/fam",
        "https://huggingface.co/org/fam/resolve/main",
        "the branch main",
    ),
    ("moving-revision", "suspect", r"https://models.example.org/fam", "hf://org/fam", "means the branch main"),
    ("crop", "suspect", r"crop_pct: 0.875", "crop_pct: 1.14", "padding"),
    ("crop", "suspect", r"crop_pct: 0.875", "crop_pct: 0.875\n  crop_mode: squash", "whole image"),
    ("ranges", "wrong", r"unit: percent", "unit: parsec", "its unit is 'parsec'"),
    ("mean-std", "wrong", r"mean: .*", "mean: [123.675, 116.28, 103.53]", "from 0 to 255"),
    ("mean-std", "wrong", r"std: .*", "std: [0.229, 0.224]", "2 values for 3 channels"),
    ("channels", "suspect", r"size: \[3, 224, 224\]", "size: [224, 224, 3]", "channels, height, width"),
    ("unknown-collection", "wrong", r"collection: fam", "collection: fan", "unknown collection 'fan'"),
    (
        "ignored-rule",
        "wrong",
        r"\Z",
        "ignore: [{rule: consistency/size-param, reason: no}]\n",
        "unknown rule 'size-param'",
    ),
    ("duplicate-item", "suspect", r"\Z", "class_names: [cat, dog, cat]\n", "cat is listed twice"),
    ("own-alias", "wrong", r"\Z", "aliases: [net_l]\n", "both the name and an alias"),
    ("duplicate-name", "wrong", r"\Z", "aliases: [net_s]\n", "is also in use at"),
    (
        "rename",
        "wrong",
        r"(?m)^(  - file: .*)",
        r"\1\n    rename: [{pattern: 'a(?=b)', replacement: c}]",
        "RE2 does not support look-ahead",
    ),
    (
        "rename",
        "wrong",
        r"(?m)^(  - file: .*)",
        r"\1\n    rename: [{pattern: '(a)b', replacement: '\\2'}]",
        "the pattern has 1 group",
    ),
    ("duplicate-file", "wrong", r"(  - file: (?:.*\n)+?)(claims)", r"\1\1\2", "listed twice"),
]


@pytest.mark.parametrize(
    ("rule", "status", "pattern", "replacement", "word"), CASES, ids=[f"{f[0]}-{i}" for i, f in enumerate(CASES)]
)
def test_a_rule_finds_its_problem_and_gives_the_reason(
    tmp_path: Path, rule: str, status: str, pattern: str, replacement: str, word: str
) -> None:
    texts = family()
    changed = re.sub(pattern, replacement, texts["net_l"], count=1)
    assert changed != texts["net_l"]
    by_rule = verdicts(make_zoo(tmp_path, {**texts, "net_l": changed}), "net_l")
    assert rule in by_rule, by_rule.keys()
    assert by_rule[rule][0].status.value == status
    assert word in by_rule[rule][0].reason
    assert by_rule[rule][0].hint
    assert by_rule[rule][0].where is not None
    assert by_rule[rule][0].where.line > 1


def test_a_correct_family_has_no_findings(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path, family())
    assert {name: verdicts(zoo, name) for name in family()} == {name: {} for name in family()}


def test_every_rule_has_a_test() -> None:
    elsewhere = {
        "shared-url",
        "shared-digest",
        "shared-size",
        "flops-input",
        "flops-name",
        "input-name",
        "duplicate-collection",
    }
    assert set(rules.all_rules()) == {case[0] for case in CASES} | elsewhere


def test_a_finding_points_at_the_value(tmp_path: Path) -> None:
    texts = family()
    texts["net_l"] = texts["net_l"].replace("value: 73.0", "value: 99.5")
    where = verdicts(make_zoo(tmp_path, texts), "net_l")["top1-top5"][0].where
    line = next(number for number, text in enumerate(texts["net_l"].splitlines(), 1) if "99.5" in text)
    assert where is not None
    assert (where.line, texts["net_l"].splitlines()[line - 1][where.column - 1 :].partition(":")[0]) == (line, "value")


def with_file_of(texts: dict[str, str], name: str, other: str) -> dict[str, str]:
    """Return the cards, where card `name` has the file of card `other`."""
    block = re.compile(r"  - file: (?:.*\n)+?(?=claims)")
    theirs = block.search(texts[other])
    assert theirs
    return {**texts, name: block.sub(theirs[0], texts[name])}


def test_another_models_file_is_wrong_for_the_model_that_it_does_not_fit(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path, with_file_of(family(), "net_l", "net_m"))
    by_rule = verdicts(zoo, "net_l")
    assert {
        rule: by_rule[rule][0].status.value for rule in ("shared-url", "shared-digest", "shared-size")
    } == dict.fromkeys(("shared-url", "shared-digest", "shared-size"), "wrong")
    assert "(80,020,000 bytes) is that of net_m, which is another model" in by_rule["shared-url"][0].reason
    assert verdicts(zoo, "net_m") == {}


def test_one_architecture_under_two_names_may_share_a_file(tmp_path: Path) -> None:
    texts = family()
    texts["net_l2"] = texts["net_l"].replace("name: net_l", "name: net_l2")
    zoo = make_zoo(tmp_path, texts)
    assert verdicts(zoo, "net_l") == {}
    assert verdicts(zoo, "net_l2") == {}


def test_a_head_on_a_shared_backbone_is_suspect_and_not_wrong(tmp_path: Path) -> None:
    texts = family()
    texts["net_l2"] = (
        re.sub(r"builder: .*\n", "", texts["net_l"])
        .replace("name: net_l", "name: net_l2")
        .replace("value: 30000000", "value: 30600000")
    )
    by_rule = verdicts(make_zoo(tmp_path, texts), "net_l2")
    assert {rule: by_rule[rule][0].status.value for rule in by_rule} == dict.fromkeys(
        ("shared-url", "shared-digest", "shared-size"), "suspect"
    )
    assert "head" in by_rule["shared-url"][0].reason


@pytest.mark.parametrize(
    ("what", "pattern", "replacement"),
    [
        ("half precision", r"size_bytes: \d+", "dtype: float16\n    size_bytes: 60010000"),
        ("an auxiliary head", r"size_bytes: \d+", "size_bytes: 136800000"),
        ("a detector without operations", r"  flops:\n.*\n", ""),
        ("another task and few results", r"task: image-classification", "task: object-detection"),
        ("a patch size of 8", r"value: 4800000000", "value: 20800000000"),
        ("a digest of digits only", r"3a3b3c3d", "75117900"),
        ("a date behind the digest", r"net_l-3a3b3c3d.pth]", "net_l-3a3b3c3d_20230807.pth?download=1]"),
        ("a date and no digest", r"net_l-3a3b3c3d.pth]", "net_l_20230807.pth]"),
        ("Chinese letters in a path", r"models.example.org/fam", "models.example.org/模型"),
        ("a host of another number", r"models.example.org", "models2.example.org"),
        ("a data set without a card", r"dataset: imagenet-1k, split: validation, metric: top1", "dataset: places365, metric: top1"),
    ],
)  # fmt: skip
def test_what_is_legitimate_is_never_wrong(tmp_path: Path, what: str, pattern: str, replacement: str) -> None:
    texts = family()
    texts["net_l"] = re.sub(pattern, replacement, texts["net_l"])
    by_rule = verdicts(make_zoo(tmp_path, texts), "net_l")
    assert [(rule, of[0].reason) for rule, of in by_rule.items() if of[0].status.value == "wrong"] == [], what


def test_fewer_operations_at_a_larger_input_are_suspect(tmp_path: Path) -> None:
    texts = family()
    larger = texts["net_l"].replace("name: net_l", "name: net_l_448").replace("[3, 224, 224]", "[3, 448, 448]")
    texts["net_l_448"] = larger.replace("value: 4800000000", "value: 2400000000")
    by_rule = verdicts(make_zoo(tmp_path, texts), "net_l_448")
    assert "net_l, the same network" in by_rule["flops-input"][0].reason


def test_the_operations_in_a_name_are_compared_with_the_claim(tmp_path: Path) -> None:
    texts = family()
    texts["net-32gf"] = card("net-32gf", 32, "9a9b9c9d").replace("value: 5120000000", "value: 1530000000")
    by_rule = verdicts(make_zoo(tmp_path, texts), "net-32gf")
    assert by_rule["flops-name"][0].status.value == "suspect"
    assert "(32,000,000) may be swapped" in by_rule["flops-name"][0].reason


@pytest.mark.parametrize(("name", "finds"), [("net_l_448", True), ("regnety_320", False), ("net_l_224", False)])
def test_the_size_in_a_name_is_compared_with_the_input(tmp_path: Path, name: str, finds: bool) -> None:
    by_rule = verdicts(make_zoo(tmp_path, {**family(), name: card(name, 32, "9a9b9c9d")}), name)
    assert ("input-name" in by_rule) is finds


def test_a_dead_link_of_a_family_is_reported_once(tmp_path: Path) -> None:
    paper = "schema: 1\nname: fam\npaper: {url: https://paperswithcode.com/paper/x}\n"
    zoo = make_zoo(tmp_path, family(), paper)
    reported = [name for name in family() if "dead-host" in verdicts(zoo, name)]
    assert reported == ["net_l"]  # the first file
    assert str(verdicts(zoo, "net_l")["dead-host"][0].where).endswith("collection.yaml:3:9")


def test_a_family_that_is_defined_twice_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "collection.yaml").write_text("name: fam\n")
    zoo = make_zoo(tmp_path, family())
    assert [name for name in family() if "duplicate-collection" in verdicts(zoo, name)] == ["net_l"]


def test_fractions_and_percent_are_compared_in_percent(tmp_path: Path) -> None:
    texts = family()
    texts["net_l"] = texts["net_l"].replace("value: 73.0, unit: percent", "value: 0.73, unit: fraction")
    texts["net_l"] = texts["net_l"].replace("value: 93.0, unit: percent", "value: 0.93, unit: fraction")
    assert verdicts(make_zoo(tmp_path, texts), "net_l") == {}
