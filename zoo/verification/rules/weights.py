"""Judge weights files: size against parameters, digests in names, files that two cards share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import MappingProxyType

from zoo.errors import WrongContent
from zoo.models.facts import Value
from zoo.registry.card import Card, Weights, Where
from zoo.registry.catalog import Member
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
from zoo.weights.renames import check_rename

BYTES_PER_VALUE = MappingProxyType({"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2})
SMALLEST_SHARE = 0.98
"""A file is not smaller than its parameters. 2 % less allows for counts rounded to two digits."""
LARGEST_SHARE = 1.10
"""Buffers, names and alignment add less than 10 %: 0.06 to 0.10 % for ResNeSt files, about 4 % for the smallest networks of
timm (a batch norm has two buffers per output channel). An auxiliary head adds 14 % (inception_v3)."""
SMALLEST_OF_ALL = 0.12
"""Half a byte per parameter, less 4 %: the densest quantisation in use takes 4 bits (arxiv.org/abs/2210.17323)."""
MOST_SHARING = 50
"""The most cards with the same file that are compared: the first of them are enough for a verdict."""
BETWEEN_PRECISIONS = (0.56, 0.90)
"""Shares of the bytes of float32 that no precision gives: half precision gives 0.50 to 0.55. A compressed archive of float32
gives 0.9 and more, because the mantissas of trained weights do not compress."""
LFS_POINTER_BYTES = 200
"""A Git LFS pointer has 120 to 140 bytes (github.com/git-lfs/git-lfs/blob/main/docs/spec.md, seen 2026-11-24)."""


def size_share(card: Card, weights: Weights) -> float | None:
    """Return the claimed size divided by the bytes that the parameters need: 4 each, or those of the card's dtype.

    None when the card does not claim both.
    """
    count = params(card)
    if count is None or weights.size_bytes is None:
        return None
    return weights.size_bytes / (count * BYTES_PER_VALUE[weights.dtype or "float32"])


def size_params(member: Member) -> Iterator[Verdict]:
    """Check that a file has the size of its parameters: bytes / (parameters x bytes of one) is a little above 1.

    A smaller file may have half precision, quantised weights or only the backbone. A larger file may have an auxiliary head,
    EMA weights or an optimizer's state. Three sizes are wrong: less than half a byte per parameter; for a classifier, less
    than the card's dtype needs; for a classifier without a dtype, a size between those of the precisions.
    """
    card = member.card
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
    text = f"the file has {size:,} bytes, but {count:,} parameters need {needed:,} as {weights.dtype or 'float32'}"
    if share > LARGEST_SHARE:
        reason = f"{text}; an auxiliary head, EMA weights or an optimizer's state in the file would explain it"
        hint = "check the size and the parameters, or explain the size with `ignore`"
        return suspect(where, reason, hint, size, needed, "bytes")
    if weights.dtype is None and SMALLEST_SHARE <= 2 * share <= LARGEST_SHARE:
        reason = f"{text}; half precision would explain it"
        return suspect(where, reason, "add `dtype: float16` if the file has half precision", size, needed, "bytes")
    is_between = weights.dtype is None and BETWEEN_PRECISIONS[0] < share < BETWEEN_PRECISIONS[1]
    if share < SMALLEST_OF_ALL or ((weights.dtype is not None or is_between) and is_classification(card)):
        reason = f"{text}; a file cannot be smaller than its content"
        return wrong(where, reason, "correct the size or the parameters", size, needed, "bytes")
    reason = f"{text}; fewer bits per parameter, or a file of only the backbone, would explain it"
    return suspect(where, reason, "correct the size or the parameters, or add the dtype", size, needed, "bytes")


def file_size(member: Member) -> Iterator[Verdict]:
    """Check that the size is that of the file, not of a Git LFS pointer to it."""
    for weights in member.card.weights:
        if weights.size_bytes is not None:
            where, size = weights.where.at("size_bytes"), weights.size_bytes
            if size > LFS_POINTER_BYTES or (params(member.card) or 0) * 4 <= size:
                yield FINE
            else:
                reason = f"{weights.file} has {size} bytes, which is the size of a Git LFS pointer"
                yield suspect(where, reason, "write the size of the file itself", size, unit="bytes")


def hash_in_name(member: Member) -> Iterator[Verdict]:
    """Check that a digest in the name of a file, or in a URL, is the beginning of sha256.

    When the card has all 64 digits, the name itself may be wrong (pytorch/vision#7744), so the finding is suspect.
    """
    for weights in member.card.weights:
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
            reason = f"the name {name.rpartition('/')[2]} says {digest}, but sha256 is {weights.sha256}"
            if len(weights.sha256) == 64:
                reason += "; a file that its publisher named after other bytes would explain it"
                hint = f"run `zoo fetch {member.card.name}` to measure the file; explain a wrong name with `ignore`"
                yield suspect(place, reason, hint, weights.sha256, digest)
            else:
                yield wrong(place, reason, "correct sha256, the file's name or the URL", weights.sha256, digest)


# --- files that two cards share -----------------------------------------------------------------------------------


def _check_shared(key: str, member: Member, values: Iterable[tuple[Weights, str | int, Where]]) -> Iterator[Verdict]:
    card = member.card
    for weights, value, where in values:
        looked_up = value[:8] if key == "sha256" and isinstance(value, str) else value
        sharing = member.catalog.sharing(key, looked_up, most=MOST_SHARING)
        others = [other for other in sharing if other.name != card.name]
        if key == "sha256" and isinstance(value, str):
            others = [other for other in others if any(_same_digest(value, item.sha256) for item in other.weights)]
        yield _judge_shared(key, card, weights, value, where, others)


_KINDS = {"url": "URL", "sha256": "digest"}


def _same_digest(first: str, second: str | None) -> bool:
    return second is not None and first[: min(len(first), len(second))] == second[: min(len(first), len(second))]


def _judge_shared(key: str, card: Card, weights: Weights, value: Value, where: Where, others: list[Card]) -> Verdict:
    """Return the verdict on a card whose file other cards have too.

    The card that the file does not fit gets the finding. It is wrong when the file fits a card of another architecture.
    """
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
    what = f"the size of {value:,} bytes" if isinstance(value, int) else f"the {_KINDS[key]} {value}"
    if key != "size_bytes" and weights.size_bytes:
        what += f" ({weights.size_bytes:,} bytes)"
    hint = f"write {card.name}'s own file, URL, size and digest"
    if not different:
        reason = f"{what} is also that of {names}; one model under two names would explain it"
        return suspect(where, reason, "give each its own file, or list one name in the other's `aliases`", value)
    others_are = "is another model" if len(different) == 1 else "are other models"
    needed = f"; {card.name}'s own {count:,} parameters need about {count * 4:,} bytes" if count else ""
    reason = f"{what} is that of {names}, which {others_are}{needed}"
    if _is_impossible(card, weights, different):
        return wrong(where, reason, hint, value)
    reason += "; a head trained on a shared backbone, or an additional head in the file, would explain it"
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


def shared_url(member: Member) -> Iterator[Verdict]:
    """Check that two different models do not have the same URL. One model under two names may have."""
    yield from _check_shared("url", member, _urls(member.card))


def _urls(card: Card) -> Iterator[tuple[Weights, str, Where]]:
    for weights in card.weights[:1]:
        for at, url in enumerate(weights.urls):
            yield weights, url, weights.where.at("urls", at)


def shared_digest(member: Member) -> Iterator[Verdict]:
    """Check that two different models do not have the same digest."""
    values = ((w, w.sha256, w.where.at("sha256")) for w in member.card.weights[:1] if w.sha256)
    yield from _check_shared("sha256", member, values)


def shared_size(member: Member) -> Iterator[Verdict]:
    """Check that two different models do not have files of exactly the same size."""
    values = ((w, w.size_bytes, w.where.at("size_bytes")) for w in member.card.weights[:1] if w.size_bytes)
    yield from _check_shared("size_bytes", member, values)


def duplicate_file(member: Member) -> Iterator[Verdict]:
    """Check that a card lists each file name and URL once. The mirrors of a file belong into the `urls` of one entry."""
    files_by_value: dict[str, str] = {}
    if len(member.card.weights) > 1:
        for weights in member.card.weights:
            for value in (weights.file, *weights.urls):
                if value in files_by_value:
                    reason = f"{value} is listed twice, for {files_by_value[value]} and {weights.file}"
                    hint = "list the file once, with its mirrors under `urls`"
                    yield wrong(weights.where.at("file"), reason, hint, value)
                files_by_value.setdefault(value, weights.file)
        yield FINE


def rename(member: Member) -> Iterator[Verdict]:
    r"""Check that the patterns of `rename` are valid in RE2, and that replacements have only the escapes \\, and \0 to \9.

    RE2 matches in time proportional to the name; it has no look-around and no references to groups inside a pattern
    (github.com/google/re2/wiki/Syntax).
    """
    for item in (item for weights in member.card.weights for item in weights.rename):
        try:
            check_rename(item)
            yield FINE
        except WrongContent as error:
            yield wrong(item.where.at("pattern"), error.what, error.hint, item.pattern)


RULES = (
    Rule("size-params", "a file has the size of its parameters", "correct the size or the parameters", size_params),
    Rule("file-size", "a weights file is not a pointer", "write the size of the file itself", file_size),
    Rule("hash-in-name", "the digest in a name is the file's", "correct sha256, the name or the URL", hash_in_name),
    Rule("shared-url", "different models have different URLs", "write each model's own URL", shared_url),
    Rule("shared-digest", "different models have different files", "write each model's own digest", shared_digest),
    Rule("shared-size", "different models have different file sizes", "write each model's own size", shared_size),
    Rule("duplicate-file", "a card lists a file once", "list its mirrors under `urls`", duplicate_file),
    Rule("rename", "a rename is a pattern of RE2", "see https://github.com/google/re2/wiki/Syntax", rename),
)
