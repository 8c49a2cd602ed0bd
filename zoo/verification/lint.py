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
from zoo.verification.checks.consistency import apply_rules
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
    violations: tuple[Finding, ...] = ()
    card: Callable[[], ReportSubject] | None = field(default=None, compare=False, repr=False)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """A finding for each rule."""
        return (*(_ok(self.name, rule, self.where) for rule in self.fine), *self.violations)

    @property
    def findings_to_count(self) -> tuple[Finding, ...]:
        """As many findings, of which those that are ok are one and the same: enough for a line of text."""
        return (*((_ok(self.name, self.fine[0], self.where),) * len(self.fine) if self.fine else ()), *self.violations)


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
    selected = select_rules(select, ignore)
    verdicts = _Verdicts(catalog)
    for position in positions:
        yield _lint_result(catalog.cards.entries[position], verdicts.of(position), selected, catalog)
    verdicts.save()
    if FORMAT_RULE in selected:
        for item in broken:
            yield LintResult(item.name, item.document.label, (), tuple(findings_of(item)))


def select_rules(select: Sequence[str], ignore: Sequence[str]) -> frozenset[str]:
    """The ids that remain; an id, or its beginning up to a `-` for all that begin so."""
    every = (*rules.all_rules(), FORMAT_RULE)

    def matching(selector: str) -> set[str]:
        matches = {rule for rule in every if rule == selector or rule.startswith(f"{selector}-")}
        if not matches:
            raise UnknownName("rule", selector, every)
        return matches

    selected = {rule for selector in select for rule in matching(selector)} or set(every)
    return frozenset(selected - {rule for selector in ignore for rule in matching(selector)})


def explain_rule(rule: str) -> str:
    """What a rule says, why, and what it proposes; all of them, a line each, for `all`."""
    every = rules.all_rules()
    if rule == "all":
        return "".join(f"{item.id:<20} {item.why}\n" for item in every.values())
    if rule not in every:
        raise UnknownName("rule", rule, every)
    item = every[rule]
    description = " ".join((item.judge.__doc__ or "").split())
    return f"{item.id}: {item.why}\n\n{description}\n\nhint: {item.hint}\nsilence: ignore: [{{rule: consistency/{item.id}, reason: ...}}] in the card\n"


def shard(items: Sequence[T], part: str) -> list[T]:
    """The i-th of n parts, given as `i/n`: every n-th, from the i-th on. Raises UsageError for what is no part."""
    number, slash, count = part.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--shard {part} is no part", hint="give I/N, from 1/N to N/N")
    return list(items)[int(number) - 1 :: int(count)]


def _ok(name: str, rule: str, where: str) -> Finding:
    is_format = rule == FORMAT_RULE
    return Finding(name, "schema" if is_format else "consistency", "/" if is_format else rule, Status.OK, where=where)


def _lint_result(entry: IndexEntry, known: KnownVerdicts, selected: frozenset[str], catalog: Catalog) -> LintResult:
    fine = _select((*known.fine, FORMAT_RULE), selected)
    violations = tuple(_finding(entry, item) for item in known.verdicts if item[0].partition("#")[0] in selected)
    return LintResult(entry.name, display(entry.file), fine, violations, lambda: _subject(entry, catalog))


@lru_cache(maxsize=1024)
def _select(fine: tuple[str, ...], selected: frozenset[str]) -> tuple[str, ...]:
    """The rules that were asked for; many cards were looked at by the same ones."""
    return tuple(rule for rule in fine if rule in selected)


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
    verdicts: tuple[_Plain, ...]


