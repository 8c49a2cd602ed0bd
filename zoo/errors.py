"""The errors that zoo raises on purpose, each with its exit code.

    ZooError                    what is wrong, where, and how to fix it
      WrongContent        1     something that was checked is wrong: a card, a file, a claim
        CardError         1     a file that is not a valid card
      UsageError          2     a request that zoo cannot carry out as given
        UnknownName       2     an unknown name of a card, check, format or field
      CannotCheck         3     a request that failed: zoo could not measure or do it
        NotHere           3     the input is not on this machine and fetching was not requested
        TransferFailed    3     a download failed: network, incomplete body, no mirror left
        Refused           3     a publication that the report does not allow

`NotHere` becomes a `skipped` finding, any other `CannotCheck` an `unknown` one, `WrongContent` a `wrong` one.
This module imports no other module of zoo but the one that makes a message safe to show, when it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


class ZooError(Exception):
    """An error for people: `what` is wrong, with both values; `where`, as file:line:column; `hint`, a command or an edit."""

    exit_code = 3

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        """Return the message for a terminal; names and other foreign text in it have no effect there."""
        from zoo.runtime.text import terminal

        head = f"{terminal(self.where)}: {terminal(self.what)}" if self.where else terminal(self.what)
        return f"{head}\n  hint: {terminal(self.hint)}" if self.hint else head

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the attributes: by default, unpickling calls the class with the message, which some classes do not take."""
        return _recreate, (type(self), self.args, dict(self.__dict__))


class WrongContent(ZooError):
    """Something that was checked is wrong: a file's bytes, a claim, a card."""

    exit_code = 1


class CardError(WrongContent):
    """A file that is not a valid card; `where` has line and column."""


class UsageError(ZooError):
    """A request that zoo cannot carry out as given."""

    exit_code = 2


class UnknownName(UsageError):
    """An unknown name; the hint gives the nearest known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, where: str = "") -> None:
        super().__init__(f"unknown {kind} {name!r}", where=where, hint=did_you_mean(nearest(name, known)))
        self.name = name


class CannotCheck(ZooError):
    """A request that failed: zoo could not measure or do it. The message says why."""

    exit_code = 3


class NotHere(CannotCheck):
    """The input is not on this machine and fetching was not requested; `hint` says how to get it."""


class TransferFailed(CannotCheck):
    """A download failed before all bytes arrived."""


class Refused(CannotCheck):
    """A publication that the report does not allow; `exit_code` is the report's own code under `--strict`."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", exit_code: int = 3) -> None:
        super().__init__(what, where=where, hint=hint)
        self.exit_code = exit_code


def _recreate(cls: type[ZooError], args: tuple[Any, ...], state: dict[str, Any]) -> ZooError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three known names that resemble this one, the closest first.

    The cutoff of 0.6 is difflib's own default: below it, the guesses are no longer useful.
    """
    import difflib

    return difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)


def did_you_mean(names: Sequence[str], otherwise: str = "") -> str:
    """Return the hint that offers these names, or `otherwise` when there are none."""
    return f"did you mean {' or '.join(map(repr, names))}?" if names else otherwise
