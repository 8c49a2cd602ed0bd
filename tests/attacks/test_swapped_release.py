"""What is published are the bytes that were hashed: swapping a card's file at any moment never publishes other bytes."""

from __future__ import annotations

import os
import random
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.project import replace_once
from tests.helpers.releases import NAME, WEIGHTS, WEIGHTS_FILE, WEIGHTS_SHA256, digits_report
from tests.servers.hub_server import HubServer
from zoo import api
from zoo.errors import WrongContent
from zoo.publishing import gate, hub_push, release, run, targets
from zoo.publishing.places import parse_place
from zoo.publishing.run import Publication, PublishRequest
from zoo.registry.card import Rename
from zoo.registry.catalog import load_catalog
from zoo.weights import contents, tensors
from zoo.weights.store import Artifact

OTHER = WEIGHTS[:-4096] + bytes(4096)
"""A file of the same size, with the same header and other values."""
assert len(OTHER) == len(WEIGHTS) and OTHER != WEIGHTS
HEADER_BYTES = struct.unpack("<Q", WEIGHTS[:8])[0]
RENAMED = WEIGHTS[:8] + WEIGHTS[8 : 8 + HEADER_BYTES].replace(b"conv1.0.", b"stem1.0.") + WEIGHTS[8 + HEADER_BYTES :]
"""The same values under other names, so that a reader of the header decides to convert the file."""
SWAPS = 20


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        server.add_org("lab", {"ada": "write"})
        server.configure_client(monkeypatch, tmp_path / "hf", token=server.add_user("ada"))
        yield server


def publish(zoo: Path, to: str) -> Publication:
    catalog = load_catalog([zoo])
    (publication,) = run.publish([catalog.find(NAME)], catalog, PublishRequest(parse_place(to), report=digits_report()))
    return publication


def write(path: Path, content: bytes) -> None:
    """Write as a training script does: over the file itself, with the time that it had."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def put(path: Path, content: bytes) -> None:
    """Put another file in the place of the file."""
    other = path.with_name("other")
    other.write_bytes(content)
    other.replace(path)


@contextmanager
def swapping(path: Path, change: Callable[[Path, bytes], None], seed: int) -> Iterator[None]:
    """Swap the file's content at random moments from a thread."""
    chance, stop = random.Random(seed), threading.Event()

    def work() -> None:
        while not stop.is_set():
            change(path, chance.choice((WEIGHTS, OTHER, RENAMED)))
            time.sleep(chance.random() * 0.004)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        change(path, WEIGHTS)


@pytest.mark.parametrize("change", [write, put])
def test_swaps_at_random_moments_never_reach_a_folder(
    digits_zoo: Path, tmp_path: Path, change: Callable[[Path, bytes], None]
) -> None:
    path, outcomes = digits_zoo / "digits" / WEIGHTS_FILE, []
    for number in range(SWAPS):
        out = tmp_path / f"out-{number}"
        with swapping(path, change, number):
            publication = publish(digits_zoo, f"folder:{out}")
        outcomes.append(publication.kind)
        if publication.kind == "failed":
            assert publication.error is not None and publication.error.exit_code in (1, 3)
            assert not out.exists()
        else:
            assert (out / "model.safetensors").read_bytes() == WEIGHTS
    assert "failed" in outcomes, "no swap hit the moment of reading"


