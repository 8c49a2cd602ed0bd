"""Compare names that people typed."""

from __future__ import annotations


def is_typo(first: str, second: str) -> bool:
    """Whether a name is another one with one slip of the hand: a letter added, left out, changed, or two swapped.

    A changed digit is no slip: resnet50 and resnet51, host1 and host2 are different things. Case does not count.
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
