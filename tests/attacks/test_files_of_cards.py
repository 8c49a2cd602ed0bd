"""A card names files in its own folder only, and only regular ones: links, pipes, devices and swaps get nothing out.

Each attack is one file in a zoo. The other cards are found as without it.
"""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.helpers import MAX_BYTES, about, copy_digits, findings, run_cli
from tests.helpers.project import RunZoo, replace_once
from zoo.errors import CannotCheck, CardError
from zoo.registry import files
from zoo.registry.catalog import load_catalog
from zoo.weights import store

MODEL = "resnest_digits"
SECRET = "TOKEN=a-secret-of-the-machine"


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    copy_digits(tmp_path / "zoo")
    (tmp_path / "secret.yaml").write_text(f"name: secret\nlicense: {SECRET}\n")
    return tmp_path / "zoo"


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10 * 2**30)


def socket_file(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket has at most 108 bytes
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


SPECIAL: dict[str, tuple[Callable[[Path], object], str]] = {
    "fifo": (os.mkfifo, "a FIFO, not a regular file"),
    "socket": (socket_file, "a socket, not a regular file"),
    "zero": (lambda path: path.symlink_to("/dev/zero"), "zero.yaml is a link that leads out of its folder"),
    "environ": (lambda path: path.symlink_to("/proc/self/environ"), "is a link that leads out of its folder"),
    "secret": (lambda path: path.symlink_to("../../secret.yaml"), "is a link that leads out of its folder"),
    "absolute": (lambda path: path.symlink_to(path.parents[2] / "secret.yaml"), "leads out of its folder"),
    "dangling": (lambda path: path.symlink_to("nowhere"), "cannot read the file: No such file"),
    "itself": (lambda path: path.symlink_to(path.name), "cannot read the file: Too many levels of symbolic links"),
    "sparse": (sparse, "the file is larger than 4194304 bytes"),
    "binary": (lambda path: path.write_bytes(b"name: \xff\xfe"), "byte 0xff is not valid UTF-8"),
    "nul": (lambda path: path.write_bytes(bytes(1000)), "invalid YAML"),
}


def test_a_file_that_is_not_a_card_is_one_finding_and_is_not_read(zoo: Path) -> None:
    clean = run_cli("validate", "--all", "--cards", zoo, "--format", "json")
    for name, (make, _) in SPECIAL.items():
        make(zoo / "digits" / f"{name}.yaml")
    ran = run_cli("validate", "--all", "--cards", zoo, "--format", "json")
    assert (clean.code, ran.code) == (0, 1)
    reasons = {item["model"]: item["reason"] for item in findings(ran) if item["model"] != MODEL}
    assert set(reasons) == set(SPECIAL)
    assert {name for name, (_, reason) in SPECIAL.items() if reason not in reasons[name]} == set()
    assert {item["status"] for item in findings(ran) if item["model"] != MODEL} == {"wrong"}
    assert about(ran, MODEL) == about(clean, MODEL)
    listed = run_cli("list", "--cards", zoo)
    assert listed.code == 0 and MODEL in listed.out
    assert SECRET not in ran.out + ran.err + listed.out + listed.err


FOLDER_LINKS = {"above": "..", "itself": ".", "machine": "/", "processes": "/proc", "beside": "../datasets"}


@pytest.mark.parametrize("command", ["list", "validate", "verify"])
def test_a_link_to_a_folder_is_reported_and_not_followed(zoo: Path, run_zoo: RunZoo, command: str) -> None:
    arguments = ("--cards", zoo) if command == "list" else ("--all", "--format", "json", "--cards", zoo)
    clean = run_zoo(command, *arguments)
    for name, target in FOLDER_LINKS.items():
        (zoo / "digits" / name).symlink_to(target)
    ran = run_zoo(command, *arguments)
    assert (ran.code, clean.code) == (0, 0), "nothing is wrong, and everything that was not read is named"
    if command == "list":
        assert ran.out == clean.out
        assert ran.err.count("a link to a folder, which zoo does not follow") == len(FOLDER_LINKS)
        return
    others = [item for item in findings(ran) if item["model"] != MODEL]
    assert {(item["model"], item["status"]) for item in others} == {(name, "skipped") for name in FOLDER_LINKS}
    assert about(ran, MODEL) == about(clean, MODEL)


def test_folders_that_are_nested_deeper_than_any_zoo_are_one_finding(zoo: Path, run_zoo: RunZoo) -> None:
    deep = zoo
    for _ in range(300):
        deep /= "d"
    deep.mkdir(parents=True)
    (deep / "card.yaml").write_text("name: deep\n")
    ran = run_zoo("validate", "--all", "--cards", zoo, "--format", "json")
    (finding,) = [item for item in findings(ran) if item["model"] != MODEL]
    assert ran.code == 1 and finding["reason"] == "folders are nested deeper than 64 levels"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_without_permission_is_one_finding(zoo: Path, run_zoo: RunZoo) -> None:
    (zoo / "private").mkdir(mode=0)
    ran = run_zoo("validate", "--all", "--cards", zoo, "--format", "json")
    (finding,) = [item for item in findings(ran) if item["model"] != MODEL]
    assert ran.code == 1 and finding["reason"] == "cannot read the folder: Permission denied"


def test_a_file_name_that_is_not_utf_8_is_one_finding(zoo: Path) -> None:
    for name in (b"a\xff.yaml", b"a\nb.yaml", b"\x1b]0;x\x07.yaml"):
        Path(os.fsdecode(os.fsencode(zoo) + b"/digits/" + name)).write_text("name: [\n")
    ran = run_cli("validate", "--all", "--cards", zoo)
    assert ran.code == 1 and "\x1b" not in ran.out + ran.err
    assert ran.out.count("wrong schema /: invalid YAML") == 3
    assert run_cli("list", "--cards", zoo).code == 0


def test_a_link_within_the_folder_is_followed(zoo: Path, run_zoo: RunZoo) -> None:
    """A ConfigMap of Kubernetes is a folder of links into a hidden folder beside them."""
    data = zoo / "digits" / "..data"
    data.mkdir()
    for path in list((zoo / "digits").iterdir()):
        if path.is_file():
            path.rename(data / path.name)
            path.symlink_to(f"..data/{path.name}")
    ran = run_zoo("verify", "--all", "--cards", zoo, "--format", "json")
    assert ran.code == 0 and {item["status"] for item in findings(ran)} <= {"ok", "unclaimed"}


@pytest.mark.parametrize(
    "name", ["../secret.yaml", "/etc/passwd", "..", ".", ".hidden", "a\\b", "", "a\nb", "a/b", "a\x00b"]
)
def test_a_name_with_a_path_is_not_a_name(zoo: Path, name: str) -> None:
    with pytest.raises(CardError, match="not a plain file name"):
        files.path_beside(zoo / "digits" / "resnest_digits.yaml", name, "where")


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "device"])
def test_weights_beside_the_card_are_a_regular_file_there(zoo: Path, kind: str, tmp_path: Path) -> None:
    card = zoo / "digits" / "resnest_digits.yaml"
    weights = zoo / "digits" / "resnest_digits-9fd38cd8.safetensors"
    moved = weights.rename(tmp_path / "moved.safetensors")
    if kind == "folder":
        weights.mkdir()
    elif kind == "fifo":
        os.mkfifo(weights)
    else:
        weights.symlink_to(moved if kind == "link" else "/dev/zero")
    ran = run_cli("verify", "--all", "--cards", zoo, "--format", "json", "--check", "files")
    assert ran.code == 1
    (sha256,) = [item for item in findings(ran) if item["key"].endswith("/sha256")]
    assert sha256["status"] == "wrong" and sha256["measured"] is None
    assert "resnest_digits-9fd38cd8.safetensors is a" in sha256["reason"] and str(card) in sha256["where"]


