"""Recognize typing errors in names."""

from __future__ import annotations


def is_typo(first: str, second: str) -> bool:
    """Return whether two names differ by one typing error: one letter added, missing or changed, or two letters swapped.

    A different digit is not a typing error: resnet50 and resnet51, host1 and host2 are different things. Case is ignored.
    """
    first, second = first.lower(), second.lower()
    if first == second or abs(len(first) - len(second)) > 1 or min(len(first), len(second)) < 4:
        return False
    start = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    a, b = first[start:], second[start:]
    if a[1:] == b[1:]:
        changed = a[:1] + b[:1]
    elif a[1:] == b:
        changed = a[:1]
    elif a == b[1:]:
        changed = b[:1]
    elif a[:2] == b[:2][::-1] and a[2:] == b[2:]:
        changed = a[:2]
    else:
        return False
    return not any(letter.isdigit() for letter in changed)
