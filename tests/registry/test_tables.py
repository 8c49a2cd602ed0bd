"""zoo list, show and compare: conditions, order, columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.project import RunZoo
from tests.helpers.rule_zoo import family, make_zoo
from zoo.errors import UnknownName, UsageError
from zoo.registry.index import Row
from zoo.registry.query import condition

ROW = Row("net_l", "fam", params=30_000_000, macs=4.8e9, top1=73.0, license="mit")


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    texts = family()
    texts["net_x"] = texts["net_x"].replace(
        "    - {dataset: imagenet-1k, split: validation, metric: top1, value: 74.0, unit: percent}\n", ""
    )
    make_zoo(tmp_path, texts)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "meets"),
    [
        ("", True),
        ("top1 > 70 and params < 50M", True),
        ("top1 > 70 and params < 50e6", True),
        ("top1 > 80 or macs <= 4.8G", True),
        ("not top1 > 80", True),
        ("70 < top1 < 72", False),
        ("top5 > 0", False),
        ("not top5 > 0", True),
        ("'_l' in name", True),
        ("license == 'mit'", True),
        ("license in 'mit apache-2.0'", True),
        ("params > -1", True),
        ("params == 30000k", True),
    ],
)
def test_a_condition_is_met_or_not(text: str, meets: bool) -> None:
    assert condition(text)(ROW) is meets


@pytest.mark.parametrize(
    "text",
    [
        "top1 >",
        "top1 + 1 > 3",
        "__import__('os')",
        "name.upper() == 'A'",
        "top1 is 3",
        "(" * 500,
        "[1]",
        "lambda: 1",
        "x" * 2000,
    ],
)
def test_an_invalid_condition_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        condition(text)(ROW)


def test_an_unknown_field_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'top1'"):
        condition("top11 > 3")


def test_a_number_and_text_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="compares a number with text"):
        condition("name > 3")(ROW)


def test_descending_order_puts_cards_without_a_value_last(run_zoo: RunZoo, cards: Path) -> None:
    out = run_zoo("list", "--cards", cards, "--sort", "-top1", "--fields", "name,top1").out
    assert out.splitlines() == [
        "name   top1",
        "net_y  75.00%",
        "net_l  73.00%",
        "net_m  72.00%",
        "net_s  71.00%",
        "net_x  -",
    ]


def test_query_condition_and_names_together(run_zoo: RunZoo, cards: Path) -> None:
    assert (
        run_zoo("list", "net", "--where", "params >= 30M", "--format", "names", "--cards", cards).out
        == "net_l\nnet_x\nnet_y\n"
    )


def test_json_has_the_given_fields(run_zoo: RunZoo, cards: Path) -> None:
    out = run_zoo("list", "net_s", "--fields", "name,params", "--format", "json", "--cards", cards).out
    assert json.loads(out) == [{"name": "net_s", "params": 10_000_000}]


def test_no_match_is_reported_and_is_not_an_error(run_zoo: RunZoo, cards: Path) -> None:
    ran = run_zoo("list", "nothing", "--cards", cards)
    assert (ran.code, ran.out) == (0, "no models\n")


def test_compare_marks_what_differs(run_zoo: RunZoo, cards: Path) -> None:
    lines = run_zoo("compare", "net_s", "net_m", "--cards", cards).out.splitlines()
    assert lines[0].split() == ["net_s", "net_m"]
    assert next(line for line in lines if "params" in line).split() == ["*", "params", "10.00M", "20.00M"]
    assert next(line for line in lines if "imagenet-1k top1" in line).split() == [
        "*",
        "imagenet-1k",
        "top1",
        "71",
        "72",
    ]
    assert next(line for line in lines if "collection" in line).startswith("  collection")


def test_compare_without_names_is_a_usage_error(run_zoo: RunZoo) -> None:
    assert run_zoo("compare").code == 2
