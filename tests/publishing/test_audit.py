"""What is found about a release where it was published, from its statement, its files and its card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers.releases import WEIGHTS_FILE, member, release
from zoo.errors import WrongContent
from zoo.publishing import audit
from zoo.publishing.release import PublishedFile, count_elements
from zoo.publishing.targets import FolderTarget


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    FolderTarget(tmp_path / "published").preflight().put(release(), title="")
    return tmp_path / "published"


def examined(folder: Path) -> dict[str, tuple[str, str]]:
    """Key to status and reason."""
    target = FolderTarget(folder)
    findings = audit.examine(member(), target.published_files(), target.count_elements)
    return {item.key: (item.status.value, item.reason) for item in findings}


def test_a_published_release_is_what_it_says(folder: Path) -> None:
    assert {status for status, _ in examined(folder).values()} == {"ok"}
    assert set(examined(folder)) == {
        "README.md",
        "config.json",
        "model.safetensors",
        "card",
        WEIGHTS_FILE,
        "elements",
    }


@pytest.mark.parametrize("path", ["model.safetensors", "config.json", "README.md"])
def test_a_changed_file_of_a_release_is_wrong(folder: Path, path: str) -> None:
    content = (folder / path).read_bytes()
    at = content.index(b"8") if path == "README.md" else len(content) - 3
    (folder / path).write_bytes(content[:at] + b"7" + content[at + 1 :])
    assert examined(folder)[path] == ("wrong", "the file changed since it was published")


def test_text_around_the_generated_part_of_a_readme_may_be_edited(folder: Path) -> None:
    readme = folder / "README.md"
    readme.write_text(readme.read_text() + "\nThank you.\n")
    assert examined(folder)["README.md"] == ("ok", "text outside the generated part was edited")


def test_a_missing_file_of_a_release_is_wrong(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert examined(folder)["config.json"] == ("wrong", "the file is missing")


@pytest.mark.parametrize("content", [None, "{}", "no JSON", '{"_type": "https://in-toto.io/Statement/v1"}'])
def test_a_release_without_its_statement_is_wrong(folder: Path, content: str | None) -> None:
    (folder / "verification.json").unlink()
    if content is not None:
        (folder / "verification.json").write_text(content)
    assert examined(folder) == {"verification.json": ("wrong", "the file is missing, or not a valid statement of zoo")}


def test_other_weights_beside_the_verified_ones_are_suspect(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "pytorch_model.bin")
    assert examined(folder)["pytorch_model.bin"] == ("suspect", "the report does not cover these weights")


def test_a_release_of_the_card_as_it_was_is_wrong(folder: Path) -> None:
    statement = json.loads((folder / "verification.json").read_text())
    statement["predicate"]["subjects"][0]["card_sha256"] = "0" * 64
    statement["predicate"]["subjects"][0]["weights"][0]["sha256"] = "1" * 64
    (folder / "verification.json").write_text(json.dumps(statement))
    results = examined(folder)
    assert results["card"] == ("wrong", "the card changed since the report")
    assert results[WEIGHTS_FILE] == ("wrong", "the report is about other bytes than the card")


@pytest.mark.parametrize(
    ("elements", "status"), [(64_481, "wrong"), (64_482, "ok"), (66_585, "ok"), (66_586, "suspect")]
)
def test_weights_of_another_size_are_seen_in_their_header(elements: int, status: str) -> None:
    published_files = {
        item.path: PublishedFile(item.path, item.size_bytes, item.sha256, content=item.read())
        for item in release().files
    }
    findings = audit.examine(member(), published_files, lambda: elements)
    assert next(item for item in findings if item.key == "elements").status.value == status


def test_a_file_without_a_header_has_no_elements_to_count(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"<html>no weights</html>")
    with pytest.raises(WrongContent, match="not a valid safetensors file"):
        count_elements(tmp_path / "model.safetensors")
