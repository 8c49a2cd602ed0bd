"""What a module depends on is read from its source."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo.runtime import source_code

MODULES = {
    "zoo/__init__.py": "",
    "zoo/a/__init__.py": "",
    "zoo/a/one.py": "from zoo.a import two\nfrom zoo.b.three import name as other\n",
    "zoo/a/two.py": "def f():\n    from zoo.a.four import (\n        x,  # of five, six\n        y,\n    )\n    return x, y\n",
    "zoo/a/four.py": "import zoo.b.six\nfrom zoo.a import one  # in a circle\n",
    "zoo/a/five.py": "",
    "zoo/b/__init__.py": "from zoo.c import seven\n",
    "zoo/b/three.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from zoo.a import five\n\n    from zoo.a.five import z\n"
        "from zoo.b import (\n    eight,\n    name,\n)\n"
    ),
    "zoo/b/six.py": 'from zoo import plugins\nrule = plugins.load("rules", "nine")\nother = plugins.load("rules", name)\n',
    "zoo/b/eight.py": "import theirs\n",
    "zoo/c/__init__.py": "",
    "zoo/c/seven.py": "import os\n",
    "zoo/plugins.py": "",
    "zoo/verification/__init__.py": "",
    "zoo/verification/rules/__init__.py": "",
    "zoo/verification/rules/nine.py": "",
    "zoo/verification/rules/ten.py": "",
}


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of small modules in the place of zoo."""
    for name, text in MODULES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(source_code, "PACKAGE", str(tmp_path / "zoo"))
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    """Forget what this process read."""
    for cached in (source_code.sha256, source_code.imported_by, source_code._files, source_code._read):
        cached.cache_clear()


def test_every_import_is_followed_but_those_for_type_checkers() -> None:
    assert source_code.depends_on(["zoo.a.one"]) == (
        *("zoo.a", "zoo.a.four", "zoo.a.one", "zoo.a.two"),
        *("zoo.b", "zoo.b.eight", "zoo.b.six", "zoo.b.three"),
        *("zoo.c", "zoo.c.seven", "zoo.plugins"),
        *("zoo.verification", "zoo.verification.rules", "zoo.verification.rules.nine"),
    )


def test_what_is_left_out_takes_with_it_what_only_it_imports() -> None:
    assert source_code.depends_on(["zoo.a.one"], ["zoo.b", "zoo.plugins"]) == (
        "zoo.a",
        "zoo.a.four",
        "zoo.a.one",
        "zoo.a.two",
    )


@pytest.mark.parametrize(
    ("edited", "changes"),
    [
        ("zoo/a/four.py", True),
        ("zoo/verification/rules/nine.py", True),
        ("zoo/c/seven.py", True),
        ("zoo/a/five.py", False),
    ],
)
def test_the_digest_changes_with_each_file_that_counts(edited: str, changes: bool, package: Path) -> None:
    before = source_code.sha256(("zoo.a.one",))
    (package / edited).write_text(f"{MODULES[edited]}# edited\n")
    assert source_code.sha256(("zoo.a.one",)) == before  # a process keeps what it read
    forget()
    assert (source_code.sha256(("zoo.a.one",)) != before) is changes


def test_a_module_of_another_distribution_counts_with_what_it_imports_of_zoo(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "theirs.py").write_text("import json\nfrom zoo.c import seven\n")
    monkeypatch.syspath_prepend(package)
    assert source_code.depends_on(["theirs"]) == ("theirs", "zoo.c", "zoo.c.seven")
    before = source_code.sha256(("theirs",))
    (package / "theirs.py").write_text("import json\nfrom zoo.c import seven  # edited\n")
    forget()
    assert source_code.sha256(("theirs",)) != before
    assert "theirs" not in sys.modules


def test_a_compiled_module_has_a_digest_too() -> None:
    assert source_code.depends_on(["math"]) == ("math",) and len(source_code.sha256(("math",))) == 64