@pytest.mark.parametrize("kind", ["link", "fifo", "environ"])
def test_a_licence_file_that_is_a_link_is_not_published(
    zoo: Path, tmp_path: Path, kind: str, run_zoo: RunZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, licence = zoo / "digits" / "resnest_digits.yaml", zoo / "digits" / "LICENSE"
    card.write_text(card.read_text() + "license_file: LICENSE\n")
    licence.write_text("the terms\n")
    assert run_zoo("verify", MODEL, "--cards", zoo).code == 0
    licence.unlink()
    if kind == "fifo":
        os.mkfifo(licence)
    else:
        licence.symlink_to("/proc/self/environ" if kind == "environ" else tmp_path / "secret.yaml")
    target = tmp_path / "release"
    ran = run_cli("publish", MODEL, "--cards", zoo, "--to", f"folder:{target}", CI_JOB_TOKEN=SECRET)
    assert ran.code == 1 and "LICENSE is a" in ran.err
    assert SECRET not in ran.out + ran.err and [path for path in target.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "zero", "bomb"])
def test_the_data_of_a_dataset_card_are_a_regular_file_beside_it(
    zoo: Path, tmp_path: Path, kind: str, run_zoo: RunZoo
) -> None:
    data = zoo / "datasets" / "digits.csv.gz"
    moved = data.rename(tmp_path / "moved.csv.gz")
    if kind == "bomb":
        data.write_bytes(gzip.compress(bytes(2**24), 1) * (2 * MAX_BYTES // 2**24))  # 6 GB of zeros
    elif kind == "folder":
        data.mkdir()
    elif kind == "fifo":
        os.mkfifo(data)
    else:
        data.symlink_to(moved if kind == "link" else "/dev/zero")
    ran = run_cli("data", "verify", "digits", "--cards", zoo, "--format", "json")
    assert ran.code == 1
    reasons = {item["reason"] for item in findings(ran)}
    assert len(reasons) == 1 and ("unpacks to more than" if kind == "bomb" else "digits.csv.gz is a") in reasons.pop()
    if kind == "link":
        verified = run_zoo("verify", MODEL, "--cards", zoo, "--format", "json", "--check", "data,accuracy")
        assert verified.code == 1 and {item["status"] for item in findings(verified)} == {"wrong"}


def test_a_copy_that_the_user_names_is_followed(zoo: Path, tmp_path: Path, run_zoo: RunZoo) -> None:
    data = zoo / "datasets" / "digits.csv.gz"
    (tmp_path / "link").symlink_to(data.rename(tmp_path / "moved.csv.gz"))
    ran = run_zoo("data", "verify", "digits", "--cards", zoo, "--data", f"digits={tmp_path / 'link'}")
    assert ran.code == 0 and "10 ok" in ran.out


@pytest.mark.parametrize(
    "place", ["/etc", "/usr/share/../../etc", "relative", "/usr/share/.", "/usr/shared/x", "/usr/share"]
)
def test_a_dataset_card_names_no_folder_of_the_machine_but_those_of_packages(
    zoo: Path, run_zoo: RunZoo, place: str
) -> None:
    (zoo / "datasets" / "mine.yaml").write_text(
        f"name: mine\nkind: folder\nsplits: {{test: {{images: 3}}}}\nclasses: [a, b]\ninstalled_at: {place}\n"
    )
    ran = run_zoo("validate", "--all", "--cards", zoo, "--format", "json")
    (finding,) = [item for item in findings(ran) if item["model"] == "mine"]
    assert ran.code == 1 and "is not a valid value for 'installed_at'" in finding["reason"]


def test_the_data_of_a_dataset_card_never_name_a_repository(zoo: Path) -> None:
    """The kind `hf` downloads what OWNER/NAME@REVISION names, which a relative path of a card could look like."""
    (zoo / "datasets" / "mine.yaml").write_text(
        f"name: mine\nkind: hf\nsplits: {{test: {{images: 3}}}}\nclasses: [a, b]\nfile: name@{'0' * 40}\n"
    )
    ran = run_cli(
        "data", "verify", "mine", "--cards", ".", "--format", "json", cwd=zoo, HF_ENDPOINT="http://127.0.0.1:9"
    )
    (finding,) = findings(ran)
    assert (ran.code, finding["status"]) == (0, "skipped"), finding


# A swap between the examination of a file and its opening.


def swapped(monkeypatch: pytest.MonkeyPatch, path: Path, replacement: Path) -> None:
    """Replace a file by another one, or a link, right before it is opened."""
    open_file = os.open

    def swap_and_open(name: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if Path(name).name == path.name and replacement.is_symlink() | replacement.exists():
            replacement.replace(path)
        return open_file(name, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swap_and_open)


@pytest.mark.parametrize("kind", ["link", "file", "fifo"])
def test_a_swap_between_examination_and_opening_is_noticed(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path, replacement = zoo / "digits" / "LICENSE", tmp_path / "replacement"
    path.write_text("the terms\n")
    if kind == "link":
        replacement.symlink_to(tmp_path / "secret.yaml")
    elif kind == "fifo":
        os.mkfifo(replacement)
    else:
        replacement.write_text(SECRET)
    swapped(monkeypatch, path, replacement)
    with pytest.raises((CannotCheck, OSError)):
        print(files.read(path, 1000))


def test_a_swap_of_a_folder_on_the_way_of_a_link_is_noticed(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, outer = zoo / "digits" / "inner", tmp_path / "outer"
    for folder, text in ((inner, "the terms\n"), (outer, SECRET)):
        folder.mkdir()
        (folder / "file").write_text(text)
    (zoo / "digits" / "LICENSE").symlink_to("inner/file")
    inside = files.is_inside

    def checked_then_swapped(path: Path, folder: Path) -> bool:
        answer = inside(path, folder)
        inner.rename(tmp_path / "gone")
        inner.symlink_to(outer)
        return answer

    monkeypatch.setattr(files, "is_inside", checked_then_swapped)
    with pytest.raises((CannotCheck, OSError)):
        print(files.read(zoo / "digits" / "LICENSE", 1000))


def test_a_card_replaced_after_the_scan_is_not_read_as_the_one_that_was_found(zoo: Path, tmp_path: Path) -> None:
    found = next(item for item in files.walk(zoo) if item.path.endswith("resnest_digits.yaml"))
    (zoo / "digits").rename(tmp_path / "moved")
    (zoo / "digits").symlink_to(tmp_path)
    (tmp_path / "resnest_digits.yaml").write_text(SECRET)
    with pytest.raises(CannotCheck, match="was replaced while zoo was opening it"):
        files.read(Path(found.path), 10_000, folder=found.top, found=found.status)


def test_a_file_that_grows_while_it_is_read_stays_within_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10))
    fstat = os.fstat

    def grow(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        with path.open("ab") as file:
            file.write(bytes(1000))
        return status

    monkeypatch.setattr(os, "fstat", grow)
    with pytest.raises(CardError, match="larger than 500 bytes"):
        files.read(path, 500)


def test_the_store_reads_no_file_beside_the_card_through_a_link(zoo: Path, tmp_path: Path) -> None:
    card = load_catalog([zoo]).find(MODEL)
    weights = zoo / "digits" / card.weights[0].file
    weights.rename(tmp_path / "moved")
    weights.symlink_to(tmp_path / "moved")
    with pytest.raises(CardError, match="leads out of its folder") as raised:
        store.locate(card, card.weights[0])
    assert raised.value.where == str(card.weights[0].where["file"])


def test_a_dataset_card_with_a_path_in_a_name_is_refused(zoo: Path, run_zoo: RunZoo) -> None:
    replace_once(zoo / "datasets" / "digits.yaml", "file: digits.csv.gz", "file: ../digits.csv.gz")
    ran = run_zoo("validate", "--all", "--cards", zoo, "--format", "json")
    assert ran.code == 1 and any("'file'" in item["reason"] for item in findings(ran))
