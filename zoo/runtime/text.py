"""Make foreign text safe for the medium that shows it: one function for each medium.

Foreign text is all that zoo did not write: values of cards, names of files and tensors, what servers and libraries say. It may
contain line breaks, markup, terminal sequences, and characters that no reader sees.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, urlsplit

LINK_SCHEMES = frozenset({"https", "http", "mailto"})
"""The schemes of addresses that `markdown_link` makes a link of. Others, such as `javascript`, stay text."""
_JOINERS = "\u200c\u200d"
"""The invisible characters that scripts and emoji need: the zero-width non-joiner and joiner (Unicode 16.0, chapter 23.2)."""
_STRUCTURE = re.compile(
    r"""
    [\\`*\[\]<>&|~$@]                     # emphasis, code, links, HTML, character references, tables, formulas, mentions
    | (?<![^\W_])_ | _(?![^\W_])          # emphasis, but not the one in `top_5`
    | :(?=/) | (?<=[^\W\d_]):(?!\s)       # `https://`, `javascript:`
    | (?<!\w):(?=[\w+-])                  # emoji, `:tada:`
    | (?<=www)\.                          # an address without a scheme
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""The characters with a meaning inside a line of GitHub Flavored Markdown (github.github.com/gfm 0.29)."""
_BLOCK_START = re.compile(r"[#+=-]|[0-9]{1,9}[.)](?=\s|\Z)")
"""What makes a heading, a list item or a rule of the line that it begins."""
_PLAIN_CODE = re.compile(r"[A-Za-z0-9_.,:=/+@()\[\]{}' -]*[A-Za-z0-9_.,:=/+@()\[\]{}'-]")
_KEPT_IN_ADDRESS = "!#$%&'*+,-./:;=?@_~"
_ADDRESS = re.compile(r"[!#-;=?-Z_a-z~]+")
"""Printable ASCII without quotes, spaces, backslashes, backticks, carets, pipes, braces, square and angle brackets."""


class Markdown(str):
    """Text that is safe Markdown. A str that is not of this class still has to pass `markdown`."""

    __slots__ = ()


def visible(text: str) -> str:
    r"""Return the text in one line, without a character that has an effect and no shape.

    Each run of white space and line breaks becomes a space. Control characters, bidirectional controls such as U+202E,
    zero-width characters, tags and unpaired surrogates become their escape sequence, such as `\u202e`.
    """
    joined = " ".join(text.split())
    return joined if joined.isascii() and joined.isprintable() else "".join(map(_visible, joined))


def markdown(text: str) -> Markdown:
    """Return Markdown that shows the text as it is, in one line, for a paragraph, a list item or a table cell.

    Characters with a meaning in Markdown become character references, which "cannot be used in place of symbols indicating
    structure" (spec.commonmark.org 0.31.2, section 6.2): no markup, link, table cell or mark of a generated README can come
    from the text. Markdown stays as it is.
    """
    if isinstance(text, Markdown):
        return text
    line, head = visible(text), ""
    if block := _BLOCK_START.match(line):
        head, line = line[: block.end() - 1] + _reference(block[0][-1]), line[block.end() :]
    return Markdown(head + _STRUCTURE.sub(lambda match: _reference(match[0]), line))


def markdown_link(text: str, address: str) -> Markdown:
    """Return a link that shows the text; without a link, the text and the address, when the address is not a web or mail
    address in plain ASCII, or hides its host behind a user name.
    """
    shown = markdown(text)
    if not _is_linkable(address):
        return shown if text == address else Markdown(f"{shown} ({markdown(address)})")
    return Markdown(f"[{shown}]({quote(address, safe=_KEPT_IN_ADDRESS).replace('&', '&amp;')})")


def markdown_code(text: str) -> Markdown:
    """Return the text as a code span; as plain text when it has characters that end a code span or a table cell."""
    return Markdown(f"`{text}`") if _PLAIN_CODE.fullmatch(text) else markdown(text)


def markdown_fence(text: str, language: str = "") -> Markdown:
    """Return the lines of the text as a fenced code block, with `&lt;` for `<`, so that no line can be a mark or end it."""
    lines = [_indent(line) + visible(line).replace("<", "&lt;") for line in text.splitlines()]
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown("\n".join((f"{fence}{language}", *lines, fence)))


def _is_linkable(address: str) -> bool:
    if not _ADDRESS.fullmatch(address):
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


def _visible(character: str) -> str:
    if unicodedata.category(character) not in ("Cc", "Cf", "Cs") or character in _JOINERS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _reference(character: str) -> str:
    named = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
    return named.get(character) or f"&#{ord(character)};"
