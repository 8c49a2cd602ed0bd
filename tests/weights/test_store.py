"""The store: where files are found, how they are measured, what works without a network, what is an error."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.fetching import MIB, card_about, fetch, files_below, noise, sha256
from tests.servers.fault_server import Exchange, FaultServer, good, status
from zoo.errors import CannotCheck, CardError, NotHere, TransferFailed, UsageError, WrongContent
from zoo.runtime.storage import home as store_home
from zoo.runtime.storage import sealed
from zoo.weights import store
from zoo.weights.sources import FileRange, Sources
from zoo.weights.transfer import download
from zoo.weights.transfer.partial import SILENT_SECONDS, Writer, is_being_written, key_of

CONTENT = noise(300_000)
LARGE = noise(9 * MIB, seed=1)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TORCH_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        server.site["/net"] = good(CONTENT)
        yield server


def test_the_home_is_zoo_home_or_the_users_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store_home() == home
    monkeypatch.delenv("ZOO_HOME")
    assert store_home().name == "zoo"


def test_a_file_without_an_address_is_found_beside_its_card(home: Path, tmp_path: Path) -> None:
    card = card_about(tmp_path / "cards", CONTENT)
    assert store.locate(card, card.weights[0]) is None
    (tmp_path / "cards/net.pth").write_bytes(CONTENT)
    assert store.locate(card, card.weights[0]) == tmp_path / "cards/net.pth"
    assert fetch(card).origin == "beside the card"


def test_a_wrong_file_beside_its_card_is_measured_and_not_changed(home: Path, tmp_path: Path) -> None:
    card = card_about(tmp_path / "cards", CONTENT)
    (tmp_path / "cards/net.pth").write_bytes(b"other")
    measured = store.measure(card.weights[0], tmp_path / "cards/net.pth")
    assert (measured.size_bytes, measured.sha256) == (5, sha256(b"other"))
    with pytest.raises(WrongContent, match=r"net\.pth has 5 bytes, the card says 300000"):
        fetch(card)
    assert (tmp_path / "cards/net.pth").read_bytes() == b"other"


def test_the_size_is_compared_before_the_digest(home: Path, tmp_path: Path) -> None:
    weights = card_about(tmp_path / "cards", CONTENT).weights[0]
    assert store.disagreement(weights, 5, sha256(CONTENT)) == "net.pth has 5 bytes, the card says 300000"
    wrong = f"sha256 of net.pth is {sha256(b'x')}, the card says {sha256(CONTENT)}"
    assert store.disagreement(weights, len(CONTENT), sha256(b"x")) == wrong
    assert store.disagreement(weights, len(CONTENT), sha256(CONTENT)) == ""


@pytest.mark.parametrize("digits", [64, 8, 0])
def test_a_stored_file_is_found_by_digest_prefix_or_origin(
    server: FaultServer, home: Path, tmp_path: Path, digits: int
) -> None:
    known = sha256(CONTENT)[:digits] or None
    card = card_about(tmp_path / "cards", CONTENT, [server.url("/net")], sha256=known)
    assert store.locate(card, card.weights[0]) is None
    path = fetch(card).path
    assert store.locate(card, card.weights[0]) == path
    assert fetch(card, offline=True).path == path
    assert server.connections == 1


def test_without_a_digest_another_address_is_another_file(server: FaultServer, home: Path, tmp_path: Path) -> None:
    fetch(card_about(tmp_path / "cards", CONTENT, [server.url("/net")], sha256=None))
    other = card_about(tmp_path / "others", CONTENT, [server.url("/other")], sha256=None)
    assert store.locate(other, other.weights[0]) is None


def test_a_stored_file_of_another_size_than_the_cards_is_not_found(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    fetch(card_about(tmp_path / "cards", CONTENT, [server.url("/net")]))
    other = card_about(tmp_path / "others", CONTENT, [server.url("/net")], size_bytes=1)
    assert store.locate(other, other.weights[0]) is None


def test_a_file_with_two_names_is_downloaded_once(server: FaultServer, home: Path, tmp_path: Path) -> None:
    fetch(card_about(tmp_path / "cards", CONTENT, [server.url("/net")]))
    twin = card_about(tmp_path / "cards", CONTENT, [server.url("/net")], name="twin")
    assert fetch(twin).file == "twin.pth"
    assert server.connections == 1


def test_a_short_digest_is_checked_and_reported_as_weak(server: FaultServer, home: Path, tmp_path: Path) -> None:
    artifact = fetch(card_about(tmp_path / "cards", CONTENT, [server.url("/net")], sha256=sha256(CONTENT)[:8]))
    assert artifact.sha256 == sha256(CONTENT)
    assert artifact.evidence == ("weak: the card has only 8 of 64 digits",)
    wrong = card_about(tmp_path / "others", CONTENT, [server.url("/net")], sha256="0" * 8)
    with pytest.raises(WrongContent, match="two downloads were equal"):
        fetch(wrong)


def test_a_stored_file_opens_no_socket_and_is_not_read_again(server: FaultServer, home: Path, tmp_path: Path) -> None:
    card_about(tmp_path / "cards", CONTENT, [server.url("/net")])
    trap = (
        "import sys, os\n"
        "def trap(event, arguments):\n"
        "    if event.startswith('socket.') or (event == 'open' and str(arguments[0]).endswith('net.pth')):\n"
        "        os.write(2, event.encode()); os._exit(99)\n"
    )
    run = "import zoo_cli; zoo_cli.main()"
    command = ["fetch", "net", "--cards", str(tmp_path / "cards")]
    cold = subprocess.run([sys.executable, "-c", run, *command], cwd=ROOT, capture_output=True, text=True)
    trapped = f"{trap}sys.addaudithook(trap)\n{run}"
    warm = subprocess.run([sys.executable, "-c", trapped, *command], cwd=ROOT, capture_output=True, text=True)
    assert (warm.returncode, warm.stdout) == (0, cold.stdout), warm.stderr
    Path(cold.stdout.strip()).parent.joinpath(".record-2.json").unlink()
    again = subprocess.run([sys.executable, "-c", trapped, *command], cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 99  # the trap works: without its record the file is read


def test_a_missing_file_is_not_downloaded_offline(server: FaultServer, home: Path, tmp_path: Path) -> None:
    card = card_about(tmp_path / "cards", CONTENT, [server.url("/net")])
    with pytest.raises(NotHere) as caught:
        fetch(card, offline=True)
    assert caught.value.hint == "run `zoo fetch net`"
    assert server.connections == 0


def test_a_missing_file_without_an_address_is_an_error(home: Path, tmp_path: Path) -> None:
    with pytest.raises(NotHere, match="is not beside its card and has no address"):
        fetch(card_about(tmp_path / "cards", CONTENT))


def test_a_file_of_torch_hub_is_linked_without_a_network(server: FaultServer, home: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "TORCH_HOME/hub/checkpoints/net.pth"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(CONTENT)
    artifact = fetch(card_about(tmp_path / "cards", CONTENT, [server.url("/net")]), offline=True)
    assert artifact.origin == "torch hub's checkpoints"
    assert artifact.path.samefile(theirs)
    assert server.connections == 0
    assert [name for name in files_below(home) if not name.startswith("blobs/")] == []


def test_a_file_of_the_hugging_face_cache_is_found_by_its_digest(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "HF_HOME/hub/models--org--net/blobs" / sha256(CONTENT)
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(CONTENT)
    artifact = fetch(card_about(tmp_path / "cards", CONTENT, ["hf://org/net/net.pth"]), offline=True)
    assert (artifact.origin, artifact.path.name) == ("the Hugging Face cache", "net.pth")
    assert artifact.path.read_bytes() == CONTENT


def test_a_file_on_another_file_system_is_copied(
    server: FaultServer, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as other_disk:
        monkeypatch.setenv("TORCH_HOME", other_disk)
        theirs = Path(other_disk) / "hub/checkpoints/net.pth"
        theirs.parent.mkdir(parents=True)
        theirs.write_bytes(CONTENT)
        artifact = fetch(card_about(tmp_path / "cards", CONTENT, [server.url("/net")]), offline=True)
        assert artifact.path.read_bytes() == CONTENT
        assert theirs.stat().st_mode & 0o200  # the original is another file and stays writable


RECORD = {"record": 2, "sha256": sha256(CONTENT), "stamp": None, "origin": "u", "stored": "today"}
STAMP = {"inode": 1, "size_bytes": 1, "mtime_ns": 1, "ctime_ns": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        *({"record": 1}, {"record": 3}, {"origin": None}, {"sha256": "00"}, {"stored": 1}, {"more": 1}),
        *({"stamp": 1}, {"stamp": {}}, {"stamp": {**STAMP, "inode": "1"}}, {"stamp": {**STAMP, "size_bytes": True}}),
    ],
)
def test_an_invalid_record_is_ignored(
    server: FaultServer, home: Path, tmp_path: Path, wrong: dict[str, object]
) -> None:
    card = card_about(tmp_path / "cards", CONTENT, [server.url("/net")])
    path = fetch(card).path.parent / ".record-2.json"
    path.write_bytes(sealed(path, RECORD))
    assert fetch(card).origin == "u"
    path.write_bytes(sealed(path, {**RECORD, **wrong}))
    assert fetch(card).origin == "the store"
    assert server.connections == 1


@pytest.mark.parametrize("text", ["", "[]", "{", json.dumps(RECORD), json.dumps({"record": 2, "size_bytes": 300_000})])
def test_a_record_without_its_checksum_is_ignored(server: FaultServer, home: Path, tmp_path: Path, text: str) -> None:
    card = card_about(tmp_path / "cards", CONTENT, [server.url("/net")])
    (fetch(card).path.parent / ".record-2.json").write_text(text)
    assert fetch(card).origin == "the store"
    assert server.connections == 1


def test_a_linked_file_is_hashed_when_it_is_used(server: FaultServer, home: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "TORCH_HOME/hub/checkpoints/net.pth"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(CONTENT)
    card = card_about(tmp_path / "cards", CONTENT, [server.url("/net")])
    assert fetch(card, offline=True).stamp is None  # the other tool may write it at any time
    again = fetch(card, offline=True)
    assert (again.origin, again.evidence) == ("torch hub's checkpoints", ())
    assert fetch(card, offline=True).evidence[0].startswith("measured ")


def test_a_wrong_file_of_another_tool_is_not_used(server: FaultServer, home: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "TORCH_HOME/hub/checkpoints/net.pth"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(CONTENT[::-1])
    artifact = fetch(card_about(tmp_path / "cards", CONTENT, [server.url("/net")]))
    assert (artifact.origin, artifact.path.read_bytes()) == (server.url("/net"), CONTENT)
    assert theirs.read_bytes() == CONTENT[::-1]
    assert [name for name in files_below(home) if not name.startswith("blobs/")] == []


def test_a_file_that_changed_in_the_store_is_quarantined_and_downloaded_again(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    card = card_about(tmp_path / "cards", CONTENT, [server.url("/net")])
    path = fetch(card).path
    path.chmod(0o644)
    path.write_bytes(CONTENT[::-1])
    assert fetch(card).path.read_bytes() == CONTENT
    assert (home / "quarantine" / f"{sha256(CONTENT[::-1])[:16]}-net.pth").read_bytes() == CONTENT[::-1]


def test_a_file_with_another_time_is_hashed_again_and_kept(server: FaultServer, home: Path, tmp_path: Path) -> None:
    card = card_about(tmp_path / "cards", CONTENT, [server.url("/net")])
    path = fetch(card).path
    os.utime(path, (1, 1))
    assert fetch(card).origin == server.url("/net")
    assert fetch(card).evidence[0].startswith("measured ")
    assert server.connections == 1


@pytest.mark.parametrize("name", ["../net.pth", "/etc/net.pth", "a/b", "a\\b", "..", ".record-2.json", ""])
def test_a_file_name_with_a_path_is_an_error(home: Path, tmp_path: Path, name: str) -> None:
    card = card_about(tmp_path / "cards", CONTENT)
    with pytest.raises(CardError, match="not a plain file name"):
        store.fetch(card, replace(card.weights[0], file=name))


def test_an_unknown_scheme_is_an_error(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown source 'gopher'"):
        fetch(card_about(tmp_path / "cards", CONTENT, ["gopher://host/net"]))


def test_a_file_url_is_copied_and_verified(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a b.bin").write_bytes(LARGE)
    url = (tmp_path / "a b.bin").as_uri()
    artifact = fetch(card_about(tmp_path / "cards", LARGE, [url]))
    assert (artifact.path.read_bytes(), artifact.origin) == (LARGE, url)
    with pytest.raises(WrongContent, match="two downloads were equal"):
        fetch(card_about(tmp_path / "others", LARGE, [url], sha256=sha256(CONTENT)))


def test_a_file_url_with_another_host_or_without_a_file_is_an_error(home: Path, tmp_path: Path) -> None:
    with pytest.raises(TransferFailed, match="not an absolute path on this machine"):
        fetch(card_about(tmp_path / "cards", CONTENT, ["file://host/net"]))
    with pytest.raises(TransferFailed, match="No such file"):
        fetch(card_about(tmp_path / "cards", CONTENT, [(tmp_path / "none").as_uri()]))


def test_a_file_that_is_larger_than_the_free_space_is_not_downloaded(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    petabyte = 10**15
    server.site["/net"] = status(206, {"Content-Range": f"bytes 0-99/{petabyte}", "Content-Length": 100})
    card = card_about(tmp_path / "cards", CONTENT, [server.url("/net")], size_bytes=petabyte)
    with pytest.raises(CannotCheck, match=f"not enough disk space: .* bytes free, {petabyte} needed"):
        fetch(card)
    assert (files_below(home), server.bytes_served) == ([], 0)


def test_a_failed_write_is_reported_and_leaves_no_file_in_the_store(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = good(LARGE)
    card_about(tmp_path / "cards", LARGE, [server.url("/net")])
    program = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({MIB}, {MIB})); import zoo_cli; zoo_cli.main()"
    )
    command = [sys.executable, "-c", program, "fetch", "net", "--cards", str(tmp_path / "cards")]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert completed.returncode == 3
    assert "cannot write: File too large" in completed.stderr and "hint: set ZOO_HOME" in completed.stderr
    assert not [name for name in files_below(home) if name.startswith("blobs")]


def test_a_store_that_is_not_writable_is_an_error(server: FaultServer, home: Path, tmp_path: Path) -> None:
    home.write_text("a file where the folder should be")
    with pytest.raises(CannotCheck, match=r"cannot write: (Not a directory|File exists)"):
        fetch(card_about(tmp_path / "cards", CONTENT, [server.url("/net")]))


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder that all users may read, with a store in it: those of pytest are private."""
    with tempfile.TemporaryDirectory(prefix="shared-") as folder:
        Path(folder).chmod(0o755)
        for name, place in (("ZOO_HOME", "home"), ("TORCH_HOME", "none"), ("HF_HOME", "none")):
            monkeypatch.setenv(name, str(Path(folder) / place))
        yield Path(folder)


