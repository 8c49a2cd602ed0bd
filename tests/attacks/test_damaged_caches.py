"""A damaged or foreign file below ZOO_HOME is measured again and replaced: never trusted, no traceback, no hang."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.damage import DAMAGES, SEALED_DAMAGES, is_sealed, state_files
from tests.attacks.helpers import about, run_cli
from tests.helpers.project import ROOT, RunZoo
from tests.helpers.state import rewrite
from zoo.accuracy import evaluate
from zoo.accuracy.datasets import open_copy
from zoo.accuracy.evaluate import Counts, count_ranks
from zoo.errors import Refused
from zoo.models import facts
from zoo.models.facts import Fact
from zoo.publishing import gate
from zoo.registry import index
from zoo.registry.catalog import Member, load_catalog
from zoo.runtime import storage
from zoo.runtime.json_form import has_form, is_count, is_number, is_plain, is_text
from zoo.runtime.storage import JsonFolder, read_json, state_folder, write_json
from zoo.verification import stored_reports

DATA = {"value": 4096, "evidence": {"counts": {"images": 3, "top1": 2, "top5": 3}, "measured": "2026-11-24"}}
MODEL = "resnest_digits"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of the test's own, and no test that hangs."""
    home = tmp_path / "home"
    monkeypatch.setenv("ZOO_HOME", str(home))
    signal.alarm(120)
    yield home
    signal.alarm(0)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A home in which everything about the digits model is known, and what was found."""
    home = tmp_path_factory.mktemp("warm")
    ran = run_cli("verify", MODEL, "--format", "json", ZOO_HOME=str(home))
    assert ran.code == 0, ran.out
    return home, about(ran, MODEL)


def anything(value: Any) -> bool:
    return True


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_file_is_none_and_is_replaced(kind: str, _home: Path) -> None:
    path = state_folder("facts", "ab") / "abcd.json"
    write_json(state_folder("facts", "cd") / "cdef.json", {"value": 1, "evidence": {}})
    write_json(path, DATA)
    assert read_json(path, anything) == DATA
    DAMAGES[kind](path)
    assert read_json(path, anything) is None
    write_json(path, DATA)
    assert read_json(path, anything) == DATA
    assert stat.S_IMODE(path.stat().st_mode) & 0o400


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_piece_is_removed_and_the_others_are_read(kind: str, _home: Path) -> None:
    folder = JsonFolder(state_folder("ranks", "ab"))
    for value in (1, 2):
        assert folder.add({"value": value})
    damaged = sorted(folder.folder.iterdir())[0]
    kept = json.loads(sorted(folder.folder.iterdir())[1].read_text())["value"]
    DAMAGES[kind](damaged)
    assert list(folder.read(anything)) == [{"value": kept}]
    assert not os.path.lexists(damaged)


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_fact_is_measured_again_and_replaced(kind: str, _home: Path) -> None:
    key = facts.fact_key("kind", measured_by=(), libraries=(), entry="a")
    facts.keep(key, Fact(4096, {"counts": {"images": 3}}))
    facts.keep(facts.fact_key("kind", measured_by=(), libraries=(), entry="b"), Fact(5))
    (path,) = state_folder("facts").glob(f"*/{key}.json")
    DAMAGES[kind](path)
    assert facts.recall(key) is None
    assert facts.recall_or_measure(key, lambda: Fact(7)).value == 7
    assert facts.recall(key) == Fact(7, {})


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_index_is_none_and_is_replaced(kind: str, _home: Path) -> None:
    index.write_cache("a.cards", (1, []))
    path = index.folder() / "a.cards"
    DAMAGES[kind](path)
    assert index.read_cache("a.cards") is None
    index.write_cache("a.cards", (1, []))
    assert index.read_cache("a.cards") == (1, [])


def test_an_index_of_another_zoo_or_of_another_form_is_not_used(_home: Path) -> None:
    index.write_cache("a.cards", (1, []))
    shutil.copy(index.folder() / "a.cards", index.folder() / "b.cards")
    assert index.read_cache("b.cards") is None
    cards = _home.parent / "cards"
    cards.mkdir()
    for number in range(index.MIN_FILES):
        (cards / f"m{number}.yaml").write_text(f"schema: 1\nname: m{number}\nlicense: mit\n")
    expected = load_catalog([cards]).names
    (name,) = (path.name for path in index.folder().iterdir() if path.name not in ("a.cards", "b.cards"))
    values: list[Any] = [None, 1, [], (), (1,), (1, 2), (1, [()]), (1, [(1,) * 10]), {"a": 1}, (1, ["x" * 10])]
    for value in values:
        index.write_cache(name, value)
        assert load_catalog([cards]).names == expected


def test_verdicts_of_another_form_are_judged_again(_home: Path, run_zoo: RunZoo) -> None:
    cards = _home.parent / "cards"
    cards.mkdir()
    for number in range(index.MIN_FILES):
        (cards / f"m{number}.yaml").write_text(f"schema: 1\nname: m{number}\nlicense: mit\n")
    first = run_zoo("validate", "--all", "--cards", cards)
    (name,) = (path.name for path in index.folder().glob("*.verdicts"))
    values: list[Any] = [1, [], (), {1: 2}, {"a": 1}, {str(cards / "m1.yaml"): (1, 2, 3)}, {"a": ()}]
    for value in values:
        index.write_cache(name, value)
        assert run_zoo("validate", "--all", "--cards", cards) == first


IMPOSSIBLE_INDICES: list[Any] = [[0, -1], [0, 0], [0], [0, 1.0], [0, True], ["0", "1"], {}, None, [0, 10**30]]
MEASURED = {
    "counts": {"images": 360, "top1": 359, "top5": 360},
    "device": "cpu",
    "precision": "fp32",
    "libraries": {"torch": "2.14.1"},
    "zoo": "0.2",
    "code_sha256": "0" * 64,
    "measured": "2026-11-24T04:00:00Z",
}


@pytest.mark.parametrize(
    ("value", "change"),
    [
        *(
            (359, {"counts": {"images": 360, "top1": 359, "top5": top5}})
            for top5 in (358, 361, -1, 1e9, "360", True, None)
        ),
        *((359, {"counts": {"images": images, "top1": 359, "top5": 360}}) for images in (0, 359, 361, 10**30)),
        (359, {"counts": {"images": 360, "top1": 359}}),
        (359, {"counts": [360, 359, 360]}),
        (358, {}),
        ("359", {}),
        (359.0, {}),
        (None, {}),
        *((359, {"measured": moment}) for moment in ("2099-01-01T00:00:00Z", "yesterday", "", 1, None)),
        (359, {"libraries": ["torch"]}),
        (359, {"libraries": {"torch": 2}}),
        (359, {"code_sha256": "0"}),
        (359, {"device": {}}),
    ],
)
def test_an_accuracy_that_is_impossible_is_not_used(value: object, change: dict[str, Any]) -> None:
    assert evaluate._is_accuracy(Fact(359, MEASURED), 360)
    assert not evaluate._is_accuracy(Fact(value, {**MEASURED, **change}), 360)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        *({"ranks": ranks} for ranks in ("zz", "06", "0", "000", "", 0, ["0", "1"], "0é")),
        *({"indices": indices} for indices in IMPOSSIBLE_INDICES),
        {"lines_sha256": None},
        {"lines_sha256": "00"},
        {"more": 1},
    ],
)
def test_ranks_that_are_impossible_are_not_used(change: dict[str, Any]) -> None:
    piece = {"indices": [0, 1], "ranks": "05", "lines_sha256": "0" * 64}
    assert evaluate._is_piece(piece)
    assert not evaluate._is_piece({**piece, **change})


def test_a_rank_that_is_no_rank_counts_as_no_hit() -> None:
    assert count_ranks(["zz0", "5?4"]) == Counts(6, 1, 2)


@pytest.mark.parametrize("value", [True, -1, 1.0, 2**63, "1", None, [], float("nan")])
def test_what_is_no_count(value: object) -> None:
    assert not is_count(value)


def test_forms() -> None:
    assert is_number(1.5) and is_number(-3) and not is_number(True) and not is_number(float("inf"))
    assert is_text("é") and not is_text("\ud800") and not is_text(b"x")
    assert has_form({"a": 1}, {"a": is_count, "b?": is_text}) and not has_form({"a": 1, "c": 1}, {"a": is_count})
    assert has_form([1, "x"], (is_count, is_text)) and not has_form([1], (is_count, is_text))
    deep: Any = 0
    for _ in range(40):
        deep = [deep]
    assert is_plain([{"a": None}]) and not is_plain(deep) and not is_plain({"\udfff": 1})


def as_zoo_finds(home: Path) -> tuple[int, list[dict[str, Any]]]:
    ran = run_cli("verify", MODEL, "--format", "json", ZOO_HOME=str(home))
    return ran.code, about(ran, MODEL)


@pytest.mark.parametrize("offset", range(2))
def test_a_home_full_of_damage_changes_no_finding_and_heals(
    offset: int, warm: tuple[Path, list[dict[str, Any]]], _home: Path
) -> None:
    """Each file of a warm home is damaged in another way, and in yet another one in the second run."""
    shutil.copytree(warm[0], _home)
    kinds: list[Callable[[Path], None]] = [*DAMAGES.values(), *SEALED_DAMAGES.values()]
    files = state_files(_home)
    facts_of_run = [path for path in files if is_sealed(path)]
    for number, path in enumerate(files):
        kind = kinds[(number * 11 + offset * 7) % len(kinds)]
        sealed_only = kind in SEALED_DAMAGES.values() and not is_sealed(path)
        (DAMAGES["fifo"] if sealed_only else kind)(path)
    assert as_zoo_finds(_home) == (0, warm[1])
    assert all(is_sealed(path) for path in facts_of_run)
    before = {path: path.read_bytes() for path in facts_of_run}
    assert as_zoo_finds(_home) == (0, warm[1])
    assert before == {path: path.read_bytes() for path in facts_of_run}  # known, and not measured again


def test_a_fact_with_another_value_never_makes_a_finding_ok(
    warm: tuple[Path, list[dict[str, Any]]], _home: Path, tmp_path: Path
) -> None:
    """The card claims one parameter too many, and the cached fact is changed to say the same."""
    shutil.copytree(warm[0], _home)
    zoo = tmp_path / "zoo"
    shutil.copytree(ROOT / "cards" / "digits", zoo / "digits")
    (zoo / "datasets").mkdir()
    for name in ("digits.yaml", "digits.csv.gz"):
        shutil.copy(ROOT / "cards" / "datasets" / name, zoo / "datasets" / name)
    card = zoo / "digits" / f"{MODEL}.yaml"
    params = next(item["measured"] for item in warm[1] if item["check"] == "params")
    card.write_text(card.read_text().replace(str(params), str(params + 1)))
    for path in state_files(_home):
        text = path.read_bytes()
        if b'"trainable"' in text:
            path.write_bytes(text.replace(str(params).encode(), str(params + 1).encode()))
    ran = run_cli("verify", MODEL, "--check", "params", "--cards", zoo, "--format", "json", ZOO_HOME=str(_home))
    (finding,) = (item for item in about(ran, MODEL) if item["check"] == "params")
    assert (ran.code, finding["status"], finding["measured"]) == (1, "wrong", params)


def test_a_changed_report_is_refused_and_an_older_one_is_not_used(
    warm: tuple[Path, list[dict[str, Any]]], _home: Path
) -> None:
    shutil.copytree(warm[0], _home)
    catalog = load_catalog((ROOT / "cards",))
    member = Member(catalog.find(MODEL), catalog)
    (path,) = stored_reports.folder(member.sha256).iterdir()
    assert gate.newest_report(member).findings
    older = path.with_name(f"2026-01-01T000000Z{path.name[18:]}")
    shutil.copy(path, older)
    for kind in ("truncated", "other digit", "fifo", "empty", "sparse", "folder"):
        copy = path.read_bytes()
        DAMAGES[kind](path)
        with pytest.raises(Refused, match="is damaged"):
            gate.newest_report(member)
        with pytest.raises(Refused, match=r"is damaged|is not verified"):
            gate.newest_report(member)
        if path.is_dir():
            shutil.rmtree(path)
        path.write_bytes(copy)
        shutil.copy(path, older)
    path.rename(path.with_name(path.name.replace("2026", "2027")))
    with pytest.raises(Refused, match="is damaged"):
        gate.newest_report(member)


def test_digests_of_images_that_are_changed_are_measured_again(_home: Path, tmp_path: Path) -> None:
    from tests.helpers.digit_images import dataset, picture_zoo, save_digits

    names = save_digits(tmp_path / "copy", each=2)
    zoo = picture_zoo(tmp_path / "zoo", images=len(names))
    paths = {"digit-files": tmp_path / "copy"}
    copy = open_copy(dataset(zoo), "validation", paths)
    copy.hash_all()
    expected = copy.manifest_sha256
    (path,) = (path for path in state_folder("data").rglob("*.json"))
    stored = path.read_bytes()

    def swap(data: dict[str, Any]) -> dict[str, Any]:
        images = {name: [stamp, "0" * 63 + "x"] for name, (stamp, _) in data["images"].items()}
        return {"images": images}

    for damage in (*DAMAGES.values(), lambda path: rewrite(path, swap)):
        path.write_bytes(stored)
        damage(path)
        again = open_copy(dataset(zoo), "validation", paths)
        assert again.manifest_sha256 is None
        again.hash_all()
        assert again.manifest_sha256 == expected
        assert open_copy(dataset(zoo), "validation", paths).manifest_sha256 == expected
        shutil.rmtree(path.parent)
        path.parent.mkdir()


def test_something_in_the_place_of_a_folder_is_moved_aside(_home: Path) -> None:
    _home.mkdir()
    (_home / "v2").write_text("a file of another user")
    write_json(state_folder("facts", "ab") / "x.json", {"value": 1})
    assert read_json(state_folder("facts", "ab") / "x.json", anything) == {"value": 1}
    (aside,) = (_home / "quarantine").iterdir()
    assert aside.read_text() == "a file of another user"


def test_nothing_outside_of_the_home_is_moved_aside(_home: Path) -> None:
    _home.write_text("a file of another user")
    assert not storage.keep_json(state_folder("facts", "ab") / "x.json", {"value": 1})
    assert _home.read_text() == "a file of another user"
    assert "Not a directory" in storage.take_lost_write() and storage.take_lost_write() == ""
