"""Paths of a machine are removed from texts; addresses, names and sentences stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.runtime.redaction import without_paths


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannot read /root/x/y.jpg: No such file", "cannot read .../y.jpg: No such file"),
        ("in /home/ada, /mnt/disk/set.", "in ..., ...."),
        ("file:///home/ada/net.pth", ".../net.pth"),
        ("~/clients/x.pt, ~ada/y", ".../x.pt, ..."),
        (r"C:\Users\ada\x.pt and D:/data/y.pt and \\server\share\z.pt", ".../x.pt and .../y.pt and .../z.pt"),
        ("PATH=/usr/bin:/home/ada/bin", "PATH=...:..."),
        ("'/data/a b/c.pt'", "'... b/c.pt'"),
        ("/Volumes/x/cards/net.yaml:3:4", ".../net.yaml:3:4"),
        ("run `zoo fetch /tmp/a.pt`", "run `zoo fetch .../a.pt`"),
    ],
)
def test_a_path_is_removed_and_the_name_of_a_file_stays(text: str, expected: str) -> None:
    assert without_paths(text) == expected
    assert without_paths({"a": [text, (text, 1)], "b": None}) == {"a": [expected, [expected, 1]], "b": None}


@pytest.mark.parametrize(
    "text",
    [
        "/", "digits/validation/top1", "https://h.org/home/ada/x.pt", "hf://lab/net@v1/model.safetensors", "/claims/params", "1/2",
        "cards/digits/net.yaml:3:4", "./x.pt", "../x.pt", "~0.5", "and/or", "/homework/x", "C: a", "a:b", "", "resnest14d",
    ],
)  # fmt: skip
def test_other_text_stays(text: str) -> None:
    assert without_paths(text) == text


def test_folders_of_this_process_are_removed_wherever_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folders = {name: tmp_path / f"{name} of ada" for name in ("HOME", "ZOO_HOME", "ZOO_CARDS", "TMPDIR", "work")}
    for name, folder in folders.items():
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    link = tmp_path / "link"
    link.symlink_to(folders["work"])
    monkeypatch.chdir(link)
    monkeypatch.setattr("tempfile.tempdir", None)
    for folder in folders.values():
        assert without_paths(f"no {folder}/sub/x.pt here") == "no .../x.pt here"
        assert without_paths(f"no {folder}") == "no ..."
