"""Turn the tensors' names in a file into the architecture's: remove common prefixes, apply the card's renames in order.

A rename's pattern comes from a card that anybody may have written. Python's `re` may need longer than the age of the
universe for `^(([a-z0-9._])+)+$` and a long name, so patterns are matched by RE2, in time proportional to the name's
length. RE2 has no look-around and no references to groups inside a pattern (github.com/google/re2/wiki/Syntax).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from zoo.errors import WrongContent
from zoo.registry.card import Rename

Value = TypeVar("Value")
PREFIXES = ("module.", "_orig_mod.")
"""The prefixes that torch.nn.DataParallel and torch.compile add to every name."""
MAX_NAME = 1000
"""The most characters of a tensor's name. The longest of timm 1.0.31 has fewer than 150."""
MAX_MATCHES = 1_000_000
"""The most matches of all renames in all names: each takes about 5 us."""
PATTERN_BYTES = 8 << 20
"""The memory of a compiled pattern, RE2's own default; a larger one is rejected."""
MAX_LISTED = 4
"""How many names a message lists."""


def under_own_names(named: Mapping[str, Value], renames: Sequence[Rename]) -> tuple[dict[str, Value], tuple[str, ...]]:
    """Return the values by the architecture's names instead of the file's, and a note for each step.

    Raises WrongContent, with the card's line, when a rename is not valid, matches no text, or gives two tensors the same
    name; without it, when a name of the file is too long.
    """
    values, notes = dict(named), list[str]()
    _refuse_odd_names(values)
    while prefix := next((item for item in PREFIXES if values and all(name.startswith(item) for name in values)), ""):
        values = {name.removeprefix(prefix): value for name, value in values.items()}
        notes.append(f"removed `{prefix}` from every name")
    left = [MAX_MATCHES]
    for rename in renames:
        count, values = len(values), _apply(rename, values, left)
        step = (
            "renamed tensors" if rename.replacement is not None else f"removed {count - len(values)} of {count} tensors"
        )
        notes.append(f"`{rename.pattern}` {step}")
    return values, tuple(notes)


def _refuse_odd_names(names: Iterable[str]) -> None:
    for name in names:
        if len(name) > MAX_NAME:
            raise WrongContent(f"the name of a tensor has {len(name)} characters, more than the limit of {MAX_NAME}")
        try:
            name.encode()
        except UnicodeEncodeError as error:  # half of a surrogate pair, which a pickle can have
            raise WrongContent(f"the name of a tensor is not valid text: {name!a}") from error


def check_rename(rename: Rename) -> None:
    """Raise WrongContent, with the card's line, when the pattern or the replacement is not valid."""
    _parse_replacement(rename, _compile(rename).groups)


def listed(names: Iterable[str]) -> str:
    """Return the first few names, with commas."""
    names = list(names)
    return ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")


def _apply(rename: Rename, named: Mapping[str, Value], left: list[int]) -> dict[str, Value]:
    pattern = _compile(rename)
    if rename.replacement is None:
        return {name: value for name, value in named.items() if next(_matches(rename, pattern, name), None) is None}
    pieces = _parse_replacement(rename, pattern.groups)
    names = {name: _substituted(rename, pattern, pieces, name, left) for name in named}
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        what = f"the rename {rename.pattern!r} gives two tensors the same name: {listed(twice)}"
        raise WrongContent(what, where=str(rename.where))
    return {names[name]: value for name, value in named.items()}


def _substituted(rename: Rename, pattern: Any, pieces: Sequence[str | int], name: str, left: list[int]) -> str:
    result, end = list[str](), 0
    for match in _matches(rename, pattern, name):
        left[0] -= 1
        if left[0] < 0:
            what = f"with the renames before it, it has more than {MAX_MATCHES} matches"
            raise _not_valid(rename, what, "match longer parts of the names")
        result.append(name[end : match.start()])
        result += [piece if isinstance(piece, str) else match.group(piece) or "" for piece in pieces]
        end = match.end()
    renamed = "".join((*result, name[end:]))
    if len(renamed) > MAX_NAME:
        raise _not_valid(rename, f"it makes a name of {len(renamed)} characters, more than {MAX_NAME}", "shorten it")
    return renamed


def _matches(rename: Rename, pattern: Any, name: str) -> Iterator[Any]:
    for match in pattern.finditer(name):
        if match.start() == match.end():
            hint = "match at least one character: to add a prefix, write the pattern `^(.)` and the replacement `prefix.\\1`"
            raise _not_valid(rename, f"it matches the empty text in {name}", hint)
        yield match


def _compile(rename: Rename) -> Any:
    """Return the compiled pattern. Raises WrongContent, with an equivalent in the hint where there is one."""
    import re2

    options = re2.Options()
    options.log_errors, options.max_mem = False, PATTERN_BYTES
    try:
        return re2.compile(rename.pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        for is_used, what, hint in _PYTHON_ONLY:
            if is_used(rename.pattern):
                raise _not_valid(rename, f"RE2 does not support {what}", hint) from error
        reason = error.args[0] if isinstance(error, re2.error) and error.args else "it is not text"
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise _not_valid(rename, reason, "see https://github.com/google/re2/wiki/Syntax") from error


_PYTHON_ONLY: tuple[tuple[Callable[[str], object], str, str], ...] = (
    (
        re.compile(r"\(\?<?=").search,
        "look-ahead and look-behind",
        "match the text in a group and put it back: `a(?=b)` as `a(b)`, with `\\1` in the replacement",
    ),
    (
        re.compile(r"\(\?<?!").search,
        "look-ahead and look-behind",
        "match what may stand there and put it back: `a(?!b)` as `a([^b]|$)`, with `\\1` in the replacement",
    ),
    (
        re.compile(r"(?<!\\)(?:\\\\)*\\[1-9]|\(\?P=").search,
        "references to groups",
        "write the pattern of the group once more; the replacement may use \\1 to \\9",
    ),
    (
        re.compile(r"\(\?>|[*+?}]\+").search,
        "possessive repetition",
        "leave out the second `+`, or the `?>`: RE2 never goes back",
    ),
    (re.compile(r"(?<!\\)(?:\\\\)*\\Z").search, "\\Z", "write `\\z`, or `$`"),
)
"""What Python's `re` supports and RE2 does not: its name, and what to write instead."""


def _parse_replacement(rename: Rename, groups: int) -> Sequence[str | int]:
    r"""Return the replacement as texts and numbers of groups. Raises WrongContent for other escapes than \0 to \9 and \\."""
    pieces: list[str | int] = []
    for escape, character, text in re.findall(r"(?s)(\\(.?))|([^\\]+)", rename.replacement or ""):
        if not escape:
            pieces.append(text)
        elif character == "\\":
            pieces.append("\\")
        elif character in tuple("0123456789") and int(character) <= groups:
            pieces.append(int(character))
        else:
            what = f"the replacement has {escape}, the pattern has {groups} {'groups' if groups != 1 else 'group'}"
            raise _not_valid(
                rename, what, "write \\0 for the match, \\1 to \\9 for its groups, and \\\\ for a backslash"
            )
    return pieces


def _not_valid(rename: Rename, reason: str, hint: str) -> WrongContent:
    if rename.replacement is None:
        what = f"{rename.pattern!r} is not a valid pattern: {reason}"
    else:
        what = f"{rename.pattern!r} -> {rename.replacement!r} is not a valid substitution: {reason}"
    return WrongContent(what, where=str(rename.where), hint=hint)
