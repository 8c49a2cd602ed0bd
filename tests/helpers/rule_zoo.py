"""A small zoo for the tests of rules: a sound family of five, of which a test changes one card."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from zoo.registry.catalog import Catalog, Member, load_catalog
from zoo.verification.checks.consistency import apply_rules
from zoo.verification.rules import Verdict

MEMBERS = {"net_s": 10, "net_m": 20, "net_l": 30, "net_x": 40, "net_y": 50}
"""Millions of parameters."""


def card(name: str, millions: int, digest: str, **changes: str) -> str:
    """A sound card; `changes` replaces texts in it, written as old=new with old in the keyword's place."""
    return textwrap.dedent(
        f"""\
        schema: 1
        name: {name}
        collection: fam
        task: image-classification
        builder: {{library: timm, entry: {name}}}
        input:
          size: [3, 224, 224]
          interpolation: bicubic
          crop_pct: 0.875
          mean: [0.485, 0.456, 0.406]
          std: [0.229, 0.224, 0.225]
        weights:
          - file: {name}-{digest}.pth
            size_bytes: {millions * 4_000_000 + 20_000}
            sha256: "{digest}"
            urls: [https://models.example.org/fam/{name}-{digest}.pth]
        claims:
          params: {{value: {millions * 1_000_000}, rounded_to: 10000}}
          flops:
            - {{value: {millions * 160_000_000}, convention: macs}}
          results:
            - {{dataset: imagenet-1k, split: validation, metric: top1, value: {70 + millions / 10}, unit: percent}}
            - {{dataset: imagenet-1k, split: validation, metric: top5, value: {90 + millions / 10}, unit: percent}}
        """
    )


def family() -> dict[str, str]:
    """The texts of the sound family's cards, by name."""
    return {
        name: card(name, millions, f"{index}a{index}b{index}c{index}d")
        for index, (name, millions) in enumerate(MEMBERS.items(), 1)
    }


def make_zoo(folder: Path, texts: Mapping[str, str], collection: str = "schema: 1\nname: fam\n") -> Catalog:
    """The catalogue of these cards, written to a folder."""
    (folder / "fam").mkdir(parents=True, exist_ok=True)
    (folder / "fam" / "collection.yaml").write_text(collection, encoding="utf-8")
    for name, text in texts.items():
        (folder / "fam" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return load_catalog([folder])


def verdicts(zoo: Catalog, name: str) -> dict[str, list[Verdict]]:
    """What the rules find on a card, by rule, without what is fine."""
    by_rule = {
        rule: [verdict for verdict in of if verdict.where is not None]
        for rule, of in apply_rules(Member(zoo.find(name), zoo))
    }
    return {rule: of for rule, of in by_rule.items() if of}