class _Verdicts:
    """The verdicts on a catalogue's cards, judged when nothing is known of a card in its present company."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.contexts = _contexts(catalog)
        self.is_large = len(catalog.cards) >= index.FEWEST
        self.file = (
            index.cache_name(sorted({entry.file.rpartition("/")[0] for entry in catalog.cards.entries}), "verdicts")
            if self.is_large
            else ""
        )
        self.remembered: dict[str, tuple[int, tuple[str, ...], tuple[_Plain, ...]]] = (
            (index.read_cache(self.file) or {}) if self.is_large else {}
        )
        self.new: dict[str, tuple[int, tuple[str, ...], tuple[_Plain, ...]]] = {}

    def of(self, position: int) -> KnownVerdicts:
        entry, context = self.catalog.cards.entries[position], self.contexts[position]
        path = entry.file
        remembered = self.remembered.get(path)
        if remembered is not None and remembered[0] == context:
            return KnownVerdicts(*remembered)
        judged = _judge(entry, context, self.catalog)
        self.new[path] = (context, judged.fine, judged.verdicts)
        return judged

    def save(self) -> None:
        """Remember what was judged now."""
        if self.new and self.is_large:
            paths = {entry.file for entry in self.catalog.cards.entries}
            index.write_cache(
                self.file, {path: value for path, value in (self.remembered | self.new).items() if path in paths}
            )


def _judge(entry: IndexEntry, context: int, catalog: Catalog) -> KnownVerdicts:
    card: Card = entry.built(Card)
    fine: list[str] = []
    plain_verdicts: list[_Plain] = []
    for rule, verdicts in apply_rules(card, catalog):
        if verdicts[0] is FINE:
            fine.append(rule)
            continue
        plain_verdicts += [_plain(card, rule, number, verdict) for number, verdict in enumerate(verdicts, 1)]
    return KnownVerdicts(context, _interned(tuple(fine)), tuple(plain_verdicts))


_INTERNED: dict[tuple[str, ...], tuple[str, ...]] = {}


def _interned(fine: tuple[str, ...]) -> tuple[str, ...]:
    """One tuple for all cards that the same rules looked at: the index holds it once."""
    return _INTERNED.setdefault(fine, fine)


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
    datasets_digest = hash(tuple(_digest(item.sha256) for item in catalog.datasets.entries))
    return [
        hash((digest, datasets_digest, *(sums[key] + families.get(str(key[1]), 0) if key[0] == "collection" else sums[key] for key in entry.keys)))
        for entry, digest in zip(catalog.cards.entries, digests, strict=True)
    ]  # fmt: skip


def _digest(sha256: str) -> int:
    return int(sha256[:15], 16)


def changed_since(catalog: Catalog, revision: str, folders: Sequence[Path]) -> tuple[list[int], list[Broken]]:
    """(positions, broken): the cards that git says changed since a revision, and those that they touch, before or now."""
    from zoo.registry import git

    touched = git.changes_since(revision, folders)
    if touched.has_dataset:
        return list(range(len(catalog.cards))), list(catalog.broken)
    keys = set(touched.keys)
    for entry in catalog.cards.entries:
        if entry.path.resolve() in touched.paths:
            keys.update(key for key in entry.keys if key != ("collection", None))
    positions = sorted({position for key in keys for position in catalog.positions.get(key, ())})
    return positions, [item for item in catalog.broken if item.document.path.resolve() in touched.paths]


def render_batches(
    results: Iterable[LintResult], render_line: Callable[[Sequence[Finding]], str], batch_size: int = 500
) -> Iterator[tuple[str, list[LintResult]]]:
    """The lines about some cards at once, so that ten thousand are not written one by one."""
    batch: list[LintResult] = []
    for result in results:
        batch.append(result)
        if len(batch) >= batch_size:
            yield "".join(render_line(_sorted(result.findings_to_count)) for result in batch), batch
            batch = []
    yield "".join(render_line(_sorted(result.findings_to_count)) for result in batch), batch


def _sorted(findings: Sequence[Finding]) -> Sequence[Finding]:
    return (
        sorted(findings, key=lambda finding: (finding.check, finding.key))
        if any(f.status is not Status.OK for f in findings)
        else findings
    )
