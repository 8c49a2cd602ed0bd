"""What is installed is whole: the wheel holds every card, schema and data file, and works from any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.documentation import generate
from tests.helpers.project import ROOT


def run(*command: object, cwd: Path, **variables: str) -> str:
    """What a command prints; its failure is the test's."""
    environment = {**os.environ, **variables}
    ran = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the repository holds, to build from and to edit."""
    copy = tmp_path_factory.mktemp("source") / "zoo"
    ignore = shutil.ignore_patterns(
        ".git", ".venv", "venv", "__pycache__", "*.egg-info", ".*_cache", "dist", "build", ".hypothesis"
    )
    shutil.copytree(ROOT, copy, ignore=ignore)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source, cwd=source)
    (path,) = folder.glob("*.whl")
    return path


def test_the_sdist_has_the_documents(source: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", tmp_path, source, cwd=source)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {*generate.PARTS, "CHANGELOG.md", "LICENSE", "tests/documentation/generate.py"}


def files_below(folder: Path) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_every_file_of_the_package_its_cards_and_schemas(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    data = {f"zoo/_data/{name}" for folder in ("cards", "schemas") for name in files_below(ROOT / folder)}
    package = files_below(ROOT / "zoo")
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == data | package | {"zoo_cli.py"}
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_the_wheels_files_are_the_repositorys_byte_for_byte(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    for name in files_below(ROOT / "cards") | files_below(ROOT / "schemas"):
        assert archive.read(f"zoo/_data/{name}") == (ROOT / name).read_bytes(), name


def test_the_installed_command_works_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        target,
        wheel,
        cwd=tmp_path,
    )
    command = target / "bin" / "zoo"
    run(sys.executable, command, "validate", "--all", cwd=Path("/"), PYTHONPATH=str(target))
    listed = run(sys.executable, command, "list", "--format", "names", cwd=Path("/"), PYTHONPATH=str(target)).split()
    expected = run(sys.executable, "-m", "zoo_cli", "list", "--format", "names", cwd=ROOT).split()
    assert listed == expected
    code = "import zoo; from zoo.registry import schema; print(zoo.__file__, schema.data_root())"
    where, data = run(sys.executable, "-c", code, cwd=Path("/"), PYTHONPATH=str(target)).split()
    assert where.startswith(str(target)) and data == f"{target}/zoo/_data"


def test_an_editable_install_sees_an_edited_card_and_an_edited_help(source: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    (packages,) = (home / "lib").glob("python*/site-packages")
    libraries = dict.fromkeys(
        [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *filter(None, map(str, sys.path[1:]))]
    )
    (packages / "libraries.pth").write_text("\n".join(path for path in libraries if "site-packages" in path))
    python = home / "bin" / "python"
    run(
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--ignore-installed",
        "-e",
        source,
        cwd=tmp_path,
    )
    card = source / "cards" / "resnest" / "resnest14d.yaml"
    card.write_text(card.read_text().replace("name: resnest14d", "name: resnest14d-edited"))
    command = source / "zoo" / "commands" / "list.py"
    command.write_text(command.read_text().replace('"""List models', '"""EDITED models', 1))
    assert "resnest14d-edited" in run(home / "bin" / "zoo", "list", cwd=tmp_path)
    assert "EDITED models" in run(home / "bin" / "zoo", "--help", cwd=tmp_path)
