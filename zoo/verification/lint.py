"""Check the format and the consistency of many cards quickly: `zoo validate`.

The verdicts on a card are cached under a digest of the card and of all cards and families that share a name, URL, digest,
size or collection with it. After an edit, zoo judges only the cards that share one of these with the edited card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from zoo.errors import UnknownName, UsageError
from zoo.registry import index
from zoo.registry.card import Card
from zoo.registry.catalog import Broken, Catalog, Member
from zoo.registry.document import display
from zoo.registry.files import real_path
from zoo.registry.index import IndexEntry, Key
from zoo.verification import rules
from zoo.verification.accept import accept
from zoo.verification.checks.consistency import apply_rules
from zoo.verification.checks.schema import findings_of
from zoo.verification.report import Finding, ReportSubject, Status, base_key, numbered_key
from zoo.verification.rules import FINE, Verdict

T = TypeVar("T")
NOT_IGNORED = "a card cannot accept a finding of this rule: `ignore` has no effect on it"
FORMAT_RULE = "schema"
"""The name of the format check in `--select` and `--ignore`."""


@dataclass(frozen=True, slots=True)
class LintResult:
    """The findings about one file.

    fine: the rules that found no problem. violations: the other findings. card: returns the subject for a report.
    """

    name: str
    where: str
    fine: tuple[str, ...] = ()
    violations: tuple[Finding, ...] = ()
    card: Callable[[], ReportSubject] | None = field(default=None, compare=False, repr=False)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, those that are ok included."""
        return (*(_ok(self.name, rule, self.where) for rule in self.fine), *self.violations)

    @property
    def findings_to_count(self) -> tuple[Finding, ...]:
        """As many findings, where those that are ok are the same object: enough for a line of text, and faster."""
        return (*((_ok(self.name, self.fine[0], self.where),) * len(self.fine) if self.fine else ()), *self.violations)


