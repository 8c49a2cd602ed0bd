"""Writing into cards changes only the planned lines, or fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.errors import CannotCheck, UsageError
from zoo.registry.document import Document, parse, read
from zoo.registry.edit import apply, card_text, create, flow, prepend_line, rename_key, save
from zoo.registry.yaml_nodes import Plain

CARD = """\
# a card
name: net   # its name
"license": 'mit'
weights:
  - file: a.pth   # the file
    urls: [https://example.org/a.pth]

claims: {params: {value: 5}}  # one line
# the end
"""


def document(text: str = CARD) -> Document:
    return parse(text, Path("card.yaml"), "card.yaml")


def changed_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line not in CARD.splitlines()]


@pytest.mark.parametrize(
    ("pointer", "value", "lines"),
    [
        (("license",), "apache-2.0", ['"license": apache-2.0']),
        (("weights", 0, "size_bytes"), 7, ["    size_bytes: 7"]),
        (("weights", 0, "urls", 0), "https://a/b", ["    urls: [https://a/b]"]),
        (("weights", 0, "urls", 1), "https://a/b", ["    urls: [https://example.org/a.pth, https://a/b]"]),
        (("claims", "params", "rounded_to"), 10, ["claims: {params: {value: 5, rounded_to: 10}}  # one line"]),
        (("claims", "params", "value"), 6, ["claims: {params: {value: 6}}  # one line"]),
        (("weights", 1), {"file": "b.pth"}, ["  - {file: b.pth}"]),
    ],
)
def test_a_change_modifies_only_its_lines(pointer: tuple[str | int, ...], value: object, lines: list[str]) -> None:
    text = apply(document(), {pointer: value})
    assert changed_lines(text) == lines
    assert "# the file" in text
    assert "# the end" in text


@pytest.mark.parametrize(
    ("pointer", "name", "line"),
    [
        (("name",), "title", "title: net   # its name"),
        (("license",), "licence", "licence: 'mit'"),
        (("claims", "params"), "parameters", "claims: {parameters: {value: 5}}  # one line"),
        (("weights", 0, "file"), "path", "  - path: a.pth   # the file"),
    ],
)
def test_a_key_is_renamed_in_place(pointer: tuple[str | int, ...], name: str, line: str) -> None:
    assert changed_lines(rename_key(document(), pointer, name)) == [line]


def test_a_rename_that_would_hide_another_key_is_refused() -> None:
    with pytest.raises(CannotCheck):
        rename_key(document(), ("license",), "name")


def test_a_line_before_the_first_field() -> None:
    assert prepend_line(document(), "schema: 1\n", {"schema": 1}).startswith("# a card\nschema: 1\nname: net")


def test_a_file_that_changed_since_it_was_read_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(CARD)
    before = read(path)
    path.write_text(CARD + "# mine\n")
    with pytest.raises(UsageError, match="the file changed while zoo was using it"):
        save(before, apply(before, {("license",): "x"}))
    assert path.read_text() == CARD + "# mine\n"


def test_a_new_file_never_replaces_one(tmp_path: Path) -> None:
    create(tmp_path / "sub" / "a.yaml", "name: a\n")
    with pytest.raises(UsageError, match="the file already exists"):
        create(tmp_path / "sub" / "a.yaml", "name: b\n")
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.yaml"]


def test_a_changed_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(CARD)
    path.chmod(0o640)
    before = read(path)
    save(before, apply(before, {("license",): "x"}))
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["card.yaml"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "sub").write_text("a file where the folder should be")
    with pytest.raises(CannotCheck, match="cannot write the file: "):
        create(tmp_path / "sub" / "a.yaml", "name: a\n")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain text", "plain text"),
        ("https://example.org/a.py#L12", "https://example.org/a.py#L12"),
        ("a: b", '"a: b"'),
        ("a #b", '"a #b"'),
        ("no", '"no"'),
        ("1e-4", '"1e-4"'),
        ("75117900", '"75117900"'),
        (Plain("1e-4"), "1e-4"),
        (1e-05, "1.0e-05"),
        (0.1, "0.1"),
        ([1, None, True, "x"], "[1, null, true, x]"),
        ({"a b": {}}, "{a b: {}}"),
        ("x\x85y\u2028z", '"x\\u0085y\\u2028z"'),
    ],
)
def test_written_values_mean_the_same_to_every_reader(value: object, written: str) -> None:
    assert flow(value) == written


def test_long_lists_and_texts_of_several_lines_are_blocks() -> None:
    text = card_text({"name": "net", "extra": {"notes": "one\ntwo\n", "list": ["a" * 50, "b" * 50, "c" * 50]}})
    assert text == (
        "name: net\nextra:\n  notes: |\n    one\n    two\n  list:\n"
        f"    - {'a' * 50}\n    - {'b' * 50}\n    - {'c' * 50}\n"
    )  # fmt: skip
