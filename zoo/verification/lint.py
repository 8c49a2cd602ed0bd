"""Cards -> what their format and the consistency rules say, with what is known from earlier runs.

A card's verdicts are remembered with a digest of the card and of every card and family that it shares a name, URL, digest,
size or collection with: after an edit only the groups that it touches are judged again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from zoo.errors import UnknownName, UsageError
from zoo.registry import index
from zoo.registry.card import Card, card_sha256
from zoo.registry.catalog import Broken, Catalog
from zoo.registry.document import display
from zoo.registry.index import IndexEntry, Key
from zoo.verification import rules
from zoo.verification.checks.consistency import judged
from zoo.verification.checks.schema import findings_of
from zoo.verification.report import Finding, ReportSubject, Status
from zoo.verification.rules import FINE, Verdict

T = TypeVar("T")
FORMAT_RULE = "schema"
"""How `--select` and `--ignore` call the check of the format."""


@dataclass(frozen=True, slots=True)
class LintResult:
    """What was found about one file: which rules looked at it and found nothing, and what was found."""

    name: str
    where: str
    fine: tuple[str, ...] = ()
    found: tuple[Finding, ...] = ()
    card: Callable[[], ReportSubject] | None = field(default=None, compare=False, repr=False)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """A finding for each rule."""
        return (*(_ok(self.name, rule, self.where) for rule in self.fine), *self.found)

    @property
    def counted(self) -> tuple[Finding, ...]:
        """As many findings, of which those that are ok are one and the same: enough for a line of text."""
        return (*((_ok(self.name, self.fine[0], self.where),) * len(self.fine) if self.fine else ()), *self.found)


def validate(
    catalog: Catalog,
    positions: Iterable[int],
    broken: Iterable[Broken],
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Iterator[LintResult]:
    """What is found about the cards at these positions of the catalogue, and about these files, in their order.

    select, ignore: rules by id or the beginning of one up to a `-`. Raises UnknownName for one that there is not.
    """
    wanted = chosen_rules(select, ignore)
    known = _Verdicts(catalog)
    for position in positions:
        yield _checked(catalog.cards.entries[position], known.of(position), wanted, catalog)
    known.keep()
    if FORMAT_RULE in wanted:
        for item in broken:
            yield LintResult(item.name, item.document.label, (), tuple(findings_of(item)))


def chosen_rules(select: Sequence[str], ignore: Sequence[str]) -> frozenset[str]:
    """The ids that remain; an id, or its beginning up to a `-` for all that begin so."""
    every = (*rules.all_rules(), FORMAT_RULE)

    def fitting(asked: str) -> set[str]:
        fits = {rule for rule in every if rule == asked or rule.startswith(f"{asked}-")}
        if not fits:
            raise UnknownName("rule", asked, every)
        return fits

    kept = {rule for asked in select for rule in fitting(asked)} or set(every)
    return frozenset(kept - {rule for asked in ignore for rule in fitting(asked)})


def explained(rule: str) -> str:
    """What a rule says, why, and what it proposes; all of them, a line each, for `all`."""
    every = rules.all_rules()
    if rule == "all":
        return "".join(f"{item.id:<20} {item.why}\n" for item in every.values())
    if rule not in every:
        raise UnknownName("rule", rule, every)
    item = every[rule]
    told = " ".join((item.judge.__doc__ or "").split())
    return f"{item.id}: {item.why}\n\n{told}\n\nhint: {item.hint}\nsilence: ignore: [{{rule: consistency/{item.id}, reason: ...}}] in the card\n"


def shard(every: Sequence[T], part: str) -> list[T]:
    """The i-th of n parts, given as `i/n`: every n-th, from the i-th on. Raises UsageError for what is no part."""
    number, slash, count = part.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--shard {part} is no part", hint="give I/N, from 1/N to N/N")
    return list(every)[int(number) - 1 :: int(count)]


def _ok(name: str, rule: str, where: str) -> Finding:
    is_format = rule == FORMAT_RULE
    return Finding(name, "schema" if is_format else "consistency", "/" if is_format else rule, Status.OK, where=where)


def _checked(entry: IndexEntry, verdicts: KnownVerdicts, wanted: frozenset[str], catalog: Catalog) -> LintResult:
    fine = _wanted((*verdicts.fine, FORMAT_RULE), wanted)
    found = tuple(_finding(entry, item) for item in verdicts.found if item[0].partition("#")[0] in wanted)
    return LintResult(entry.name, display(entry.file), fine, found, lambda: _subject(entry, catalog))


@lru_cache(maxsize=1024)
def _wanted(fine: tuple[str, ...], wanted: frozenset[str]) -> tuple[str, ...]:
    """The rules that were asked for; many cards were looked at by the same ones."""
    return tuple(rule for rule in fine if rule in wanted)


def _subject(entry: IndexEntry, catalog: Catalog) -> ReportSubject:
    card = entry.built(Card)
    return ReportSubject(entry.name, card_sha256(card, catalog.collection_of(card)))


# --- what is known from earlier runs ------------------------------------------------------------------------------

_Plain = tuple[Any, ...]
"""A verdict as plain data: key, status, file or None for the card's own, line, column, reason, hint, claimed, measured, unit."""


@dataclass(frozen=True, slots=True)
class KnownVerdicts:
    """The verdicts on a card in its present company, as plain data."""

    context: int
    fine: tuple[str, ...]
    found: tuple[_Plain, ...]


