"""Make foreign text safe for the medium that shows it: one function for each medium.

Foreign text is all that zoo did not write: values of cards, names of files and tensors, what servers and libraries say. It may
contain line breaks, markup, terminal sequences, and characters that no reader sees.

The patterns are texts, which `re` compiles on first use: most commands import this module and use none of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

LINK_SCHEMES = frozenset({"https", "http", "mailto"})
"""The schemes of addresses that `markdown_link` makes a link of. Others, such as `javascript`, stay text."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the start of a formula."""
MOST_MARKS = 8
"""The most combining marks on a character. A Tibetan stack has 8; each mark more can cover another line of a terminal."""
_JOINERS = "\u200c\u200d"
"""The invisible characters that scripts and emoji need: the zero-width non-joiner and joiner (Unicode 16.0, chapter 23.2)."""
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""The characters without a shape that are not in the categories of `_HIDDEN` (Unicode 16.0, Default_Ignorable_Code_Point)."""
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""The general categories of control, format and surrogate characters, and of line and paragraph separators."""
_VIRAMA = 9
"""The canonical combining class of viramas."""
_NAMED_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_NOT_ASCII = r"[^ -~]+"
_NOT_ASCII_IN_JSON = r"[^\n -~]+"
_LINE_COMMAND = r"\A\s*:(?=:)"
_COMMAND = r"(?i)#(?=#(?:\[|vso\[|teamcity\[))"
"""Up to the first character of a command to the CI that reads the output. GitHub's runner takes `::name` at the start of a line,
after white space, and `##[name]` anywhere in it (github.com/actions/runner, src/Runner.Common/ActionCommand.cs, seen 2026-11-28).
Azure Pipelines takes `##vso[` (learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands, seen 2026-11-28), TeamCity
`##teamcity[` (jetbrains.com/help/teamcity/service-messages.html)."""
_STRUCTURE = r"""(?xi)
    [\\`*\[\]<>&|~$@]                     # emphasis, code, links, HTML, character references, tables, formulas, mentions
    | (?<![^\W_])_ | _(?![^\W_])          # emphasis, but not the one in `top_5`
    | :(?=/) | (?<=[^\W\d_]):(?!\s)       # `https://`, `javascript:`
    | (?<!\w):(?=[\w+-])                  # emoji, `:tada:`
    | (?<=www)\.                          # an address without a scheme
"""
"""The characters with a meaning inside a line of GitHub Flavored Markdown (github.github.com/gfm 0.29)."""
_BLOCK_START = r"[#+=-]|[0-9]{1,9}[.)](?=\s|\Z)"
"""What makes a heading, a list item or a rule of the line that it begins."""
_PLAIN_CODE = r"[A-Za-z0-9_.,:=/+@()\[\]{}' -]*[A-Za-z0-9_.,:=/+@()\[\]{}'-]"
_CODE_SPAN = f"`{_PLAIN_CODE}`"
_EMBEDDED_LINK = r"\[([^\[\]]*)\]\("
_KEPT_IN_ADDRESS = "!#$%&'*+,-./:;=?@_~"
_ADDRESS = r"[!#-;=?-Z_a-z~]+"
"""Printable ASCII without quotes, spaces, backslashes, backticks, carets, pipes, braces, square and angle brackets."""


class Markdown(str):
    """Text that is safe Markdown. A str that is not of this class still has to pass `markdown`."""

    __slots__ = ()


class Lines(str):
    """Text of several lines from `terminal_lines`. A str that is not of this class still has to pass `terminal`."""

    __slots__ = ()


def terminal(text: str) -> str:
    r"""Return the text in one line, for a terminal or for a log of CI: every character has a shape, and none has an effect.

    Line breaks, tabs and other control characters, bidirectional controls such as U+202E, zero-width characters, tags and
    unpaired surrogates become their escape sequence, such as `\n`, `\x1b` and `\u202e`. So does the first character of a
    command to the CI: `::error` at the start becomes `\x3a:error`. Other text stays as it is, also text from `terminal` and
    `terminal_lines`.
    """
    if isinstance(text, Lines):
        return text
    if not (text.isascii() and text.isprintable()):
        text = re.sub(_NOT_ASCII, _escaped, text)
    if "::" in text:
        text = re.sub(_LINE_COMMAND, lambda match: f"{match[0][:-1]}\\x3a", text)
    return re.sub(_COMMAND, r"\\x23", text) if "##" in text else text