def as_another_user(shared: Path) -> subprocess.CompletedProcess[str]:
    """Fetch the card as another user than the owner of the files."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from zoo.registry.catalog import load_catalog\nfrom zoo.weights import store\nfrom pathlib import Path\nimport os\n"
        f"cards = load_catalog([Path({str(shared / 'cards')!r})])\n"
        "card, home = cards.find('net'), os.environ['ZOO_HOME']\n"
        f"os.environ['ZOO_HOME'] = {str(shared / 'warm')!r}\n"  # imports everything, which only root may read
        "store.fetch(card, card.weights[0])\n"
        "os.environ['ZOO_HOME'] = home\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "print(store.fetch(card, card.weights[0]).path)\n"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_can_use_a_read_only_store(server: FaultServer, shared: Path) -> None:
    path = fetch(card_about(shared / "cards", CONTENT, [server.url("/net")])).path
    completed = as_another_user(shared)
    assert (completed.stdout.strip(), completed.returncode) == (str(path), 0), completed.stderr
    assert server.connections == 2  # one for this process, one for the warm-up


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_store_that_a_user_cannot_read_is_an_error(server: FaultServer, shared: Path) -> None:
    fetch(card_about(shared / "cards", CONTENT, [server.url("/net")]))
    (shared / "home/blobs").chmod(0o700)
    assert "CannotCheck: " in as_another_user(shared).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_two_users_can_fetch_into_a_shared_store(server: FaultServer, shared: Path) -> None:
    home = shared / "home"
    home.mkdir()
    home.chmod(0o777)
    card_about(shared / "cards", CONTENT, [server.url("/net")])
    (home / "partial").mkdir()
    (home / "partial").chmod(0o777)
    lock = home / "partial" / f"{key_of(sha256(CONTENT))}.lock"
    lock.touch(0o600)
    name = f"{key_of(sha256(CONTENT))}.12345678"
    left = leave_partial_file(home, CONTENT, [[0, 1000]], name=name, size_bytes=len(CONTENT))
    left.chmod(0o600)
    completed = as_another_user(shared)
    assert completed.returncode == 0, completed.stderr
    assert Path(completed.stdout.strip()).read_bytes() == CONTENT
    assert lock.exists()  # it belongs to the other user
    assert (home / "blobs").stat().st_mode & 0o777 == 0o777


def test_files_are_returned_in_order_and_an_error_does_not_stop_the_others(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    contents = {f"n{i}": noise(1000 + i, seed=i) for i in range(6)}
    for name, content in contents.items():
        server.site[f"/{name}"] = good(content)
    server.site["/n2"] = status(404)
    cards = [
        card_about(tmp_path / "cards", content, [server.url(f"/{name}")], name=name)
        for name, content in contents.items()
    ]
    fetched = list(store.fetch_all([(card, card.weights[0]) for card in cards], jobs=3))
    assert [file.card.name for file in fetched] == list(contents)
    assert [isinstance(file.outcome, store.Artifact) for file in fetched] == [name != "n2" for name in contents]
    assert server.connections <= 4  # one for each job, which is reused; the 404 closed one


def test_the_plan_has_the_paths_of_the_files_on_this_machine(server: FaultServer, home: Path, tmp_path: Path) -> None:
    here = card_about(tmp_path / "cards", CONTENT, [server.url("/net")])
    path = fetch(here).path
    gone = card_about(tmp_path / "cards", LARGE, [server.url("/gone")], name="gone")
    planned = store.plan([(here, here.weights[0]), (gone, gone.weights[0])])
    assert [item.path for item in planned] == [path, None]
    assert server.connections == 1


def leave_partial_file(
    home: Path, content: bytes, spans: list[list[int]], *, name: str = "", **changes: object
) -> Path:
    """Write a part file and its sidecar as another process would leave them, and return the path of the part file."""
    partial = home / "partial"
    partial.mkdir(parents=True, exist_ok=True)
    path = partial / f"{name or key_of(sha256(LARGE)) + '.12345678'}.part"
    path.write_bytes(content)
    sidecar = {
        "part": 1,
        "file": "net.pth",
        "url": "u",
        "size_bytes": len(LARGE),
        "etag": "",
        "modified": "",
        "done": spans,
    }
    data = {**sidecar, "machine": "other", "pid": 0, **changes}
    try:
        path.with_suffix(".json").write_bytes(sealed(path.with_suffix(".json"), data))
    except ValueError:  # a number that is not JSON
        path.with_suffix(".json").write_text(json.dumps(data))
    return path


def test_a_part_whose_writer_is_gone_is_resumed(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = good(LARGE)
    leave_partial_file(home, LARGE, [[0, 5 * MIB], [6 * MIB, 8 * MIB]])
    assert fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")])).path.read_bytes() == LARGE
    assert server.bytes_served == len(LARGE) - 7 * MIB


def test_a_complete_part_needs_no_server(server: FaultServer, home: Path, tmp_path: Path) -> None:
    leave_partial_file(home, LARGE, [[0, len(LARGE)]])
    assert fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")])).path.read_bytes() == LARGE
    assert server.connections == 0


def test_a_part_of_a_live_writer_on_another_machine_is_not_touched(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = good(LARGE)
    live = leave_partial_file(home, LARGE, [[0, 5 * MIB]], pid=1)
    assert fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")])).path.read_bytes() == LARGE
    assert server.bytes_served == len(LARGE)
    assert live.exists() and live.with_suffix(".json").exists()


def test_a_part_of_a_silent_writer_on_another_machine_is_copied(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = good(LARGE)
    silent = leave_partial_file(home, LARGE, [[0, 5 * MIB]], pid=1)
    long_ago = time.time() - 2 * SILENT_SECONDS
    os.utime(silent.with_suffix(".json"), (long_ago, long_ago))
    with silent.open("r+b") as writer:
        path = fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")])).path
        writer.write(b"the silent writer wakes up")
        writer.flush()
    assert path.read_bytes() == LARGE
    assert server.bytes_served == len(LARGE) - 5 * MIB
    assert [name for name in files_below(home) if not name.startswith("blobs/")] == []


def test_a_part_that_lost_bytes_in_a_power_cut_is_downloaded_again(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = good(LARGE)
    leave_partial_file(home, b"\0" * len(LARGE), [[0, 5 * MIB]])
    assert fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")])).path.read_bytes() == LARGE


@pytest.mark.parametrize(
    "spans", [[[0, 10**12]], [[5, 2]], [[-4, 9 * MIB]], "nonsense", [[1]], [["a", "b"]], [[0, math.inf]]]
)
def test_an_invalid_sidecar_is_harmless(server: FaultServer, home: Path, tmp_path: Path, spans: object) -> None:
    server.site["/net"] = good(LARGE)
    leave_partial_file(home, b"\0" * MIB, spans)  # type: ignore[arg-type]
    assert fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")])).path.read_bytes() == LARGE


def test_a_sidecar_with_an_impossible_process_id_is_of_a_writer_that_is_gone(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = good(LARGE)
    leave_partial_file(home, LARGE, [[0, 5 * MIB]], machine=Writer.current().machine, pid=10**30)
    assert fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")])).path.read_bytes() == LARGE
    assert server.bytes_served == len(LARGE) - 5 * MIB


def test_overlapping_ranges_in_a_sidecar_are_merged(server: FaultServer, home: Path, tmp_path: Path) -> None:
    leave_partial_file(home, LARGE, [[4 * MIB, len(LARGE)], [0, 5 * MIB]])
    artifact = fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")]))
    assert (artifact.size_bytes, artifact.path.read_bytes(), server.connections) == (len(LARGE), LARGE, 0)


def test_a_part_of_another_version_is_not_resumed_without_a_digest(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    url = server.url("/net")
    server.site["/net"] = good(LARGE, etag='"new"')
    leave_partial_file(home, LARGE[::-1], [[0, 5 * MIB]], name=f"{key_of(url)}.12345678", url=url, etag='"old"')
    artifact = fetch(card_about(tmp_path / "cards", None, [url], size_bytes=len(LARGE)))
    assert artifact.sha256 == sha256(LARGE)
    assert server.requests_for("/net")[0].headers["if-range"] == '"old"'


class SlowClient:
    """A DownloadSource that reports progress after a long silence."""

    def download(self, url: str, folder: Path, *, timeout_seconds: float, on_bytes: Callable[[int], None]) -> Path:
        for count in (1, 2):
            (sidecar,) = folder.parent.glob("*.json")
            os.utime(sidecar, (1, 1))
            on_bytes(count)
            assert is_being_written(folder.parent, key_of(sha256(CONTENT)), Writer.current())
        folder.mkdir()
        (folder / "net").write_bytes(CONTENT)
        return folder / "net"

    def read_range(self, url: str, start: int, stop: int, *, timeout_seconds: float) -> FileRange:
        raise NotImplementedError

    def close(self) -> None: ...


def test_the_part_of_a_client_that_makes_progress_has_a_live_writer(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TOUCH_SECONDS", 0.0)
    monkeypatch.setattr(Sources, "for_url", lambda self, url: SlowClient())
    card = card_about(tmp_path / "cards", CONTENT, ["slow://host/net"])
    assert fetch(card).path.read_bytes() == CONTENT


def test_an_interrupted_download_ends_although_the_server_is_silent(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = Exchange.stall

    def interrupt(event: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(card_about(tmp_path / "cards", CONTENT, [server.url("/net")]), progress=interrupt)
