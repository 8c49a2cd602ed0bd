"""What the attacks on output share: a text with every effect, and the checks that an output has none."""

from __future__ import annotations

import re
import unicodedata

HOSTILE = (
    "net\x1b]0;x\x07\x9b31m\x7f\x08\r\u202e\u2066\u200f\u061c\u200b\ufeff\U000e0041\u2028\ud800\n::error::x\n  ::add-mask::y "
    "##[error]z ##vso[task.complete]w <script>alert(1)</script> <!-- zoo:end --> | [x](javascript:1) ![y](https://h/p) `a"
)
"""Terminal sequences, a carriage return, bidirectional controls, invisible characters, commands to the CI, and markup."""
_COMMAND_OF_ZOO = re.compile(r"::(error|warning) (file=[^,:]*,line=\d+,col=\d+,)?title=[^,:]*::")


def assert_harmless(output: str, *, is_github: bool = False) -> None:
    """Fail when the output has a character with an effect, or a command to the CI that `--format github` does not make."""
    for character in set(output) - {"\n"}:
        assert unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"), f"{character!r} in {output!r}"
    for line in output.split("\n"):
        if not (is_github and _COMMAND_OF_ZOO.match(line)):
            assert not line.lstrip().startswith("::"), repr(line)
            assert not re.search(r"##(\[|vso\[|teamcity\[)", line, re.IGNORECASE), repr(line)


def assert_harmless_page(page: str) -> None:
    """Fail when a Markdown page has HTML, a link, or a table with more cells in a row than in its head."""
    without_code = re.sub(r"`[^`\n]*`", "", page)
    assert not re.search(r"<|\]\(|\]:|https?://|javascript:", without_code), page
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
