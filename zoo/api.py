"""What a program needs of zoo, by a model's name: the functions that `import zoo` offers.

`cards` is a folder of cards (or several) in place of the shipped ones, as `--cards` is. Imports all but the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import NotHere
from zoo.models.build import build_model, load_model, make_transform
from zoo.models.builders import Transform
from zoo.models.subject import Settings
from zoo.registry.card import Card
from zoo.registry.catalog import Broken, load_catalog
from zoo.verification import runner
from zoo.verification.report import Report
from zoo.weights import store

if TYPE_CHECKING:
    from torch import nn

Folders = str | Path | Iterable[str | Path]


def list_models(query: str = "", *, cards: Folders = ()) -> list[str]:
    """The names of the models whose name has the query in it, sorted."""
    return sorted(name for name in load_catalog(_folders(cards)).names if query.lower() in name.lower())


def load_card(name: str, *, cards: Folders = ()) -> Card:
    """The card of that name or alias; raises UnknownName with the nearest names."""
    return load_catalog(_folders(cards)).find(name)


def fetch(name: str, *, cards: Folders = ()) -> Path:
    """The model's preferred file of weights on this machine, downloaded if need be, of the card's size and SHA-256.

    Raises TransferFailed when it cannot be got, WrongContent when it is not what the card says.
    """
    card = load_card(name, cards=cards)
    if not card.weights:
        raise NotHere(
            f"the card of {name} lists no weights", where=str(card.where), hint="add `weights: [{file: ...}]`"
        )
    return store.fetch(card, card.weights[0]).path


def create_model(name: str, *, pretrained: bool = False, allow_code: bool = False, cards: Folders = ()) -> nn.Module:
    """The model in eval mode on the CPU, with fresh weights or the card's verified ones, strictly loaded.

    allow_code: run the factory that the card names, where its builder is `python`; raises NotHere without.
    """
    card = load_card(name, cards=cards)
    if card.builder is None:
        raise NotHere(
            f"the card of {name} names no builder",
            where=str(card.where),
            hint="add `builder: {library: timm, entry: ...}`",
        )
    if not pretrained:
        return build_model(card.builder, allow_code=allow_code)
    if not card.weights:
        raise NotHere(
            f"the card of {name} lists no weights", where=str(card.where), hint="add `weights: [{file: ...}]`"
        )
    weights = card.weights[0]
    return load_model(card.builder, store.fetch(card, weights), weights.rename, allow_code=allow_code)


def create_transform(name: str, *, cards: Folders = ()) -> Transform:
    """The model's preprocessing: an RGB PIL image -> float tensor (channels, height, width), normalised."""
    card = load_card(name, cards=cards)
    if card.input is None:
        raise NotHere(
            f"the card of {name} has no input", where=str(card.where), hint="add `input: {size: [3, 224, 224]}`"
        )
    return make_transform(card.input)


def verify(
    *names: str,
    checks: Iterable[str] = (),
    fetch: bool = False,
    device: str = "auto",
    data: Mapping[str, Path] | None = None,
    strict: bool = False,
    allow_code: bool = False,
    cards: Folders = (),
) -> Report:
    """The report about these models, or about all of the zoo: what `zoo verify` prints as JSON.

    data: where this machine's copies of data sets are, by the data set's name.
    """
    catalog = load_catalog(_folders(cards))
    selected: list[Card | Broken] = [catalog.find(name) for name in names] or [*catalog.cards, *catalog.broken]
    settings = Settings(fetch=fetch, device=device, data=data or {}, allow_code=allow_code)
    options = {"command": "verify", "strict": strict, "checks": list(checks), "fetch": fetch, "device": device}
    return runner.as_report(runner.verify(selected, catalog, settings, tuple(checks)), options=options)


def _folders(cards: Folders) -> tuple[Path, ...]:
    return (Path(cards),) if isinstance(cards, (str, Path)) else tuple(Path(folder) for folder in cards)
