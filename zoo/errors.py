"""Every error that zoo raises on purpose, with the exit code that it becomes.

    ZooError                    what is wrong, where, and how to mend it
      WrongContent        1     something that was checked is wrong: a card, a file, a claim
        CardError         1     a card file that cannot be read as a card
      UsageError          2     a request that cannot be carried out as it was made
        UnknownName       2     a name that no card, check, format or option has
      CannotCheck         3     asked for, and could not be found out or done
        NotHere           3     its input is not on this machine and fetching was not asked for
        TransferFailed    3     a transport gave up: network, short body, mirrors gone
        Refused           3     a publish that the evidence does not allow

`NotHere` becomes a `skipped` finding, any other `CannotCheck` an `unknown` one, `WrongContent` a `wrong` one.
This module imports nothing of zoo.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class ZooError(Exception):
    """An error for people: `what` is wrong with both values, `where` it stands, `hint` as a command or an edit."""

    exit_code = 3

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  hint: {self.hint}" if self.hint else head

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as it is: by default an exception is made anew from its message, which not every class here takes."""
        return _recreate, (type(self), self.args, dict(self.__dict__))


class WrongContent(ZooError):
    """Something that was checked is wrong: a file's bytes, a claim, a card."""

    exit_code = 1


class CardError(WrongContent):
    """A file that cannot be read as a card; `where` has line and column."""


class UsageError(ZooError):
    """A request that cannot be carried out as it was made."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that nothing has; the message lists the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, where: str = "") -> None:
        near = nearest(name, known)
        hint = f"did you mean {' or '.join(near)}?" if near else ""
        super().__init__(f"no {kind} is called {name!r}", where=where, hint=hint)
        self.name = name


class CannotCheck(ZooError):
    """Asked for, and could not be found out or done; says why."""

    exit_code = 3


class NotHere(CannotCheck):
    """The input is not on this machine and fetching was not asked for; `hint` says how to get it."""


class TransferFailed(CannotCheck):
    """A transport gave up before the bytes were here."""


class Refused(CannotCheck):
    """A publish that the evidence does not allow; `exit_code` is the strict code of the report that stands in the way."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", exit_code: int = 3) -> None:
        super().__init__(what, where=where, hint=hint)
        self.exit_code = exit_code


def _recreate(cls: type[ZooError], args: tuple[Any, ...], state: dict[str, Any]) -> ZooError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three of the known names that look most like this one, the closest first.

    The cutoff of 0.6 is difflib's own default: below it the guesses stop helping.
    """
    import difflib

    return difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
