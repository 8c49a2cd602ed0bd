"""Text for terminals, CI, JSON and shells: what has an effect is shown, and all other text stays as it is."""

from __future__ import annotations

import json
import shlex
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.runtime.text import (
    Lines,
    csv_cell,
    csv_text,
    github,
    github_property,
    json_text,
    markdown,
    markdown_message,
    shell,
    terminal,
    terminal_lines,
)

ORDINARY = [
    "resnest50d_1s4x24d", "cards/a b.yaml:3:14", "a: b", "std::vector", "50 % of #1 ## x", "5\xa0MB", "Ærø 日本語 עברית",
    "می\u200cخواهم", "क\u094d\u200dष", "👩\u200d💻 ❤\ufe0f\u200d🔥 1\ufe0f\u20e3 🙂\u200d↔\ufe0f", "\\x1b", "",
    "e\u0301", "\u0f67\u0f90\u0fb5\u0fa8\u0fb3\u0fba\u0fbc\u0fbb\u0f82",
]  # fmt: skip


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert terminal(text) == text
    assert json_text(json.dumps(text, ensure_ascii=False)) == json.dumps(text, ensure_ascii=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\r\n\tc", "a\\nb\\r\\n\\tc"),
        ("\x1b]0;x\x07\x1b[2J\x08\x00\x7f\x9b31m\x85", "\\x1b]0;x\\x07\\x1b[2J\\x08\\x00\\x7f\\x9b31m\\x85"),
        ("\u202a\u202e\u2066\u2069\u200e\u200f\u061c", "\\u202a\\u202e\\u2066\\u2069\\u200e\\u200f\\u061c"),
        ("\u200b\ufeff\u00ad\u2060\u2028\u2029\U000e0041", "\\u200b\\ufeff\\xad\\u2060\\u2028\\u2029\\U000e0041"),
        ("\ud800 \udcff", "\\ud800 \\udcff"),
        ("\u3164\u115f\u2800\u034f", "\\u3164\\u115f\\u2800\\u034f"),
        ("resnet\u200d50 a\u200c \u200d", "resnet\\u200d50 a\\u200c \\u200d"),
        ("5\ufe0f0 a\ufe0f 🙂\ufe0f\ufe0f", "5\\ufe0f0 a\\ufe0f 🙂\ufe0f\\ufe0f"),
        ("e" + 20 * "\u0301", "e" + 8 * "\u0301" + 12 * "\\u0301"),
        ("::error::x", "\\x3a:error::x"),
        (" \u3000::add-mask::x", " \u3000\\x3a:add-mask::x"),
        ("a ##[error]b ###[c] ##VSO[task] ##teamcity[d]", "a \\x23#[error]b #\\x23#[c] \\x23#VSO[task] \\x23#teamcity[d]"),
    ],
)  # fmt: skip
def test_what_has_an_effect_is_shown_as_an_escape_sequence(text: str, expected: str) -> None:
    assert terminal(text) == expected


@given(st.text())
def test_no_effect_is_left_and_a_second_time_changes_nothing(text: str) -> None:
    shown = terminal(text)
    assert terminal(shown) == shown
    assert not shown.lstrip().startswith("::")
    hidden = [letter for letter in shown if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert set(hidden) <= {"\u200c", "\u200d"}


def test_only_breaks_between_lines_are_line_breaks() -> None:
    text = terminal_lines(["a\nb", "  ::error::c"])
    assert text == "a\\nb\n  \\x3a:error::c"
    assert terminal(text) is text
    assert isinstance(text, Lines)
    assert terminal(f"{text}") == "a\\nb\\n  \\x3a:error::c"


def test_a_message_and_a_property_of_a_workflow_command_stay_what_they_are() -> None:
    assert github("100 %\r\n::error file=a,b::c\x1b\u202e") == "100 %25%0D%0A::error file=a,b::c\\x1b\\u202e"
    assert github_property("a:b,c%\n") == "a%3Ab%2Cc%25%0A"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_keeps_its_data(text: str) -> None:
    made = json_text(json.dumps({text: [text]}, ensure_ascii=False, indent=2))
    assert json.loads(made) == {text: [text]}
    assert all(line == terminal(line) for line in made.split("\n"))


def test_a_surrogate_in_json_becomes_text() -> None:
    assert (
        json_text(json.dumps("\ud800\x7f\U000e0041##[x]", ensure_ascii=False))
        == '"\\\\ud800\\u007f\\udb40\\udc41\\u0023#[x]"'
    )


def test_a_command_in_a_message_is_a_code_span_and_nothing_else_is_markup() -> None:
    assert markdown_message("run `zoo fetch a-1.0 --all`, or <b> `x|y` *z*") == (
        "run `zoo fetch a-1.0 --all`, or &lt;b&gt; &#96;x&#124;y&#96; &#42;z&#42;"
    )
    assert markdown_message("a `b\n| c |") == f"a {markdown('`b | c |')}"
    assert markdown_message("-") == "-"


@given(st.text())
def test_a_shell_reads_one_argument(text: str) -> None:
    assert shlex.split(shell(text)) == [text]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(1)", "\tx", "\rx"])
def test_a_formula_gets_a_quote_that_is_removed_again(text: str) -> None:
    assert csv_cell(text) == f"'{text}"
    assert csv_text(csv_cell(text)) == text
    assert csv_text(f"'{'a' + text}") == f"'a{text}"
    assert csv_cell(f"a{text}") == f"a{text}"
