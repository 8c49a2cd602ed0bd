"""Parse numbers in text with their unit and rounding: `82.88%`, `54.75G`, `25.6M`, `3x224x224`.

A function returns None for a text that it cannot parse with certainty; it never guesses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation


@dataclass(frozen=True, slots=True)
class Quantity:
    """A parsed number. rounded_to: the step of its last digit. unit: `percent` when the text has a % sign."""

    value: float
    rounded_to: float
    unit: str = ""


_NUMBER = re.compile(r"\s*([-+]?(?:\d[\d_]*(?:,\d{3})*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?)\s*(.*?)\s*\Z", re.DOTALL)
_MULTIPLES = {"": 0, "k": 3, "m": 6, "g": 9, "b": 9, "t": 12}
_WORDS = re.compile(r"(?i)\s*(?:gmacs?|macs?|flops?|params?|parameters)?\Z")
MOST_DIGITS = 40
"""A number with more digits than this is not a count, and arithmetic on it would not finish."""


def measure(written: object) -> Quantity | None:
    """Return a result: a number, or a number in text with or without a % sign. None for any other value."""
    number, rest = _split(written)
    if number is None or rest not in ("", "%", "％"):
        return None
    return Quantity(_plain(number), _step(number), "percent" if rest else "")


def count(written: object, *, times: int = 0) -> Quantity | None:
    """Return a count: a number, or text such as `54.75G`, `25.6 M` or `33 GFLOPs`. times: a power of ten from its heading.

    Three or more trailing zeros of a whole number count as rounding: 25,560,000 is rounded to 10,000.
    """
    number, rest = _split(written)
    if number is None:
        return None
    letter = rest[:1].lower() if rest[:1].lower() in _MULTIPLES and rest[:1] else ""
    if not _WORDS.match(rest[len(letter) :]):
        if not _WORDS.match(rest):
            return None
        letter = ""
    scaled = number.scaleb(_MULTIPLES[letter] + times)
    step = Decimal(str(_step(number))).scaleb(_MULTIPLES[letter] + times)
    return Quantity(_plain(scaled), max(float(step), _trailing(scaled)))


def heading_multiple(heading: str) -> int:
    """Return the power of ten of the unit in a heading: 6 for `Params (M)`, 9 for `FLOPs(G)`, 0 without a unit."""
    match = re.search(r"[(\[]\s*([KkMGBT])[A-Za-z]*\s*[)\]]", heading)
    return _MULTIPLES[match[1].lower()] if match else 0


def whole_bytes(written: object) -> int | None:
    """Return a file size in bytes, None when the text does not give it exactly, as `97.8 MB`."""
    number, rest = _split(written)
    exact = number is not None and number == number.to_integral_value() and rest.lower() in ("", "b", "byte", "bytes")
    return int(number) if exact and number is not None and number > 0 else None


def image_size(written: object) -> tuple[int, int, int] | None:
    """Return (channels, height, width) from `224`, `'224'`, `224x224`, `3x224x224`, `(224, 224)` or a list of numbers."""
    if isinstance(written, bool):
        return None
    if isinstance(written, int):
        sides: Sequence[int] = (written,)
    elif isinstance(written, str):
        if not re.fullmatch(r"\s*[(\[]?\s*\d{1,5}(?:\s*[x×X*,]\s*\d{1,5}){0,2}\s*[)\]]?\s*", written):
            return None
        sides = [int(part) for part in re.findall(r"\d+", written)]
    elif isinstance(written, list) and all(isinstance(part, int) and not isinstance(part, bool) for part in written):
        sides = written
    else:
        return None
    if not 1 <= len(sides) <= 3 or not all(1 <= side <= 100_000 for side in sides):
        return None
    if len(sides) == 3:
        return (sides[0], sides[1], sides[2]) if sides[0] <= 4 else None
    return (3, sides[0], sides[-1])


def percent(value: float, unit: str | None) -> float:
    """Return a result in percent. Its unit is `fraction` or `percent`; a result without a unit is in percent."""
    return value * 100 if unit == "fraction" else value


def whole(unit: str | None) -> float:
    """Return 100 % in a result's unit: 1.0 for `fraction`, else 100.0."""
    return 1.0 if unit == "fraction" else 100.0


def percent_text(value: float, rounded_to: float | None) -> str:
    """Return a percentage such as `82.88%`, with the decimals of its rounding, or of the value when it is exact."""
    step = Decimal(str(value if rounded_to is None else rounded_to))
    return f"{value:.{max(0, -int(step.normalize().as_tuple().exponent))}f}%"


def _split(written: object) -> tuple[Decimal | None, str]:
    """Return the number at the beginning of a value, and the text behind it."""
    if isinstance(written, bool) or not isinstance(written, (int, float, str)):
        return None, ""
    match = _NUMBER.match(str(written)) if len(str(written)) <= MOST_DIGITS + 24 else None
    if match is None:
        return None, ""
    try:
        number = Decimal(match[1].replace(",", "").replace("_", ""))
    except InvalidOperation:
        return None, ""
    return (number, match[2]) if abs(number.adjusted()) <= MOST_DIGITS else (None, "")


def _plain(number: Decimal) -> float:
    """Return an int when the number is whole and written without decimals, else a float."""
    return (
        int(number) if number == number.to_integral_value() and int(number.as_tuple().exponent) >= 0 else float(number)
    )


def _step(number: Decimal) -> float:
    step = Decimal(1).scaleb(int(number.as_tuple().exponent))
    return _plain(step)


def _trailing(number: Decimal) -> float:
    """Return 10,000 for 25,560,000: three or more zeros at the end of a whole number come from rounding."""
    if number != number.to_integral_value() or number == 0:
        return 0
    zeros = len(text := str(int(number))) - len(text.rstrip("0"))
    return 10**zeros if zeros >= 3 else 0


_DIGEST = re.compile(r"[-_]([0-9a-f]{8,64})(?=(?:[-_.][0-9]{6,8})?(?:\.[A-Za-z][A-Za-z0-9]*)*\Z)")
_DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\Z")


def digest_in_name(name: str) -> str | None:
    """Return the first 8 to 64 hex digits of a SHA-256 in the name of a file or URL, None for a date such as 20210528.

    They precede the extension and follow `-` (torch.hub's convention: pytorch.org/docs/stable/hub.html,
    load_state_dict_from_url, check_hash, seen 2026-11-24) or `_`. A date may stand between them and the extension. After
    `_`, they need a letter and a digit: `_00160000` is a number of iterations.
    """
    last = re.split(r"[?#]", name, maxsplit=1)[0].rpartition("/")[2]
    match = _DIGEST.search(last)
    if match is None or _DATE.match(match[1]) or re.search(r"(?i)(?:iter|epoch|step)s?\Z", last[: match.start()]):
        return None
    has_both = re.search("[a-f]", match[1]) and re.search("[0-9]", match[1])
    return match[1] if last[match.start()] == "-" or has_both else None
