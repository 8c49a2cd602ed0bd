"""Cards -> what their format and the consistency rules say, with what is known from earlier runs.

A card's verdicts are remembered with a digest of the card and of every card and family that it shares a name, URL, digest,
size or collection with: after an edit only the groups that it touches are judged again. Imports consistency, catalog, index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from zoo import consistency, index
from zoo.card import Card, card_sha256
from zoo.catalog import Broken, Catalog
from zoo.checks.consistency import judged
from zoo.checks.schema import findings_of
from zoo.consistency import FINE, Verdict
from zoo.document import display
from zoo.errors import UnknownName, UsageError
from zoo.index import Key, Slot
from zoo.report import Finding, ReportSubject, Status

T = TypeVar("T")

FORMAT_RULE = "schema"
"""How `--select` and `--ignore` call the check of the format."""


@dataclass(frozen=True, slots=True)
class Checked:
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
) -> Iterator[Checked]:
    """What is found about the cards at these positions of the catalogue, and about these files, in their order.

    select, ignore: rules by id or the beginning of one up to a `-`. Raises UnknownName for one that there is not.
    """
    wanted = chosen_rules(select, ignore)
    known = _Verdicts(catalog)
    for position in positions:
        yield _checked(catalog.cards.slots[position], known.of(position), wanted, catalog)
    known.keep()
    if FORMAT_RULE in wanted:
        for item in broken:
            yield Checked(item.name, item.document.label, (), tuple(findings_of(item)))


def chosen_rules(select: Sequence[str], ignore: Sequence[str]) -> frozenset[str]:
    """The ids that remain; an id, or its beginning up to a `-` for all that begin so."""
    every = (*consistency.rules(), FORMAT_RULE)

    def fitting(asked: str) -> set[str]:
        fits = {rule for rule in every if rule == asked or rule.startswith(f"{asked}-")}
        if not fits:
            raise UnknownName("rule", asked, every)
        return fits

    kept = {rule for asked in select for rule in fitting(asked)} or set(every)
    return frozenset(kept - {rule for asked in ignore for rule in fitting(asked)})


def explained(rule: str) -> str:
    """What a rule says, why, and what it proposes; all of them, a line each, for `all`."""
    rules = consistency.rules()
    if rule == "all":
        return "".join(f"{item.id:<20} {item.why}\n" for item in rules.values())
    if rule not in rules:
        raise UnknownName("rule", rule, rules)
    item = rules[rule]
    told = " ".join((item.judge.__doc__ or "").split())
    return f"{item.id}: {item.why}\n\n{told}\n\nmend: {item.mend}\nsilence: ignore: [{{rule: consistency/{item.id}, reason: ...}}] in the card\n"


def shard(every: Sequence[T], part: str) -> list[T]:
    """The i-th of n parts, given as `i/n`: every n-th, from the i-th on. Raises UsageError for what is no part."""
    number, slash, count = part.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--shard {part} is no part", mend="give I/N, from 1/N to N/N")
    return list(every)[int(number) - 1 :: int(count)]


def _ok(name: str, rule: str, where: str) -> Finding:
    is_format = rule == FORMAT_RULE
    return Finding(name, "schema" if is_format else "consistency", "/" if is_format else rule, Status.OK, where=where)


def _checked(slot: Slot, verdicts: Known, wanted: frozenset[str], catalog: Catalog) -> Checked:
    fine = _wanted((*verdicts.fine, FORMAT_RULE), wanted)
    found = tuple(_finding(slot, item) for item in verdicts.found if item[0].partition("#")[0] in wanted)
    return Checked(slot.name, display(slot.file), fine, found, lambda: _subject(slot, catalog))


@lru_cache(maxsize=1024)
def _wanted(fine: tuple[str, ...], wanted: frozenset[str]) -> tuple[str, ...]:
    """The rules that were asked for; many cards were looked at by the same ones."""
    return tuple(rule for rule in fine if rule in wanted)


def _subject(slot: Slot, catalog: Catalog) -> ReportSubject:
    card = slot.built(Card)
    return ReportSubject(slot.name, card_sha256(card, catalog.collection_of(card)))


# --- what is known from earlier runs ------------------------------------------------------------------------------

_Plain = tuple[Any, ...]
"""A verdict as plain data: key, status, file or None for the card's own, line, column, reason, mend, claimed, measured, unit."""


