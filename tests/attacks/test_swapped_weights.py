"""A weights file that is exchanged between hash, load and release: what is said is about the bytes that were used."""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import random
import select
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.attacks.helpers import copy_digits, findings, run_cli
from tests.helpers.fetching import card_about, sha256
from tests.helpers.project import ROOT
from zoo.accuracy.evaluate import PartWork
from zoo.errors import CannotCheck, WrongContent
from zoo.models.subject import Settings, Subject
from zoo.registry.catalog import Member, load_catalog
from zoo.runtime.engines import dumps
from zoo.weights import store, tensors
from zoo.weights.records import current_record

SWAPS = 20
GOOD = next((ROOT / "cards" / "digits").glob("*.safetensors"))
CLOSED = 0x10
"""IN_CLOSE_NOWRITE of Linux: a file that was only read has been closed (inotify(7))."""


def bad_weights() -> bytes:
    """The digits model's file with a classifier of other values, of the same size."""
    state = load_file(GOOD)
    state["fc.weight"] = state["fc.weight"].flip(0).contiguous()
    target = Path(os.environ["ZOO_HOME"]).parent / f"bad-{os.getpid()}.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, target, metadata={"format": "pt"})
    content = target.read_bytes()
    target.unlink()
    assert len(content) == GOOD.stat().st_size and content != GOOD.read_bytes()
    return content


def exchange(path: Path, content: bytes, *, by_rename: bool = False) -> None:
    """Put other bytes of the same size into a file, and set back its time."""
    status = path.stat()
    if by_rename:
        other = path.with_name(f"{path.name}.new")
        other.write_bytes(content)
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.replace(path)
        return
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def digits_card(folder: Path, content: bytes, urls: list[str]) -> Path:
    """The shipped digits card, about these bytes, at these addresses or beside the card."""
    card = copy_digits(folder)
    weights = next(card.parent.glob("*.safetensors"))
    text = card.read_text(encoding="utf-8").replace(sha256(GOOD.read_bytes()), sha256(content))
    assert sha256(content) in text
    if urls:
        text = text.replace(f"- file: {weights.name}\n", f"- file: {weights.name}\n    urls: {json.dumps(urls)}\n")
        assert urls[0] in text
        weights.unlink()
    else:
        weights.write_bytes(content)
    card.write_text(text, encoding="utf-8")
    return card


def test_a_blob_that_is_good_while_it_is_verified_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    bad = bad_weights()
    server = tmp_path / "server.safetensors"
    server.write_bytes(bad)
    digits_card(tmp_path / "zoo", bad, [server.as_uri()])
    common = ("resnest_digits", "--cards", tmp_path / "zoo")
    fetched = run_cli("fetch", *common)
    assert fetched.code == 0, fetched.err
    blob = Path(fetched.out.strip())
    exchange(blob, GOOD.read_bytes())
    verified = run_cli("verify", *common, "--format", "json")
    digests = [item for item in findings(verified) if item["key"].endswith("/sha256")]
    assert (verified.code, digests[0]["status"], digests[0]["measured"]) == (1, "wrong", sha256(GOOD.read_bytes()))
    assert not [item for item in findings(verified) if item["check"] == "accuracy" and item["status"] == "ok"]
    exchange(blob, bad)
    published = run_cli("publish", *common, "--to", f"folder:{tmp_path / 'release'}")
    assert published.code != 0
    assert not (tmp_path / "release").exists()


def test_bytes_that_change_without_a_trace_are_found_by_refresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    content = b"x" * 1000
    source = tmp_path / "net.pth"
    source.write_bytes(content)
    card = card_about(tmp_path / "cards", content, [source.as_uri()])
    (weights,) = card.weights
    blob = store.fetch(card, weights).path
    exchange(blob, b"y" * 1000)
    measured = store.measure(weights, blob)  # a disk that loses bits changes no time, so zoo writes the record again
    assert measured.sha256 == sha256(b"y" * 1000)
    exchange(blob, content)
    store.measure(weights, blob)
    record, status = current_record(blob), blob.stat()
    assert record is not None and record.stamp is not None
    rotten = b"z" * 1000
    with blob.open("r+b") as file:
        file.write(rotten)
    monkeypatch.setattr(type(record.stamp), "of", classmethod(lambda cls, status: record.stamp))  # nothing shows
    assert store.measure(weights, blob).sha256 == sha256(content)
    assert store.measure(weights, blob, refresh=True).sha256 == sha256(rotten)
    monkeypatch.undo()
    assert status.st_size == blob.stat().st_size


def test_links_and_permissions_change_no_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    source = tmp_path / "net.pth"
    source.write_bytes(b"x" * 1000)
    card = card_about(tmp_path / "cards", b"x" * 1000, [source.as_uri()])
    (weights,) = card.weights
    blob = store.fetch(card, weights).path
    assert current_record(blob) is not None
    os.link(blob, tmp_path / "another name")
    assert current_record(blob) is None
    assert store.measure(weights, blob).sha256 == sha256(b"x" * 1000)
    assert current_record(blob) is not None  # renewed
    blob.chmod(0o400)
    assert store.measure(weights, blob).evidence == () and current_record(blob) is not None


def state_bytes(value: float) -> bytes:
    state = {"a": torch.full((1 << 20,), value)}
    from safetensors.torch import save

    return save(state)