def test_swaps_at_random_moments_never_reach_the_hub(hub: HubServer, digits_zoo: Path) -> None:
    path, published = digits_zoo / "digits" / WEIGHTS_FILE, 0
    for number in range(SWAPS // 2):
        with swapping(path, write, number):
            publication = publish(digits_zoo, f"hf:lab/net-{number}")
        if publication.kind == "failed":
            assert publication.error is not None and publication.error.exit_code in (1, 3)
            assert hub.log.commits == published
        else:
            published += 1
            assert hub.read(f"lab/net-{number}", "model.safetensors") == WEIGHTS


MOMENTS = {
    "after hashing": (gate, "prove"),
    "before the header is read": (release, "_is_releasable"),
    "before composing": (run, "compose_release"),
    "before writing": (targets, "_copy"),
    "before comparing": (targets, "_compare"),
    "before uploading": (hub_push, "_operations"),
    "while uploading": (hub_push, "file_stamps"),
}


@pytest.mark.parametrize("content", [RENAMED, b""], ids=["names", "nothing"])
@pytest.mark.parametrize("change", [write, put])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_swap_after_hashing_does_not_matter(
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    digits_zoo: Path,
    tmp_path: Path,
    moment: str,
    change: Callable[[Path, bytes], None],
    content: bytes,
) -> None:
    place, name = MOMENTS[moment]
    honest = getattr(place, name)
    swaps: list[str] = []

    def swapped(*arguments: object, **options: object) -> object:
        swaps.append(moment)
        change(digits_zoo / "digits" / WEIGHTS_FILE, content)
        return honest(*arguments, **options)

    monkeypatch.setattr(place, name, swapped)
    to = "hf:lab/net" if place is hub_push else f"folder:{tmp_path / 'out'}"
    assert publish(digits_zoo, to).kind == "published"
    assert swaps
    out = tmp_path / "out" / "model.safetensors"
    assert (hub.read("lab/net", "model.safetensors") if place is hub_push else out.read_bytes()) == WEIGHTS


@pytest.mark.parametrize("content", [OTHER, RENAMED, WEIGHTS[:100]], ids=["values", "names", "less"])
def test_a_swap_before_hashing_is_refused(
    monkeypatch: pytest.MonkeyPatch, digits_zoo: Path, tmp_path: Path, content: bytes
) -> None:
    path, honest = digits_zoo / "digits" / WEIGHTS_FILE, contents.copy_file

    def swapped(source: Path, target: Path) -> contents.FileDigest:
        put(source, content)
        return honest(source, target)

    monkeypatch.setattr("zoo.weights.store.copy_file", swapped)
    publication = publish(digits_zoo, f"folder:{tmp_path / 'out'}")
    assert isinstance(publication.error, WrongContent) and publication.error.exit_code == 1
    assert str(publication.error.where).startswith(str(path.parent))
    assert not (tmp_path / "out").exists()


def test_a_pipe_in_the_place_of_the_file_is_refused_and_does_not_block(
    monkeypatch: pytest.MonkeyPatch, digits_zoo: Path, tmp_path: Path
) -> None:
    honest = contents.copy_file

    def swapped(source: Path, target: Path) -> contents.FileDigest:
        source.unlink()
        os.mkfifo(source)
        return honest(source, target)

    monkeypatch.setattr("zoo.weights.store.copy_file", swapped)
    publication = publish(digits_zoo, f"folder:{tmp_path / 'out'}")
    assert publication.error is not None and "is not a regular file" in publication.error.what


def test_a_pickle_is_converted_from_the_copy_that_was_hashed(
    monkeypatch: pytest.MonkeyPatch, digits_zoo: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    folder, card = digits_zoo / "digits", digits_zoo / "digits" / f"{NAME}.yaml"
    state = load_file(folder / WEIGHTS_FILE)
    torch.save(state, folder / "net.pth")
    measured = contents.measure_file(folder / "net.pth")
    for old, new in (
        (f"file: {WEIGHTS_FILE}", "file: net.pth"),
        ("format: safetensors", "format: pickle"),
        (f"size_bytes: {len(WEIGHTS)}", f"size_bytes: {measured.size_bytes}"),
        (WEIGHTS_SHA256, measured.sha256),
    ):
        replace_once(card, old, new)
    card.write_text(f"{card.read_text()}ignore: [{{rule: consistency/size-params, reason: pickles are larger}}]\n")
    report = api.verify(NAME, cards=digits_zoo, strict=True)
    honest = tensors.write_safetensors

    def swapped(source: Artifact, target: Path, renames: Sequence[Rename] = ()) -> None:
        torch.save({name: torch.zeros_like(tensor) for name, tensor in state.items()}, folder / "net.pth")
        honest(source, target, renames)

    monkeypatch.setattr(tensors, "write_safetensors", swapped)
    catalog = load_catalog([digits_zoo])
    request = PublishRequest(parse_place(f"folder:{tmp_path / 'out'}"), report=report)
    (publication,) = run.publish([catalog.find(NAME)], catalog, request)
    assert publication.kind == "published", publication.error
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(written[name], tensor) for name, tensor in state.items())


def test_a_full_disk_for_the_copy_is_an_error_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch, digits_zoo: Path, tmp_path: Path
) -> None:
    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.copy_file_range", full)
    monkeypatch.setattr("os.write", full)
    error = publish(digits_zoo, f"folder:{tmp_path / 'out'}").error
    assert error is not None and error.exit_code == 3
    assert "No space left on device" in error.what and "set TMPDIR" in error.hint