def validate(
    catalog: Catalog,
    positions: Iterable[int],
    broken: Iterable[Broken],
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Iterator[LintResult]:
    """Yield the result for each card at these positions of the catalogue, then for each broken file.

    select, ignore: rules by id, or by the beginning of an id up to a `-`. Raises UnknownName for an unknown rule.
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
    """Return the ids of the selected rules without the ignored ones; raises UnknownName for an unknown rule.

    A selector is an id, or the beginning of ids up to a `-`. Without a selector all rules are selected.
    """
    every = (*rules.all_rules(), FORMAT_RULE)

    def matching(selector: str) -> set[str]:
        matches = {rule for rule in every if rule == selector or rule.startswith(f"{selector}-")}
        if not matches:
            raise UnknownName("rule", selector, every)
        return matches

    selected = {rule for selector in select for rule in matching(selector)} or set(every)
    return frozenset(selected - {rule for selector in ignore for rule in matching(selector)})


def explain_rule(rule: str) -> str:
    """Return the description of a rule; for `all`, a line about each rule. Raises UnknownName for an unknown rule."""
    every = rules.all_rules()
    if rule == "all":
        return "".join(f"{item.id:<20} {item.why}\n" for item in every.values())
    if rule not in every:
        raise UnknownName("rule", rule, every)
    item = every[rule]
    description = " ".join((item.judge.__doc__ or "").split())
    ignore = f"ignore: [{{rule: consistency/{item.id}, reason: ...}}]"
    accept = f"to accept a suspect finding, add to the card: {ignore}" if item.can_be_ignored else NOT_IGNORED
    return f"{item.id}: {item.why}\n\n{description}\n\nhint: {item.hint}\n{accept}\n"


def shard(items: Sequence[T], part: str) -> list[T]:
    """Return part i of n, given as `i/n`: every n-th item from the i-th on. Raises UsageError for an invalid part."""
    number, slash, count = part.partition("/")
    if not (
        slash and (number + count).isascii() and number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)
    ):
        raise UsageError(f"invalid value for --shard: {part!r}", hint="give I/N, with I from 1 to N, for example 1/4")
    return list(items)[int(number) - 1 :: int(count)]


def _ok(name: str, rule: str, where: str) -> Finding:
    is_format = rule == FORMAT_RULE
    return Finding(name, "schema" if is_format else "consistency", "/" if is_format else rule, Status.OK, where=where)


def _lint_result(entry: IndexEntry, known: KnownVerdicts, selected: frozenset[str], catalog: Catalog) -> LintResult:
    fine = _select((*known.fine, FORMAT_RULE), selected)
    violations = tuple(_finding(entry, item) for item in known.verdicts if base_key(item[0]) in selected)
    return LintResult(entry.name, display(entry.file), fine, violations, lambda: _subject(entry, catalog))


@lru_cache(maxsize=1024)
def _select(fine: tuple[str, ...], selected: frozenset[str]) -> tuple[str, ...]:
    """Return those rules that are selected. It is cached, because many cards have the same rules."""
    return tuple(rule for rule in fine if rule in selected)


def _subject(entry: IndexEntry, catalog: Catalog) -> ReportSubject:
    return ReportSubject(entry.name, Member(entry.built(Card), catalog).sha256)


# --- verdicts cached from earlier runs ----------------------------------------------------------------------------

_Plain = tuple[Any, ...]
"""A verdict as plain data: key, status, file (None for the card's), line, column, reason, hint, claimed, measured, unit."""


@dataclass(frozen=True, slots=True)
class KnownVerdicts:
    """The verdicts on a card as plain data, valid for one `context`: a number from `_contexts`."""

    context: int
    fine: tuple[str, ...]
    verdicts: tuple[_Plain, ...]


class _Verdicts:
    """The verdicts on a catalogue's cards: from the cache where it has the card in the same context, else judged now."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.contexts = _contexts(catalog)
        self.is_large = len(catalog.cards) >= index.MIN_FILES
        self.file = (
            index.cache_name(sorted({entry.file.rpartition("/")[0] for entry in catalog.cards.entries}), "verdicts")
            if self.is_large
            else ""
        )
        self.remembered: dict[str, tuple[int, tuple[str, ...], tuple[_Plain, ...]]] = (
            _read_verdicts(self.file) if self.is_large else {}
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
        """Add the new verdicts to the cache."""
        if self.new and self.is_large:
            paths = {entry.file for entry in self.catalog.cards.entries}
            index.write_cache(
                self.file, {path: value for path, value in (self.remembered | self.new).items() if path in paths}
            )


def _read_verdicts(file: str) -> dict[str, tuple[int, tuple[str, ...], tuple[_Plain, ...]]]:
    """Return the cached verdicts by path; empty when they do not have the types that `save` writes."""
    saved = index.read_cache(file)
    is_valid = isinstance(saved, dict) and all(
        type(path) is str and isinstance(known, tuple) and tuple(map(type, known)) == (int, tuple, tuple)
        for path, known in saved.items()
    )
    return saved if is_valid else {}


def _judge(entry: IndexEntry, context: int, catalog: Catalog) -> KnownVerdicts:
    card: Card = entry.built(Card)
    fine: list[str] = []
    plain_verdicts: list[_Plain] = []
    for rule, verdicts in apply_rules(Member(card, catalog)):
        if verdicts[0] is FINE:
            fine.append(rule)
            continue
        numbered = enumerate(verdicts, 1)
        plain_verdicts += [_plain(card, numbered_key(rule, number), verdict) for number, verdict in numbered]
    return KnownVerdicts(context, _interned(tuple(fine)), tuple(plain_verdicts))


_INTERNED: dict[tuple[str, ...], tuple[str, ...]] = {}


def _interned(fine: tuple[str, ...]) -> tuple[str, ...]:
    """Return the same tuple for equal tuples, so that the cache stores it once."""
    return _INTERNED.setdefault(fine, fine)


def _plain(card: Card, key: str, verdict: Verdict) -> _Plain:
    place = verdict.where or card.where.place
    file = None if place.file == card.where.document.label else str(Path(place.file).absolute())
    found = Finding(card.name, "consistency", key, verdict.status, reason=verdict.reason, hint=verdict.hint)
    status, reason, hint = (finding := accept(card, found)).status.value, finding.reason, finding.hint
    return (key, status, file, place.line, place.column, reason, hint, verdict.claimed, verdict.measured, verdict.unit)


def _finding(entry: IndexEntry, plain: _Plain) -> Finding:
    key, status, file, line, column, reason, hint, claimed, measured, unit = plain
    where = f"{display(file or entry.file)}:{line}:{column}"
    return Finding(
        entry.name, "consistency", key, Status(status), claimed, measured, unit, where=where, reason=reason, hint=hint
    )


def _contexts(catalog: Catalog) -> list[int]:
    """Return a number for each card that changes when the card, or anything else that a rule may read for it, changes."""
    sums: dict[Key, int] = {}
    digests = [int(entry.sha256[:16] or "0", 16) for entry in catalog.cards.entries]
    for entry, digest in zip(catalog.cards.entries, digests, strict=True):
        for key in entry.keys:
            sums[key] = sums.get(key, 0) + digest
    families: dict[str, int] = {}
    for item in catalog.collections.entries:
        families[item.name] = families.get(item.name, 0) + _digest(item.sha256)
    datasets_digest = _digest(catalog.datasets_sha256)
    return [
        hash((digest, datasets_digest, *(sums[key] + families.get(str(key[1]), 0) if key[0] == "collection" else sums[key] for key in entry.keys)))
        for entry, digest in zip(catalog.cards.entries, digests, strict=True)
    ]  # fmt: skip


def _digest(sha256: str) -> int:
    return int(sha256[:15], 16)


def changed_since(catalog: Catalog, revision: str, folders: Sequence[Path]) -> tuple[list[int], list[Broken]]:
    """Return (positions, broken): the files that changed since a git revision, and the cards that share a key with them.

    The keys are those of the changed files before and after the change. A changed data set selects all cards.
    """
    from zoo.registry import git

    touched = git.changes_since(revision, folders)
    if touched.has_dataset:
        return list(range(len(catalog.cards))), list(catalog.broken)
    keys = set(touched.keys)
    for entry in catalog.cards.entries:
        if real_path(entry.path) in touched.paths:
            keys.update(key for key in entry.keys if key != ("collection", None))
    positions = sorted({position for key in keys for position in catalog.positions.get(key, ())})
    return positions, [item for item in catalog.broken if real_path(item.document.path) in touched.paths]


def render_batches(
    results: Iterable[LintResult], render_line: Callable[[Sequence[Finding]], str], batch_size: int = 500
) -> Iterator[tuple[str, list[LintResult]]]:
    """Yield the lines about `batch_size` cards at a time, with their results: printing each card alone would be slow."""
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
