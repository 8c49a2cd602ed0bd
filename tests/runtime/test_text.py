"""Foreign text is shown as it is: no markup, no link, no mark and no invisible character comes from it."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.runtime.text import Markdown, markdown, markdown_code, markdown_fence, markdown_link, visible


@pytest.mark.parametrize(
    "text",
    [
        "resnest_digits", "99.72 percent", "digits/validation/top1", "1x1 Convolution", "One-Cycle Learning Rate", "epochs 15; seed 5",
        "learning_rate=0.004", "AdamW (torch)", "18.5 GFLOPs", "U+202E", "C++", "Ærø, 日本語, עברית, 🙂‍↔️", "a: b",
    ],
)  # fmt: skip
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert markdown(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90\n| a | b |", "90 &#124; a &#124; b &#124;"),
        ("`x` **y** _z_ ~~w~~", "&#96;x&#96; &#42;&#42;y&#42;&#42; &#95;z&#95; &#126;&#126;w&#126;&#126;"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("<!-- zoo:end -->", "&lt;!-- zoo&#58;end --&gt;"),
        ("[x](javascript:alert(1))", "&#91;x&#93;(javascript&#58;alert(1))"),
        ("![x](https://h/p.png)", "!&#91;x&#93;(https&#58;//h/p.png)"),
        ("<javascript:x> https://h www.h.org m@h.org", "&lt;javascript&#58;x&gt; https&#58;//h www&#46;h.org m&#64;h.org"),
        ("&lt;b&gt; &#60;", "&amp;lt;b&amp;gt; &amp;#60;"),
        (r"\| \[x\]", "&#92;&#124; &#92;&#91;x&#92;&#93;"),
        (":tada: $x$", "&#58;tada: &#36;x&#36;"),
        ("a\u202eb\x1b[31mc\x07\u2066", "a&#92;u202eb&#92;x1b&#91;31mc&#92;x07&#92;u2066"),
        ("a\u200bb\U000e0041\ud800", "a&#92;u200bb&#92;U000e0041&#92;ud800"),
        ("a\u2028b\u2029c\x85d\r\ne\tf", "a b c d e f"),
        ("# title", "&#35; title"),
        ("- item", "&#45; item"),
        ("1. item", "1&#46; item"),
        ("2) item", "2&#41; item"),
        ("---", "&#45;--"),
        ("===", "&#61;=="),
        ("    code", "code"),
    ],
)  # fmt: skip
def test_what_has_a_meaning_becomes_a_character_reference(text: str, expected: str) -> None:
    assert markdown(text) == expected


def test_text_is_escaped_once_and_text_around_markdown_again() -> None:
    once = markdown("a*b")
    assert markdown(once) is once
    assert markdown(f"{once}") == "a&amp;#42;b"
    assert isinstance(once, Markdown)


@given(st.text())
def test_no_structure_is_left_and_nothing_is_lost(text: str) -> None:
    made = markdown(text)
    assert not re.search(r"[\n\r<>|`*\[\]\\~]", made)
    assert not re.search(r"[^\W\d_]:\S|://", made)
    assert html.unescape(made) == visible(text)
    assert made.isprintable() or all(
        letter in "\u200c\u200d" or not letter.isspace() for letter in made if letter != " "
    )


@pytest.mark.parametrize("address", ["https://h.org/a_b?x=1&y=(2)#z", "http://h", "mailto:ada@h.org"])
def test_an_address_of_the_web_or_of_mail_is_a_link(address: str) -> None:
    linked = markdown_link("a*b", address)
    assert linked.startswith("[a&#42;b](") and linked.count("(") == 1
    assert html.unescape(linked[linked.index("(") + 1 : -1]).replace("%28", "(").replace("%29", ")") == address


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "//h.org", "h.org",
        "https://", "https://h.org/a b", "https://h.org/a\nb", "https://h.org/)x](javascript:y", "https://h.org/\u202e",
        "https://github.com@evil.org/", "https://h\u043e.org", "https://h.org/<b>", "https://h.org/|", "https://h.org/`",
        "mailto:", "mailto:a@h.org?body=x", "https:alert(1)", "http://[x",
    ],
)  # fmt: skip
def test_any_other_address_is_text(address: str) -> None:
    assert markdown_link(address, address) == markdown(address)
    assert markdown_link("the paper", address) == f"the paper ({markdown(address)})"


def test_plain_text_is_a_code_span_and_other_text_is_not() -> None:
    assert markdown_code("net-9fd3.safetensors") == "`net-9fd3.safetensors`"
    for text in ("a`b", "a|b", "<b>", "a\nb", "a\u202eb", "a\\b", ""):
        assert markdown_code(text) == markdown(text)


def test_a_fence_is_longer_than_any_in_the_text_and_has_no_mark() -> None:
    made = markdown_fence("@misc{a,\n\ttitle={B}\n```\n<!-- zoo:end -->\r\n\x1b]0;x\x07}", "bibtex")
    assert made == ("````bibtex\n@misc{a,\n    title={B}\n```\n&lt;!-- zoo:end --&gt;\n\\x1b]0;x\\x07}\n````")
    assert markdown_fence("", "bibtex") == "```bibtex\n```"
