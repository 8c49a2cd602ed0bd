"""Judge what a card refers to: names, its collection, lists, the rules that it ignores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from zoo.errors import did_you_mean, nearest
from zoo.registry.catalog import Member
from zoo.verification import rules
from zoo.verification.report import base_key
from zoo.verification.rules import FINE, Rule, Verdict, is_first_of_collection, suspect, wrong


def duplicate_name(member: Member) -> Iterator[Verdict]:
    """Check that a name or alias belongs to one card only."""
    card = member.card
    for name in (card.name, *card.aliases):
        same_name = member.catalog.sharing("name", name)
        others = [str(other.where.at("name")) for other in same_name if other.path != card.path]
        if not others:
            yield FINE
            continue
        where = card.where.at("name" if name == card.name else "aliases")
        yield wrong(where, f"the name {name} is also in use at {', '.join(others)}", "rename one of the models", name)


def unknown_collection(member: Member) -> Iterator[Verdict]:
    """Check that the collection that the card names has a collection.yaml."""
    card = member.card
    if card.collection is None:
        return
    if member.collection is not None:
        yield FINE
        return
    near = nearest(card.collection, member.catalog.collections.names)
    hint = did_you_mean(near[:1], "add a collection.yaml with that name")
    yield wrong(card.where.at("collection"), f"unknown collection {card.collection!r}", hint, card.collection)


def duplicate_collection(member: Member) -> Iterator[Verdict]:
    """Check that one collection.yaml defines the card's collection. It is reported with the first card of the collection."""
    card, catalog = member.card, member.catalog
    defined: Counter[str] = catalog.derived("defined", lambda: Counter(catalog.collections.names))
    if card.collection is None or defined[card.collection] < 2:
        return
    others = [item for item in catalog.collections if item.name == card.collection]
    if is_first_of_collection(member):
        places = ", ".join(str(item.where.at("name")) for item in others)
        reason = f"the collection {card.collection} is defined several times, in {places}"
        yield wrong(others[-1].where.at("name"), reason, "rename one of the collections", card.collection)


def duplicate_item(member: Member) -> Iterator[Verdict]:
    """Check that the classes of a card, and the building blocks and techniques of its collection, are listed once.

    Two classes may have the same name: ImageNet has two classes named crane. The lists of a collection are reported with
    its first card.
    """
    card = member.card
    lists = [(card.where, "class_names", card.class_names)]
    collection = member.collection
    if collection is not None and is_first_of_collection(member):
        lists += [(collection.where, "architecture", collection.architecture)]
        lists += [(collection.where, "techniques", collection.techniques)]
    for where, field, items in lists:
        if len(set(items)) < len(items):
            repeated = next(index for index, item in enumerate(items) if item in items[:index])
            reason = f"{items[repeated]} is listed twice in {field}; two items of the same name would explain it"
            yield suspect(where.at(field, repeated), reason, "remove one of them", items[repeated])
        elif items:
            yield FINE


def ignored_rule(member: Member) -> Iterator[Verdict]:
    """Check that each rule that the card ignores exists."""
    for item in member.card.ignore:
        check, _, rule = item.rule.partition("/")
        if check != "consistency" or not rule or base_key(rule) in rules.all_rules():
            yield FINE
            continue
        near = [f"consistency/{name}" for name in nearest(rule, rules.all_rules())]
        hint = did_you_mean(near[:1], "run `zoo validate --explain all` for the list of rules")
        yield wrong(item.where.at("rule"), f"unknown rule {rule!r}", hint, item.rule)


def own_alias(member: Member) -> Iterator[Verdict]:
    """Check that no alias repeats the card's own name."""
    card = member.card
    if card.name in card.aliases:
        reason = f"{card.name} is both the name and an alias of the card"
        yield wrong(card.where.at("aliases"), reason, "remove the alias", card.name)
    elif card.aliases:
        yield FINE


RULES = (
    Rule("duplicate-name", "a name belongs to one model", "rename one of the models", duplicate_name),
    Rule(
        "unknown-collection",
        "a collection is defined",
        "add a collection.yaml, or correct the name",
        unknown_collection,
    ),
    Rule("duplicate-collection", "a collection is defined once", "rename one of them", duplicate_collection),
    Rule("duplicate-item", "a list has each item once", "remove one of them", duplicate_item),
    Rule("ignored-rule", "a rule that a card ignores exists", "correct the rule's id", ignored_rule),
    Rule("own-alias", "an alias differs from the name", "remove the alias", own_alias),
)
