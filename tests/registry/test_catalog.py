"""The catalogue and its index: unchanged files are not read again, stale data is not used, and only affected groups are checked again."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from tests.helpers.rule_zoo import card, make_zoo
from zoo.errors import CardError, UnknownName
from zoo.registry import index
from zoo.registry.catalog import Catalog, Member, load_catalog
from zoo.registry.document import Document, read
from zoo.registry.files import FoundFile
from zoo.registry.index import IndexEntry
from zoo.registry.schema import data_root
from zoo.verification import lint
from zoo.verification.checks.consistency import apply_rules


def many(count: int) -> dict[str, str]:
    """Return valid cards of several families, enough for an index."""
    return {
        f"m{at}": card(f"m{at}", 10 + at, f"{at:04x}beef").replace("collection: fam", f"collection: fam{at // 10}")
        for at in range(count)
    }


@pytest.fixture
def big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 80 cards, which is enough for an index, and an empty ZOO_HOME."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    folder = tmp_path / "cards"
    make_zoo(folder, many(80))
    for family in range(8):
        (folder / f"fam{family}").mkdir()
        (folder / f"fam{family}" / "collection.yaml").write_text(f"name: fam{family}\n")
    for path in folder.rglob("*.yaml"):
        os.utime(path, ns=(1_700_000_000_000_000_000, 1_700_000_000_000_000_000))
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read, in order."""
    names: list[str] = []

    def counted(path: Path, found: FoundFile | None = None) -> Document:
        names.append(path.name)
        return read(path, found)

    monkeypatch.setattr(index, "read_document", counted)
    return names


def test_an_unchanged_folder_is_not_read_again(big: Path, reads: list[str]) -> None:
    first = load_catalog([big])
    assert len([name for name in reads if name.startswith("m")]) == 80
    reads.clear()
    second = load_catalog([big])
    assert [name for name in reads if name.startswith("m")] == []
    assert [item.where.document.data for item in second.cards] == [item.where.document.data for item in first.cards]
    assert [str(item.where) for item in second.cards] == [str(item.where) for item in first.cards]


def test_a_changed_file_is_read_again_and_no_other(big: Path, reads: list[str]) -> None:
    load_catalog([big])
    reads.clear()
    path = big / "fam" / "m7.yaml"
    path.write_text(path.read_text().replace("task: image-classification", "task: image-segmentation"))
    assert load_catalog([big]).find("m7").task == "image-segmentation"
    assert [name for name in reads if name.startswith("m")] == ["m7.yaml"]


def test_a_file_changed_while_the_index_is_saved_is_compared_by_its_digest(big: Path) -> None:
    path = big / "fam" / "m7.yaml"
    path.write_text(path.read_text())  # a time of change that is now
    load_catalog([big])
    stamp = path.stat().st_mtime_ns
    text = path.read_text()
    path.write_text(text.replace("bicubic", "lanczos"))  # as many bytes
    os.utime(path, ns=(stamp, stamp))
    model_input = load_catalog([big]).find("m7").input
    assert model_input is not None
    assert model_input.interpolation == "lanczos"


def test_a_damaged_index_costs_time_and_nothing_else(big: Path) -> None:
    load_catalog([big])
    for path in index.folder().iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert len(load_catalog([big]).cards) == 80


def test_an_index_with_a_changed_byte_is_not_used(big: Path) -> None:
    load_catalog([big])
    for path in index.folder().iterdir():
        path.write_bytes(path.read_bytes().replace(b"bicubic", b"bilubic"))
        assert index.read_cache(path.name) is None
    model_input = load_catalog([big]).find("m7").input
    assert model_input is not None and model_input.interpolation == "bicubic"


def test_removed_and_added_files_are_seen(big: Path) -> None:
    load_catalog([big])
    (big / "fam" / "m3.yaml").unlink()
    (big / "fam" / "extra.yaml").write_text("name: extra\n")
    names = load_catalog([big]).names
    assert "m3" not in names
    assert "extra" in names


def test_a_broken_file_comes_from_the_index_with_its_problems(big: Path) -> None:
    (big / "fam" / "m5.yaml").write_text("name: m5\nlicens: mit\n")
    first = load_catalog([big]).broken
    second = load_catalog([big]).broken
    assert [item.problems for item in second] == [item.problems for item in first]
    with pytest.raises(CardError, match="licens"):
        load_catalog([big]).find("m5")


def judged(zoo: Catalog, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the cards that are checked now, not taken from the cache."""
    names: list[str] = []

    def counted(member: Member) -> object:
        names.append(member.card.name)
        return apply_rules(member)

    with monkeypatch.context() as patch:
        patch.setattr(lint, "apply_rules", counted)
        list(lint.validate(zoo, range(len(zoo.cards)), ()))
    return names


def test_after_one_change_only_the_groups_of_that_card_are_checked_again(
    big: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(judged(load_catalog([big]), monkeypatch)) == 80
    assert judged(load_catalog([big]), monkeypatch) == []
    path = big / "fam" / "m7.yaml"
    path.write_text(path.read_text().replace("crop_pct: 0.875", "crop_pct: 0.9"))
    assert sorted(judged(load_catalog([big]), monkeypatch)) == sorted(f"m{at}" for at in range(10))


def test_effects_of_a_change_on_other_cards_are_found_with_the_index(big: Path) -> None:
    def wrong(zoo: Catalog) -> set[str]:
        checked = lint.validate(zoo, range(len(zoo.cards)), ())
        return {item.name for item in checked for finding in item.violations if finding.status.value == "wrong"}

    assert wrong(load_catalog([big])) == set()
    path = big / "fam" / "m30.yaml"
    path.write_text(path.read_text().replace("name: m30", "name: m31"))
    assert wrong(load_catalog([big])) == {"m31"}
    (big / "fam4" / "collection.yaml").unlink()
    assert wrong(load_catalog([big])) == {"m31", *(f"m{at}" for at in range(40, 50))}


def test_names_and_aliases_are_found_and_near_ones_offered(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path, {"a": "name: network\naliases: [net]\n"})
    assert zoo.find("net").name == "network"
    with pytest.raises(UnknownName, match="did you mean 'network'"):
        zoo.find("netwrk")


def test_a_data_set_is_found_under_all_spellings_of_its_name() -> None:
    zoo = load_catalog()
    assert zoo.dataset("ImageNet-1k") is zoo.dataset("imagenet_1K") is zoo.dataset("ILSVRC2012") is not None


def test_shipped_data_sets_are_read_on_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.yaml").write_text("name: net\n")
    scanned: list[Path] = []
    scan = index.scan

    def noted(top: Path) -> list[IndexEntry]:
        scanned.append(top)
        return scan(top)

    monkeypatch.setattr(index, "scan", noted)
    catalog = load_catalog((tmp_path,))
    assert catalog.find("net").name == "net"
    assert scanned == [tmp_path]
    assert pickle.loads(pickle.dumps(catalog)).dataset("imagenet-1k") is not None
    assert catalog.dataset("imagenet-1k") is not None
    assert scanned[1:] == [data_root() / "cards" / "datasets"] * 2
