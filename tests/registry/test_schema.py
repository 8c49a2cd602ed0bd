"""Reading YAML: values, places, problems, and documents that others wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.errors import UsageError
from zoo.registry import schema
from zoo.registry.document import Document, parse, parse_foreign, read
from zoo.registry.schema import problems
from zoo.registry.yaml_nodes import ROOT, Plain

TEXT = "name: net\nclaims:\n  params: {value: 25_000}\n  results:\n    - {dataset: d, metric: top1, value: 1e1}\n"


def test_values_know_their_line_and_column() -> None:
    document = parse(TEXT, Path("c.yaml"), "c.yaml")
    assert str(document.place(())) == "c.yaml:1:1"
    assert str(document.place(("claims", "params", "value"))) == "c.yaml:3:12"
    assert str(document.place(("claims", "results", 0, "metric"))) == "c.yaml:5:20"
    assert str(document.place(("claims", "results", 0, "absent"))) == "c.yaml:5:7"
    assert document.written(("claims", "params", "value")) == "25_000"


def test_numbers_are_those_of_yaml_1_2() -> None:
    data = parse("a: 1e1\nb: 25_000\nc: 0o17\nd: no\ne: 2021-05-28\nf: 0123\ng: 1e999\n", Path("c")).data
    assert data == {"a": 10.0, "b": "25_000", "c": 15, "d": "no", "e": "2021-05-28", "f": 123, "g": "1e999"}


def test_a_valid_card_is_read_without_marks_and_without_jsonschema(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("not needed for a valid card")

    monkeypatch.setattr("zoo.registry.document.marks_of", refuse)
    monkeypatch.setattr(schema, "_validator", refuse)
    document = parse("name: net\nlicense: mit\n", Path("c"))
    assert problems(document, "card") == ()
    assert str(document.place(())) == "c:1:1"


def test_jsonschema_decides_when_the_quick_validator_cannot() -> None:
    data = {"name": "net", "extra": {"id": 2**70}}
    assert problems(Document(Path("c"), "c", data, (), ""), "card") == ()


@pytest.mark.parametrize("name", ["net\n", "a b", "-a", ""])
def test_a_name_has_no_line_break_space_or_leading_dash(name: str) -> None:
    assert problems(Document(Path("c"), "c", {"name": name}, (), ""), "card") != ()


def test_the_text_of_a_cached_document_is_read_on_first_use(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(TEXT)
    remembered = Document(path, "c.yaml", read(path).data, (), None, read(path).digest)
    assert str(remembered.place(("claims", "params"))) == "c.yaml:3:3"
    path.write_text(TEXT + "# more\n")
    with pytest.raises(UsageError, match="changed while"):
        _ = Document(path, "c.yaml", {}, (), None, remembered.sha256).text


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e-4", Plain("1e-4")), ("yes", Plain("yes")), ("2021-05-28", Plain("2021-05-28")), ("0123", Plain("0123")), ("12:30", Plain("12:30"))],
)  # fmt: skip
def test_scalars_that_yaml_versions_read_differently_keep_their_text(written: str, value: Plain) -> None:
    constructed = parse_foreign(f"a: {written}\n", Path("f"), "f").data["a"]
    assert (constructed, type(constructed)) == (value, Plain)


@pytest.mark.parametrize("written", ["1.5", "12", "text", "'1e-4'", "true", "null", "1.0e-05"])
def test_scalars_that_yaml_versions_read_alike_are_values(written: str) -> None:
    assert not isinstance(parse_foreign(f"a: {written}\n", Path("f"), "f").data["a"], Plain)


def test_merges_lists_and_duplicate_keys_of_foreign_documents() -> None:
    assert parse_foreign("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n", Path("f"), "f").data["b"] == {"y": 3, "x": 1}
    assert parse_foreign("- 1\n- 2\n", Path("f"), "f").data == {ROOT: [1, 2]}
    double = parse_foreign("a: 1\na: 2\n", Path("f"), "f")
    assert double.data == {"a": 2}
    assert double.problems == ()
    assert [problem.what for problem in double.duplicates] == ["duplicate key 'a'; the last one is used"]


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("nam: x\nname: net\n", None),  # the corrected name exists already
        ("name: net\nlicens: mit\n", ("rename", "license")),
        ("name: net\ninput: {interpolation: bicubc}\n", ("replace", "bicubic")),
        ("name: net\nweights: [{file: a, sha256: 01234567}]\n", ("replace", "01234567")),
        ("name: net\nweights: [{file: a, sha256: ABCDEF01}]\n", ("replace", "abcdef01")),
        ("name: net\nzzz: 1\n", None),
    ],
)
def test_a_problem_has_a_fix_when_only_one_is_possible(text: str, fix: tuple[str, str] | None) -> None:
    assert [problem.fix for problem in problems(parse(text, Path("c")), "card")] == [fix]
