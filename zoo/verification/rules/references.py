"""Rules about what a card refers to: names, families, other models, rules that it silences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from zoo.errors import nearest
from zoo.registry.card import Card
from zoo.registry.catalog import Catalog
from zoo.verification import rules
from zoo.verification.rules import FINE, Rule, Verdict, suspect, wrong


def duplicate_name(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A name or alias means one card."""
    for name in (card.name, *card.aliases):
        others = [str(other.where.at("name")) for other in catalog.sharing("name", name) if other.path != card.path]
        if not others:
            yield FINE
            continue
        where = card.where.at("name" if name == card.name else "aliases")
        yield wrong(where, f"{name} is also the name of {', '.join(others)}", "rename one of them", name)


def unknown_collection(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """The family that the card names has a collection.yaml."""
    if card.collection is None:
        return
    if catalog.collection_of(card) is not None:
        yield FINE
        return
    near = nearest(card.collection, catalog.collections.names)
    hint = f"did you mean {near[0]}?" if near else "add a collection.yaml with that name"
    yield wrong(card.where.at("collection"), f"there is no collection {card.collection}", hint, card.collection)


def duplicate_collection(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A family is defined once."""
    defined: Counter[str] = catalog.derived("defined", lambda: Counter(catalog.collections.names))
    if card.collection is None or defined[card.collection] < 2:
        return
    others = [item for item in catalog.collections if item.name == card.collection]
    if catalog.sharing("collection", card.collection, most=1)[0] is card:
        places = ", ".join(str(item.where.at("name")) for item in others)
        yield wrong(
            others[-1].where.at("name"),
            f"the collection {card.collection} is defined in {places}",
            "rename one",
            card.collection,
        )


def duplicate_item(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A list names a thing once: the classes of a card, the building blocks and techniques of its family.

    Two classes of one name may be two classes (ImageNet has two cranes). A family's lists are told with its first card.
    """
    lists = [(card.where, "class_names", card.class_names)]
    collection = catalog.collection_of(card)
    if collection is not None and catalog.sharing("collection", card.collection, most=1)[0] is card:
        lists += [(collection.where, "architecture", collection.architecture)]
        lists += [(collection.where, "techniques", collection.techniques)]
    for where, field, items in lists:
        twice = (
            next((at for at, item in enumerate(items) if item in items[:at]), None)
            if len(set(items)) < len(items)
            else None
        )
        if twice is not None:
            reason = f"{items[twice]} is listed twice in {field}: two things of one name would explain it"
            yield suspect(where.at(field, twice), reason, "remove one", items[twice])
        elif items:
            yield FINE


def ignored_rule(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A rule that the card silences is one that there is."""
    for item in card.ignore:
        check, _, rule = item.rule.partition("/")
        if check != "consistency" or not rule or rule.partition("#")[0] in rules.all_rules():
            yield FINE
            continue
        near = nearest(rule, rules.all_rules())
        hint = f"did you mean consistency/{near[0]}?" if near else "zoo validate --explain all lists them"
        yield wrong(item.where.at("rule"), f"there is no rule {rule}", hint, item.rule)


def alias_of_itself(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """An alias is another name than the card's own."""
    if card.aliases:
        where = card.where.at("aliases")
        yield (
            wrong(where, f"{card.name} is its own alias", "remove it", card.name) if card.name in card.aliases else FINE
        )


RULES = (
    Rule("duplicate-name", "a name means one model", "rename one of them", duplicate_name),
    Rule(
        "unknown-collection", "a family is defined", "add its collection.yaml, or correct the name", unknown_collection
    ),
    Rule("duplicate-collection", "a family is defined once", "rename one", duplicate_collection),
    Rule("duplicate-item", "a list names a thing once", "remove one", duplicate_item),
    Rule("ignored-rule", "a rule that is silenced exists", "correct the id", ignored_rule),
    Rule("own-alias", "an alias is another name", "remove it", alias_of_itself),
)
