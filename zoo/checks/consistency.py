"""Whether what the card says can be true at all, from the cards alone: no network, no torch.

Each rule is a function that looks at one card, in the light of the others, and yields its verdict; a rule that has
nothing to look at yields nothing. `wrong` is what cannot be, `suspect` what has legitimate explanations, which are named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from zoo.card import METRICS, Card, ResultClaim, Weights
from zoo.catalog import Catalog
from zoo.checks import Question
from zoo.errors import nearest
from zoo.model import Subject
from zoo.report import Finding, Status, Value

needs: tuple[str, ...] = ()

BYTES_PER_VALUE = MappingProxyType({"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2})
SMALLEST_SHARE = 0.98
"""A file cannot be smaller than its parameters; 2 % below allows for counts rounded to two digits."""
LARGEST_SHARE = 1.10
"""Buffers, names and alignment add less: 0.06 to 0.10 % for ResNeSt files, about 4 % for the smallest networks of timm
(a batch norm's two buffers an output channel). An auxiliary head adds 14 % (inception_v3)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says of one card. `where` is file:line:column of the value that is to be mended."""

    status: Status
    where: str
    reason: str = ""
    mend: str = ""
    claimed: Value = None
    measured: Value = None
    unit: str = ""


Rule = Callable[[Card, Catalog], Iterator[Verdict]]


def questions(card: Card, catalog: Catalog) -> Iterable[Question]:
    """One for each rule that has something to look at; the key is the rule's id."""
    for rule, judge in RULES.items():
        verdict = worst(judge(card, catalog))
        if verdict is not None:
            yield Question(card.name, "consistency", rule, verdict.where, verdict.claimed, verdict.unit, about=verdict)


def answer(subject: Subject, question: Question) -> Finding:
    """The rule's verdict."""
    verdict: Verdict = question.about
    return question.finding(verdict.status, measured=verdict.measured, reason=verdict.reason, mend=verdict.mend)


def worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The gravest of a rule's verdicts on one card, the first of equals; None when there is none."""
    order = (Status.OK, Status.SUSPECT, Status.WRONG)
    return max(verdicts, key=lambda verdict: order.index(verdict.status), default=None)


# --- the file against the parameters ------------------------------------------------------------------------------


def size_params(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A file holds its parameters: bytes / (parameters x bytes of one) is a little above 1."""
    for weights in card.weights:
        share = size_share(card, weights)
        if share is not None:
            yield _judge_size(card, weights, share)


def size_share(card: Card, weights: Weights) -> float | None:
    """The claimed size over the claimed parameters' bytes (float32 unless the card says so); None where one is missing."""
    params = card.claims.params if card.claims else None
    if params is None or not params.value or weights.size_bytes is None:
        return None
    return weights.size_bytes / (params.value * BYTES_PER_VALUE[weights.dtype or "float32"])


def _judge_size(card: Card, weights: Weights, share: float) -> Verdict:
    params = card.claims.params.value if card.claims and card.claims.params else 0
    needed = params * BYTES_PER_VALUE[weights.dtype or "float32"]
    where = str(weights.where["size_bytes"])
    said = f"the file has {weights.size_bytes:,} bytes, {params:,} parameters need {needed:,}"
    if SMALLEST_SHARE <= share <= LARGEST_SHARE:
        return Verdict(Status.OK, where, claimed=weights.size_bytes, unit="bytes")
    if share > LARGEST_SHARE:
        reason = f"{said}: an auxiliary head, EMA weights or an optimizer's state in the file would explain it"
        return Verdict(
            Status.SUSPECT,
            where,
            reason,
            "check the parameters, or explain it with `ignore`",
            weights.size_bytes,
            needed,
            "bytes",
        )
    if weights.dtype is None and SMALLEST_SHARE <= 2 * share <= LARGEST_SHARE:
        reason = f"{said}: half precision would explain it"
        return Verdict(
            Status.SUSPECT, where, reason, "add `dtype: float16` if that is so", weights.size_bytes, needed, "bytes"
        )
    return Verdict(
        Status.WRONG,
        where,
        f"{said}: a file cannot be smaller than what it holds",
        "correct the size, or the parameters",
        weights.size_bytes,
        needed,
        "bytes",
    )


# --- digests and names --------------------------------------------------------------------------------------------

NAME_DIGEST = re.compile(r"-([0-9a-f]{8,64})(?=\.[A-Za-z0-9.]+$)")
"""The convention of torch.hub: NAME-<first 8 or more digits of sha256>.EXT (pytorch.org/docs/stable/hub.html,
load_state_dict_from_url, check_hash, seen 2026-11-24)."""


def hash_in_name(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A digest that stands in the name of a file, or of a URL, is the beginning of sha256."""
    for weights in card.weights:
        for place, name in (
            (weights.where["file"], weights.file),
            *((weights.where["urls"], url) for url in weights.urls),
        ):
            match = NAME_DIGEST.search(name)
            if match is None or weights.sha256 is None:
                continue
            shared = min(len(match[1]), len(weights.sha256))
            if match[1][:shared] == weights.sha256[:shared]:
                yield Verdict(Status.OK, str(place), claimed=weights.sha256)
            else:
                reason = f"the name {name.rpartition('/')[2]} says {match[1]}, sha256 says {weights.sha256}"
                yield Verdict(
                    Status.WRONG,
                    str(place),
                    reason,
                    "correct the digest, the file's name or the URL",
                    weights.sha256,
                    match[1],
                )


def _shared(key: str, card: Card, catalog: Catalog, values: Iterable[tuple[Weights, Value, str]]) -> Iterator[Verdict]:
    """Two cards with one file are one model, or one of them is wrong: the one whose parameters the file does not fit."""
    for weights, value, where in values:
        others = [
            other
            for other in catalog.sharing(key, value[:8] if key == "sha256" and isinstance(value, str) else value)
            if other.name != card.name and not same_model(card, other)
        ]
        if not others:
            yield Verdict(Status.OK, where, claimed=value)
        elif _misfit(card, weights) or not any(_misfit(other, item) for other in others for item in other.weights):
            yield _taken(card, weights, value, where, others)
        else:
            yield Verdict(Status.OK, where, claimed=value)


def _taken(card: Card, weights: Weights, value: Value, where: str, others: list[Card]) -> Verdict:
    names = ", ".join(other.name for other in others)
    params = card.claims.params.value if card.claims and card.claims.params else None
    size = f" of {weights.size_bytes:,} bytes" if weights.size_bytes else ""
    needed = f"; {card.name}'s own {params:,} parameters need about {params * 4:,} bytes" if params else ""
    status = Status.WRONG if params and _misfit(card, weights) else Status.SUSPECT
    reason = f"{value} is the file{size} of {names}, which is another model{needed}"
    return Verdict(status, where, reason, f"give {card.name}'s own file", value, None)


def same_model(card: Card, other: Card) -> bool:
    """Whether two cards can share a file: the same architecture, or as many parameters as far as their rounding tells."""
    if (
        card.builder
        and other.builder
        and (card.builder.entry, dict(card.builder.options)) == (other.builder.entry, dict(other.builder.options))
    ):
        return True
    mine = card.claims.params if card.claims else None
    theirs = other.claims.params if other.claims else None
    if mine is None or theirs is None:
        return True
    slack = ((mine.rounded_to or 0) + (theirs.rounded_to or 0)) / 2
    return abs(mine.value - theirs.value) <= slack


def _misfit(card: Card, weights: Weights) -> bool:
    share = size_share(card, weights)
    return share is not None and not SMALLEST_SHARE <= share <= LARGEST_SHARE


def shared_url(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """No two different models have one URL."""
    return _shared("url", card, catalog, ((w, url, str(w.where["urls", i])) for w in card.weights for i, url in enumerate(w.urls)))


def shared_digest(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """No two different models have one digest."""
    return _shared("sha256", card, catalog, ((w, w.sha256, str(w.where["sha256"])) for w in card.weights if w.sha256))


def shared_size(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """No two different models have files of exactly one size."""
    return _shared(
        "size_bytes",
        card,
        catalog,
        ((w, w.size_bytes, str(w.where["size_bytes"])) for w in card.weights if w.size_bytes),
    )


def duplicate_name(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A name or alias means one card."""
    for name in (card.name, *card.aliases):
        others = [str(other.where["name"]) for other in catalog.sharing("name", name) if other.path != card.path]
        place = str(card.where["name" if name == card.name else "aliases"])
        if others:
            yield Verdict(
                Status.WRONG, place, f"{name} is also the name of {', '.join(others)}", "rename one of them", name
            )
        else:
            yield Verdict(Status.OK, place, claimed=name)


# --- results ------------------------------------------------------------------------------------------------------


def top1_top5(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """What is right first is right among five: top-1 <= top-5, on each split."""
    by_split: dict[tuple[str, str], dict[str, ResultClaim]] = {}
    for claim in card.results:
        by_split.setdefault((claim.dataset, claim.split), {})[claim.metric] = claim
    for claims in by_split.values():
        first, five = claims.get("top1"), claims.get("top5")
        if first and five:
            status = Status.OK if first.value <= five.value else Status.WRONG
            reason = "" if status is Status.OK else f"top-1 is {first.value}, above top-5, {five.value}"
            yield Verdict(
                status, str(first.where["value"]), reason, "they may be swapped" if reason else "", first.value
            )


def ranges(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A metric lies in its range, and an accuracy is not below chance."""
    for claim in card.results:
        metric = METRICS.get(claim.metric)
        if metric is not None:
            yield _judge_range(claim, metric.low, metric.high * (0.01 if claim.unit == "fraction" else 1))


def _judge_range(claim: ResultClaim, low: float, high: float) -> Verdict:
    place, unit = str(claim.where["value"]), claim.unit or "percent"
    if low <= claim.value <= high:
        return Verdict(Status.OK, place, claimed=claim.value, unit=unit)
    reason = f"{claim.metric} is {claim.value} {unit}, outside {low:g} to {high:g}"
    return Verdict(Status.WRONG, place, reason, "correct the value or its unit", claim.value, unit=unit)


# --- references ---------------------------------------------------------------------------------------------------


def unknown_collection(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """The family that the card names has a collection.yaml."""
    if card.collection is None:
        return
    place = str(card.where["collection"])
    if catalog.collection_of(card) is not None:
        yield Verdict(Status.OK, place, claimed=card.collection)
        return
    near = nearest(card.collection, [item.name for item in catalog.collections])
    mend = f"did you mean {near[0]}?" if near else "add a collection.yaml with that name"
    yield Verdict(Status.WRONG, place, f"there is no collection {card.collection}", mend, card.collection)


def unknown_dataset(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """The data set and split that a result names have a dataset card; a near miss is a misspelling."""
    for claim in card.results:
        dataset, place = catalog.dataset(claim.dataset), str(claim.where["dataset"])
        if dataset is None:
            near = nearest(claim.dataset, [item.name for item in catalog.datasets])
            mend = f"did you mean {near[0]}?" if near else "add a dataset card, or nothing can measure the claim"
            status = Status.WRONG if near else Status.SUSPECT
            yield Verdict(status, place, f"no dataset card is called {claim.dataset}", mend, claim.dataset)
        elif claim.split not in dataset.splits:
            reason = f"{dataset.name} has no split {claim.split}, but {', '.join(dataset.splits)}"
            yield Verdict(Status.WRONG, str(claim.where["split"]), reason, "name one of those", claim.split)
        else:
            yield Verdict(Status.OK, place, claimed=claim.dataset)


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "size-params": size_params,
        "hash-in-name": hash_in_name,
        "shared-url": shared_url,
        "shared-digest": shared_digest,
        "shared-size": shared_size,
        "duplicate-name": duplicate_name,
        "top1-top5": top1_top5,
        "ranges": ranges,
        "unknown-collection": unknown_collection,
        "unknown-dataset": unknown_dataset,
    }
)