@pytest.mark.parametrize("place", ["beside the card", "in the store"])
@pytest.mark.parametrize("kind", ["safetensors", "pickle"])
def test_tensors_are_those_of_the_digest_at_every_moment(
    place: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    contents = []
    for value in (1.0, 2.0):
        path = tmp_path / "made"
        torch.save({"a": torch.full((1 << 20,), value)}, path)
        contents.append(state_bytes(value) if kind == "safetensors" else path.read_bytes())
    first, second = contents
    assert len(first) == len(second)
    source = tmp_path / "source.pth"
    source.write_bytes(first)
    card = card_about(tmp_path / "cards", first, [source.as_uri()] if place == "in the store" else [])
    (weights,) = card.weights
    shutil.copy(source, tmp_path / "cards" / "net.pth")
    path = store.fetch(card, weights).path
    draw, outcomes = random.Random(14), {"first": 0, "refused": 0}
    for number in range(SWAPS):
        exchange(path, first)
        artifact = store.measure(weights, path)
        assert artifact.sha256 == sha256(first)
        swap = threading.Timer(draw.uniform(0, 0.01), exchange, (path, second), {"by_rename": bool(number % 2)})
        if number < 4:
            exchange(
                path, second, by_rename=bool(number % 2)
            )  # at once, so that some swaps certainly come before the load
        else:
            swap.start()
        try:
            loaded = tensors.read(artifact).tensors["a"]
            assert bool((loaded == 1.0).all())
            outcomes["first"] += 1
        except (WrongContent, CannotCheck) as error:
            assert sha256(first) in error.what and "changed after it was measured" in error.what
            outcomes["refused"] += 1
        finally:
            if swap.is_alive():
                swap.join()
    assert sum(outcomes.values()) == SWAPS and outcomes["refused"] >= 4, outcomes


def test_a_worker_that_measures_another_file_ranks_nothing(tmp_path: Path) -> None:
    copy_digits(tmp_path / "zoo")
    catalog = load_catalog([tmp_path / "zoo"])
    subject = Subject(Member(catalog.find("resnest_digits"), catalog), Settings())
    dataset = catalog.find_dataset("digits")
    measured = subject.artifact(subject.card.preferred_weights).sha256
    split = next(iter(dataset.splits))
    work = pickle.loads(dumps(PartWork(subject, dataset, split, sha256(b"the bytes that the facts are kept for"))))
    with pytest.raises(WrongContent, match=f"changed after it was measured: .* now {measured}"):
        work([0])
    assert len(PartWork(subject, dataset, split, measured)([0]).ranks) == 1


def test_tensors_do_not_change_with_the_file_after_they_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(state_bytes(1.0))
    card = card_about(tmp_path, path.read_bytes(), file="net.safetensors", format="safetensors")
    loaded = tensors.read(store.measure(card.weights[0], path)).tensors["a"]
    exchange(path, state_bytes(2.0))
    assert bool((loaded == 1.0).all())
    os.truncate(path, 0)  # a mapped file would end the process here
    assert bool((loaded == 1.0).all())


@pytest.mark.parametrize("change", ["longer", "shorter", "pipe", "gone"])
def test_a_file_that_is_no_longer_the_measured_one_is_refused(change: str, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(b"x" * 1000)
    card = card_about(tmp_path, b"x" * 1000)
    artifact = store.measure(card.weights[0], path)
    path.unlink()
    if change == "pipe":
        os.mkfifo(path)
    elif change != "gone":
        path.write_bytes(b"x" * (2000 if change == "longer" else 500))
    with pytest.raises((WrongContent, CannotCheck), match=r"changed after|not a regular file|cannot read"):
        tensors.read(artifact)


@contextmanager
def exchanged_when_closed(path: Path, action: Callable[[], None]) -> Iterator[list[int]]:
    """Call the action when another process has read and closed the file for the first time; yields how often that was."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init()
    assert descriptor >= 0 and libc.inotify_add_watch(descriptor, os.fsencode(path), CLOSED) >= 0
    done, stop = list[int](), threading.Event()

    def watch() -> None:
        while not stop.is_set():
            if select.select([descriptor], [], [], 0.05)[0]:
                _, mask, _, _ = struct.unpack_from("iIII", os.read(descriptor, 4096))
                assert mask & CLOSED
                done.append(1)
                action()
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join()
        os.close(descriptor)


@pytest.mark.skipif(not Path("/proc/sys/fs/inotify").is_dir(), reason="needs Linux's inotify")
def test_a_checkpoint_that_is_overwritten_while_it_is_verified_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    bad = bad_weights()
    card = digits_card(tmp_path / "zoo", bad, [])
    weights = next(card.parent.glob("*.safetensors"))
    with exchanged_when_closed(weights, lambda: exchange(weights, GOOD.read_bytes())) as done:
        verified = run_cli(
            "verify", "resnest_digits", "--cards", tmp_path / "zoo", "--check", "loading", "--format", "json"
        )
    assert done and verified.code == 1, verified.err
    (finding,) = findings(verified)
    assert finding["status"] == "wrong" and "changed after it was measured" in finding["reason"]
    assert sha256(bad) in finding["reason"] and sha256(GOOD.read_bytes()) in finding["reason"]