@dataclass(frozen=True, slots=True)
class Known:
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
            index.name_of(sorted({slot.file.rpartition("/")[0] for slot in catalog.cards.slots}), "verdicts")
            if self.is_large
            else ""
        )
        self.kept: dict[str, tuple[int, tuple[str, ...], tuple[_Plain, ...]]] = (
            (index.remembered(self.file) or {}) if self.is_large else {}
        )
        self.new: dict[str, tuple[int, tuple[str, ...], tuple[_Plain, ...]]] = {}

    def of(self, position: int) -> Known:
        slot, context = self.catalog.cards.slots[position], self.contexts[position]
        path = slot.file
        kept = self.kept.get(path)
        if kept is not None and kept[0] == context:
            return Known(*kept)
        judged_now = _judge(slot, context, self.catalog)
        self.new[path] = (context, judged_now.fine, judged_now.found)
        return judged_now

    def keep(self) -> None:
        """Remember what was judged now."""
        if self.new and self.is_large:
            here = {slot.file for slot in self.catalog.cards.slots}
            index.remember(self.file, {path: value for path, value in (self.kept | self.new).items() if path in here})


def _judge(slot: Slot, context: int, catalog: Catalog) -> Known:
    card: Card = slot.built(Card)
    fine: list[str] = []
    found: list[_Plain] = []
    for rule, verdicts in judged(card, catalog):
        if verdicts[0] is FINE:
            fine.append(rule)
            continue
        found += [_plain(card, rule, number, verdict) for number, verdict in enumerate(verdicts, 1)]
    return Known(context, _shared(tuple(fine)), tuple(found))


_SHARED: dict[tuple[str, ...], tuple[str, ...]] = {}


def _shared(fine: tuple[str, ...]) -> tuple[str, ...]:
    """One tuple for all cards that the same rules looked at: the index holds it once."""
    return _SHARED.setdefault(fine, fine)


def _plain(card: Card, rule: str, number: int, verdict: Verdict) -> _Plain:
    place = verdict.where or card.where.place
    file = None if place.file == card.where.document.label else str(Path(place.file).absolute())
    key = rule if number == 1 else f"{rule}#{number}"
    status, reason, mend = verdict.status.value, verdict.reason, verdict.mend
    accepted = next(
        (item for item in card.ignore if item.rule in ("consistency", f"consistency/{rule}", f"consistency/{key}")),
        None,
    )
    if accepted is not None and verdict.status is Status.SUSPECT:
        status, reason, mend = Status.UNCLAIMED.value, f"accepted by the card: {accepted.reason}", ""
    return (key, status, file, place.line, place.column, reason, mend, verdict.claimed, verdict.measured, verdict.unit)


def _finding(slot: Slot, plain: _Plain) -> Finding:
    key, status, file, line, column, reason, mend, claimed, measured, unit = plain
    where = f"{display(file or slot.file)}:{line}:{column}"
    return Finding(
        slot.name, "consistency", key, Status(status), claimed, measured, unit, where=where, reason=reason, mend=mend
    )


def _contexts(catalog: Catalog) -> list[int]:
    """For each card a number that changes when it, or anything that a rule may see beside it, does."""
    sums: dict[Key, int] = {}
    digests = [int(slot.sha256[:16] or "0", 16) for slot in catalog.cards.slots]
    for slot, digest in zip(catalog.cards.slots, digests, strict=True):
        for key in slot.keys:
            sums[key] = sums.get(key, 0) + digest
    families: dict[str, int] = {}
    for item in catalog.collections.slots:
        families[item.name] = families.get(item.name, 0) + _digest(item.sha256)
    around = hash(tuple(_digest(item.sha256) for item in catalog.datasets.slots))
    return [
        hash((digest, around, *(sums[key] + families.get(str(key[1]), 0) if key[0] == "collection" else sums[key] for key in slot.keys)))
        for slot, digest in zip(catalog.cards.slots, digests, strict=True)
    ]  # fmt: skip


def _digest(sha256: str) -> int:
    return int(sha256[:15], 16)


def changed_since(catalog: Catalog, revision: str, folders: Sequence[Path]) -> tuple[list[int], list[Broken]]:
    """(positions, broken): the cards that git says changed since a revision, and those that they touch, before or now."""
    from zoo import changes

    touched = changes.since(revision, folders)
    if touched.is_everything:
        return list(range(len(catalog.cards))), list(catalog.broken)
    keys = set(touched.keys)
    for slot in catalog.cards.slots:
        if slot.path.resolve() in touched.paths:
            keys.update(key for key in slot.keys if key != ("collection", None))
    positions = sorted({position for key in keys for position in catalog.positions.get(key, ())})
    return positions, [item for item in catalog.broken if item.document.path.resolve() in touched.paths]


def texts(
    checked: Iterable[Checked], line: Callable[[Sequence[Finding]], str], at_once: int = 500
) -> Iterator[tuple[str, list[Checked]]]:
    """The lines about some cards at once, so that ten thousand are not written one by one."""
    batch: list[Checked] = []
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