class _Verdicts:
    """The verdicts on a catalogue's cards, judged when nothing is known of a card in its present company."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.contexts = _contexts(catalog)
        self.is_large = len(catalog.cards) >= index.FEWEST
        self.file = (
            index.name_of(sorted({entry.file.rpartition("/")[0] for entry in catalog.cards.entries}), "verdicts")
            if self.is_large
            else ""
        )
        self.kept: dict[str, tuple[int, tuple[str, ...], tuple[_Plain, ...]]] = (
            (index.remembered(self.file) or {}) if self.is_large else {}
        )
        self.new: dict[str, tuple[int, tuple[str, ...], tuple[_Plain, ...]]] = {}

    def of(self, position: int) -> KnownVerdicts:
        entry, context = self.catalog.cards.entries[position], self.contexts[position]
        path = entry.file
        kept = self.kept.get(path)
        if kept is not None and kept[0] == context:
            return KnownVerdicts(*kept)
        judged_now = _judge(entry, context, self.catalog)
        self.new[path] = (context, judged_now.fine, judged_now.found)
        return judged_now

    def keep(self) -> None:
        """Remember what was judged now."""
        if self.new and self.is_large:
            here = {entry.file for entry in self.catalog.cards.entries}
            index.remember(self.file, {path: value for path, value in (self.kept | self.new).items() if path in here})


def _judge(entry: IndexEntry, context: int, catalog: Catalog) -> KnownVerdicts:
    card: Card = entry.built(Card)
    fine: list[str] = []
    found: list[_Plain] = []
    for rule, verdicts in judged(card, catalog):
        if verdicts[0] is FINE:
            fine.append(rule)
            continue
        found += [_plain(card, rule, number, verdict) for number, verdict in enumerate(verdicts, 1)]
    return KnownVerdicts(context, _shared(tuple(fine)), tuple(found))


_SHARED: dict[tuple[str, ...], tuple[str, ...]] = {}


def _shared(fine: tuple[str, ...]) -> tuple[str, ...]:
    """One tuple for all cards that the same rules looked at: the index holds it once."""
    return _SHARED.setdefault(fine, fine)


def _plain(card: Card, rule: str, number: int, verdict: Verdict) -> _Plain:
    place = verdict.where or card.where.place
    file = None if place.file == card.where.document.label else str(Path(place.file).absolute())
    key = rule if number == 1 else f"{rule}#{number}"
    status, reason, hint = verdict.status.value, verdict.reason, verdict.hint
    accepted = next(
        (item for item in card.ignore if item.rule in ("consistency", f"consistency/{rule}", f"consistency/{key}")),
        None,
    )
    if accepted is not None and verdict.status is Status.SUSPECT:
        status, reason, hint = Status.UNCLAIMED.value, f"accepted by the card: {accepted.reason}", ""
    return (key, status, file, place.line, place.column, reason, hint, verdict.claimed, verdict.measured, verdict.unit)


def _finding(entry: IndexEntry, plain: _Plain) -> Finding:
    key, status, file, line, column, reason, hint, claimed, measured, unit = plain
    where = f"{display(file or entry.file)}:{line}:{column}"
    return Finding(
        entry.name, "consistency", key, Status(status), claimed, measured, unit, where=where, reason=reason, hint=hint
    )


def _contexts(catalog: Catalog) -> list[int]:
    """For each card a number that changes when it, or anything that a rule may see beside it, does."""
    sums: dict[Key, int] = {}
    digests = [int(entry.sha256[:16] or "0", 16) for entry in catalog.cards.entries]
    for entry, digest in zip(catalog.cards.entries, digests, strict=True):
        for key in entry.keys:
            sums[key] = sums.get(key, 0) + digest
    families: dict[str, int] = {}
    for item in catalog.collections.entries:
        families[item.name] = families.get(item.name, 0) + _digest(item.sha256)
    around = hash(tuple(_digest(item.sha256) for item in catalog.datasets.entries))
    return [
        hash((digest, around, *(sums[key] + families.get(str(key[1]), 0) if key[0] == "collection" else sums[key] for key in entry.keys)))
        for entry, digest in zip(catalog.cards.entries, digests, strict=True)
    ]  # fmt: skip


def _digest(sha256: str) -> int:
    return int(sha256[:15], 16)


def changed_since(catalog: Catalog, revision: str, folders: Sequence[Path]) -> tuple[list[int], list[Broken]]:
    """(positions, broken): the cards that git says changed since a revision, and those that they touch, before or now."""
    from zoo.registry import git

    touched = git.since(revision, folders)
    if touched.is_everything:
        return list(range(len(catalog.cards))), list(catalog.broken)
    keys = set(touched.keys)
    for entry in catalog.cards.entries:
        if entry.path.resolve() in touched.paths:
            keys.update(key for key in entry.keys if key != ("collection", None))
    positions = sorted({position for key in keys for position in catalog.positions.get(key, ())})
    return positions, [item for item in catalog.broken if item.document.path.resolve() in touched.paths]


def texts(
    checked: Iterable[LintResult], line: Callable[[Sequence[Finding]], str], at_once: int = 500
) -> Iterator[tuple[str, list[LintResult]]]:
    """The lines about some cards at once, so that ten thousand are not written one by one."""
    batch: list[LintResult] = []
    for item in checked:
        batch.append(item)
        if len(batch) >= at_once:
            yield "".join(line(_sorted(part.counted)) for part in batch), batch
            batch = []
    yield "".join(line(_sorted(part.counted)) for part in batch), batch


def _sorted(findings: Sequence[Finding]) -> Sequence[Finding]:
    return (
        sorted(findings, key=lambda finding: (finding.check, finding.key))
        if any(f.status is not Status.OK for f in findings)
        else findings
    )
