"""Cached results of `zoo validate` are used only with the code that computed them."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.project import ROOT
from zoo.registry import index
from zoo.runtime import source_code

TYPES_ONLY = ("zoo.models", "zoo.weights")
"""Rules and the check `consistency` import types from these rooms, to annotate their arguments."""
ONLY_DOCSTRINGS = {"zoo.runtime", "zoo.verification"}


def module_at(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_the_stamp_of_a_cache_covers_the_code_that_cached_results_depend_on() -> None:
    """The files are listed by hand, because deriving them on each start takes 5 ms; this test derives them."""
    zoo = ROOT / "zoo"
    rules = [module_at(path) for path in (zoo / "verification" / "rules").glob("*.py")]
    registry = [module_at(path) for path in (zoo / "registry").glob("*.py")]
    listed = {module_at(zoo / name) for name in index._CODE}
    needed = set(source_code.depends_on(["zoo.verification.lint", *rules], TYPES_ONLY))
    assert needed - {*rules, *registry} - ONLY_DOCSTRINGS == listed