def terminal_lines(lines: Iterable[str]) -> Lines:
    """Return a text of these lines, each as `terminal` returns it: only line breaks between the lines are line breaks."""
    return Lines("\n".join(map(terminal, lines)))


def github(text: str) -> str:
    """Return the text as the message of a workflow command of GitHub: it stays in the message, with its line breaks.

    Source: `_escapeDataMappings` in github.com/actions/runner, src/Runner.Common/ActionCommand.cs, seen 2026-11-28.
    """
    encoded = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return re.sub(_NOT_ASCII, _escaped, encoded)


def github_property(text: str) -> str:
    """Return the text as the value of a property of a workflow command of GitHub, such as `file` or `title`.

    Source: `_escapePropertyMappings` in the same file as for `github`.
    """
    return github(text).replace(":", "%3A").replace(",", "%2C")


def json_text(text: str) -> str:
    r"""Return JSON text with the same data, in which hidden characters and commands to the CI are escape sequences.

    JSON allows U+007F to U+009F and U+202E in strings as they are, and `json.dumps` leaves them so with `ensure_ascii=False`.
    An unpaired surrogate, which many readers of JSON reject, becomes the text of its escape sequence.
    """
    if not text.isascii() or "\x7f" in text:
        text = re.sub(_NOT_ASCII_IN_JSON, lambda run: _replaced(run, _json_escape), text)
    return re.sub(_COMMAND, r"\\u0023", text) if "##" in text else text


