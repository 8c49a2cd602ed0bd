"""Rules about files of weights: size against parameters, digests in names, files that two cards share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import MappingProxyType

from zoo.models.facts import Value
from zoo.registry.card import Card, Weights, Where
from zoo.registry.catalog import Catalog
from zoo.registry.quantities import digest_in_name
from zoo.verification.rules import (
    FINE,
    Rule,
    Verdict,
    are_different_architectures,
    is_classification,
    params,
    same_model,
    suspect,
    wrong,
)

BYTES_PER_VALUE = MappingProxyType({"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2})
SMALLEST_SHARE = 0.98
"""A file is not smaller than its parameters; 2 % below allows for counts rounded to two digits."""
LARGEST_SHARE = 1.10
"""Buffers, names and alignment add less: 0.06 to 0.10 % for ResNeSt files, about 4 % for the smallest networks of timm
(a batch norm's two buffers an output channel). An auxiliary head adds 14 % (inception_v3)."""
SMALLEST_OF_ALL = 0.12
"""Half a byte a parameter: what the densest quantisation in use takes (4 bits: arxiv.org/abs/2210.17323), less 4 %."""
MOST_SHARING = 50
"""How many cards with one file are looked at: with more, the first tell enough."""
BETWEEN_PRECISIONS = (0.56, 0.90)
"""Bytes of float32 parameters that are those of no precision: half has 0.50 to 0.55; a compressed archive of float32 has 0.9
and more, since the mantissas of trained weights do not compress."""
LFS_POINTER_BYTES = 200
"""A Git LFS pointer has 120 to 140 bytes (github.com/git-lfs/git-lfs/blob/main/docs/spec.md, seen 2026-11-24)."""


def size_share(card: Card, weights: Weights) -> float | None:
    """The claimed size over the bytes that the parameters need (4 each, unless the card says another dtype)."""
    count = params(card)
    if count is None or weights.size_bytes is None:
        return None
    return weights.size_bytes / (count * BYTES_PER_VALUE[weights.dtype or "float32"])


def size_params(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A file holds its parameters: bytes / (parameters x bytes of one) is a little above 1.

    Below, half precision, quantisation, or a file of the backbone alone would explain it; above, an auxiliary head, EMA
    weights or an optimizer's state. Less than half a byte a parameter, or for a classifier less than the dtype that the
    card states, or a size between those of the precisions, cannot be.
    """
    for weights in card.weights[:1]:
        share = size_share(card, weights)
        if share is not None:
            yield _judge_size(card, weights, share)


def _judge_size(card: Card, weights: Weights, share: float) -> Verdict:
    if SMALLEST_SHARE <= share <= LARGEST_SHARE:
        return FINE
    count, size = params(card) or 0, weights.size_bytes
    needed = count * BYTES_PER_VALUE[weights.dtype or "float32"]
    where = weights.where.at("size_bytes")
    text = f"the file has {size:,} bytes, {count:,} parameters need {needed:,} as {weights.dtype or 'float32'}"
    if share > LARGEST_SHARE:
        reason = f"{text}: an auxiliary head, EMA weights or an optimizer's state in the file would explain it"
        return suspect(where, reason, "check size and parameters, or explain it with `ignore`", size, needed, "bytes")
    if weights.dtype is None and SMALLEST_SHARE <= 2 * share <= LARGEST_SHARE:
        reason = f"{text}: half precision would explain it"
        return suspect(where, reason, "add `dtype: float16` if that is so", size, needed, "bytes")
    is_between = weights.dtype is None and BETWEEN_PRECISIONS[0] < share < BETWEEN_PRECISIONS[1]
    if share < SMALLEST_OF_ALL or ((weights.dtype is not None or is_between) and is_classification(card)):
        reason = f"{text}: a file cannot be smaller than what it holds"
        return wrong(where, reason, "correct the size, or the parameters", size, needed, "bytes")
    reason = (
        f"{text}: it may hold fewer bits a parameter or the backbone alone, else size or parameters are another model's"
    )
    return suspect(where, reason, "correct the size or the parameters, or say the dtype", size, needed, "bytes")


def file_size(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A file of a few bytes is a pointer to one."""
    for weights in card.weights:
        if weights.size_bytes is not None:
            where, size = weights.where.at("size_bytes"), weights.size_bytes
            if size > LFS_POINTER_BYTES or (params(card) or 0) * 4 <= size:
                yield FINE
            else:
                reason = f"{weights.file} has {size} bytes, as a Git LFS pointer has in place of the file"
                yield suspect(where, reason, "give the size of the file itself", size, unit="bytes")


def hash_in_name(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A digest that stands in the name of a file, or of a URL, is the beginning of sha256.

    That of a file whose whole digest is known may be wrong itself (pytorch/vision#7744): suspect, not wrong.
    """
    for weights in card.weights:
        named = [
            (weights.where.at("file"), weights.file),
            *((weights.where.at("urls", at), url) for at, url in enumerate(weights.urls)),
        ]
        for place, name in named:
            digest = digest_in_name(name)
            if digest is None or weights.sha256 is None:
                continue
            shared = min(len(digest), len(weights.sha256))
            if digest[:shared] == weights.sha256[:shared]:
                yield FINE
                continue
            reason = f"the name {name.rpartition('/')[2]} says {digest}, sha256 says {weights.sha256}"
            if len(weights.sha256) == 64:
                reason += ": the publisher may have named the file after other bytes"
                yield suspect(
                    place,
                    reason,
                    "zoo fetch measures it; explain it with `ignore` if the name is wrong",
                    weights.sha256,
                    digest,
                )
            else:
                yield wrong(place, reason, "correct the digest, the file's name or the URL", weights.sha256, digest)


# --- files that two cards share -----------------------------------------------------------------------------------


def _check_shared(
    key: str, card: Card, catalog: Catalog, values: Iterable[tuple[Weights, str | int, Where]]
) -> Iterator[Verdict]:
    for weights, value, where in values:
        looked_up = value[:8] if key == "sha256" and isinstance(value, str) else value
        others = [other for other in catalog.sharing(key, looked_up, most=MOST_SHARING) if other.name != card.name]
        if key == "sha256" and isinstance(value, str):
            others = [other for other in others if any(_same_digest(value, item.sha256) for item in other.weights)]
        yield _judge_shared(key, card, weights, value, where, others)


def _same_digest(first: str, second: str | None) -> bool:
    return second is not None and first[: min(len(first), len(second))] == second[: min(len(first), len(second))]


def _judge_shared(key: str, card: Card, weights: Weights, value: Value, where: Where, others: list[Card]) -> Verdict:
    """Of two models with one file, the one that the file does not fit is in the wrong; that of another architecture cannot be right."""
    different = [other for other in others if same_model(card, other) is False]
    unclear = [other for other in others if same_model(card, other) is None]
    if not different and (key == "size_bytes" or not unclear or not is_classification(card)):
        return FINE
    if (
        different
        and not _misfit(card, weights)
        and any(_misfit(other, item) for other in different for item in other.weights)
    ):
        return FINE
    names = ", ".join(other.name for other in (different or unclear)[:4])
    count = params(card)
    size = f" of {weights.size_bytes:,} bytes" if weights.size_bytes else ""
    what = f"{value:,} bytes" if isinstance(value, int) else f"the digest {value}" if key == "sha256" else str(value)
    hint = f"give {card.name}'s own file"
    if not different:
        reason = f"{what} is also the file{size} of {names}: one model under two names would explain it"
        return suspect(where, reason, "give each its own file, or name one among the other's `aliases`", value)
    needed = f"; {card.name}'s own {count:,} parameters need about {count * 4:,} bytes" if count else ""
    reason = f"{what} is the file{size} of {names}, which is another model{needed}"
    if _is_impossible(card, weights, different):
        return wrong(where, reason, hint, value)
    reason += ": a head that is trained on a shared backbone, or one that the file holds besides, would explain it"
    return suspect(where, reason, hint, value)


def _is_impossible(card: Card, weights: Weights, others: Iterable[Card]) -> bool:
    share = size_share(card, weights)
    if share is None or not _misfit(card, weights):
        return False
    halves = weights.dtype is None and SMALLEST_SHARE <= 2 * share <= LARGEST_SHARE
    is_too_small = share < SMALLEST_SHARE and not halves and is_classification(card)
    fits_another = [
        other for other in others if any(size_share(other, item) and not _misfit(other, item) for item in other.weights)
    ]
    return bool(fits_another) and (
        is_too_small or any(are_different_architectures(card, other) for other in fits_another)
    )


def _misfit(card: Card, weights: Weights) -> bool:
    share = size_share(card, weights)
    return share is not None and not SMALLEST_SHARE <= share <= LARGEST_SHARE


def shared_url(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """No two different models have one URL; one model under two names may."""
    yield from _check_shared("url", card, catalog, _urls(card))


def _urls(card: Card) -> Iterator[tuple[Weights, str, Where]]:
    for weights in card.weights[:1]:
        for at, url in enumerate(weights.urls):
            yield weights, url, weights.where.at("urls", at)


def shared_digest(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """No two different models have one digest."""
    values = ((w, w.sha256, w.where.at("sha256")) for w in card.weights[:1] if w.sha256)
    yield from _check_shared("sha256", card, catalog, values)


def shared_size(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """No two different models have files of exactly one size."""
    values = ((w, w.size_bytes, w.where.at("size_bytes")) for w in card.weights[:1] if w.size_bytes)
    yield from _check_shared("size_bytes", card, catalog, values)


def duplicate_file(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A file's name, digest or URL stands once in a card: its mirrors are the `urls` of one entry."""
    files_by_value: dict[str, str] = {}
    if len(card.weights) > 1:
        for weights in card.weights:
            for value in (weights.file, *weights.urls):
                if value in files_by_value:
                    reason = f"{value} is listed twice, for {files_by_value[value]} and {weights.file}"
                    yield wrong(
                        weights.where.at("file"), reason, "list the file once, with its mirrors as its urls", value
                    )
                files_by_value.setdefault(value, weights.file)
        yield FINE


RULES = (
    Rule(
        "size-params", "a file holds its parameters, and little more", "correct the size or the parameters", size_params
    ),
    Rule("file-size", "a file of weights is no pointer", "give the size of the file itself", file_size),
    Rule(
        "hash-in-name",
        "the digest in a file's name is the file's",
        "correct the digest, the name or the URL",
        hash_in_name,
    ),
    Rule("shared-url", "two different models have no URL in common", "give each model its own file", shared_url),
    Rule(
        "shared-digest", "two different models have no file in common", "give each model its own digest", shared_digest
    ),
    Rule(
        "shared-size", "two different models have no file size in common", "give each model its own size", shared_size
    ),
    Rule("duplicate-file", "a file is listed once", "list mirrors as the urls of one file", duplicate_file),
)