def csv_cell(text: str) -> str:
    """Return the text as a cell of a table that a spreadsheet may open: a quote before what would be a formula.

    Source: owasp.org/www-community/attacks/CSV_Injection. `csv_text` is the reverse.
    """
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def csv_text(cell: str) -> str:
    """Return the text of a cell, without the quote that `csv_cell` puts before a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell


def sarif(text: str) -> str:
    """Return the text as a plain message of SARIF: what has the form of an embedded link, `[text](address)`, is text.

    Source: docs.oasis-open.org/sarif/sarif/v2.1.0, section 3.11.6; a backslash escapes a square bracket.
    """
    return re.sub(_EMBEDDED_LINK, r"\\[\1\\](", text) if "](" in text else text


def shell(text: str) -> str:
    """Return the text as one argument of a shell command, in quotes where it needs them: users paste hints."""
    from shlex import quote as quote_argument

    return quote_argument(text)


def visible(text: str) -> str:
    r"""Return the text in one line, without a character that has an effect and no shape.

    Each run of white space and line breaks becomes a space. Control characters, bidirectional controls such as U+202E,
    zero-width characters, tags and unpaired surrogates become their escape sequence, such as `\u202e`.
    """
    return re.sub(_NOT_ASCII, _escaped, " ".join(text.split()))


def markdown(text: str) -> Markdown:
    """Return Markdown that shows the text as it is, in one line, for a paragraph, a list item or a table cell.

    Characters with a meaning in Markdown become character references, which "cannot be used in place of symbols indicating
    structure" (spec.commonmark.org 0.31.2, section 6.2): no markup, link, table cell or mark of a generated README can come
    from the text. Markdown stays as it is.
    """
    if isinstance(text, Markdown):
        return text
    line, head = visible(text), ""
    if block := re.match(_BLOCK_START, line):
        head, line = line[: block.end() - 1] + _reference(block[0][-1]), line[block.end() :]
    return Markdown(head + re.sub(_STRUCTURE, lambda match: _reference(match[0]), line))


def markdown_message(text: str) -> Markdown:
    """Return Markdown of a message of zoo, for a place inside a line: `markdown`, but a command in backquotes is a code span."""
    pieces = re.split(f"({_CODE_SPAN})", visible(text))  # every second one is a code span
    pieces[::2] = (re.sub(_STRUCTURE, lambda match: _reference(match[0]), piece) for piece in pieces[::2])
    return Markdown("".join(pieces))


def markdown_link(text: str, address: str) -> Markdown:
    """Return a link that shows the text; without a link, the text and the address, when the address is not a web or mail
    address in plain ASCII, or hides its host behind a user name.
    """
    from urllib.parse import quote

    shown = markdown(text)
    if not is_linkable(address):
        return shown if text == address else Markdown(f"{shown} ({markdown(address)})")
    return Markdown(f"[{shown}]({quote(address, safe=_KEPT_IN_ADDRESS).replace('&', '&amp;')})")


def markdown_code(text: str) -> Markdown:
    """Return the text as a code span; as plain text when it has characters that end a code span or a table cell."""
    return Markdown(f"`{text}`") if re.fullmatch(_PLAIN_CODE, text) else markdown(text)


def code_text(text: str) -> Markdown:
    """Return the text in one line, for a place inside a fenced code block. No mark can come from it: `<` is `&lt;`."""
    return Markdown(visible(text).replace("<", "&lt;").replace(">", "&gt;"))


def markdown_fence(text: str, language: str = "") -> Markdown:
    """Return the lines of the text, with their indentation, as a fenced code block that none of them ends."""
    lines = [_indent(line) + code_text(line) for line in text.splitlines()]
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown("\n".join((f"{fence}{language}", *lines, fence)))


def is_linkable(address: str) -> bool:
    """Whether it is a web or mail address in plain ASCII that shows its host."""
    from urllib.parse import urlsplit

    if not re.fullmatch(_ADDRESS, address):
        return False
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return False
    if parts.scheme == "mailto":
        return re.fullmatch(r"[\w.+-]+@[\w.-]+", parts.path) is not None and not parts.query
    return parts.scheme in LINK_SCHEMES and bool(host) and "@" not in parts.netloc


def _indent(line: str) -> str:
    line = line.expandtabs(4)
    return " " * (len(line) - len(line.lstrip(" ")))


def _escaped(run: re.Match[str]) -> str:
    return _replaced(run, _escape)


def _replaced(run: re.Match[str], escape: Callable[[str], str]) -> str:
    """Return a run of characters that are not printable ASCII, with those escaped that have no shape or are marks too many."""
    shown, marks = [], 0
    for position, character in enumerate(run[0], run.start()):
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        is_hidden = category in _HIDDEN or character in _BLANK or _is_selector(character) or marks > MOST_MARKS
        shown.append(escape(character) if is_hidden and not _shapes_neighbours(run.string, position) else character)
    return "".join(shown)


def _shapes_neighbours(text: str, position: int) -> bool:
    """Return whether a joiner or variation selector changes how its neighbours look, as scripts and emoji need it.

    Source: RFC 5892, appendix A.1 and A.2 (joiners after a virama and between Arabic letters); Unicode TS 51, 1.4.9 (emoji).
    """
    character, before, after = text[position], text[position - 1 : position], text[position + 1 : position + 2]
    if not before:
        return False
    if character in _JOINERS:
        is_emoji = unicodedata.category(before) in ("So", "Sk") or before == "\ufe0f"
        return is_emoji or unicodedata.combining(before) == _VIRAMA or unicodedata.bidirectional(before) == "AL"
    return _is_selector(character) and (after == "\u20e3" or not (before.isascii() or _is_selector(before)))


def _is_selector(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


def _escape(character: str) -> str:
    code = ord(character)
    digits = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return _NAMED_ESCAPES.get(character, digits)


def _json_escape(character: str) -> str:
    if unicodedata.category(character) == "Cs":
        return f"\\{_escape(character)}"
    codes = character.encode("utf-16-be").hex()
    return "".join(f"\\u{codes[start : start + 4]}" for start in range(0, len(codes), 4))


def _reference(character: str) -> str:
    named = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
    return named.get(character) or f"&#{ord(character)};"
