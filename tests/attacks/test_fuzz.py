"""Mutated cards, documents, weights files and files below ZOO_HOME: no bug, no hang, and no answer from a damaged file.

A part of tests/bench/fuzz.py; ZOO_FUZZ_INPUTS=10000 for as long as one likes.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.attacks.damage import is_sealed, state_files
from tests.bench.fuzz import bench, found, fuzz, run
from tests.helpers.state import load, rewrite
from zoo.runtime import storage
from zoo.runtime.json_form import has_form, is_count, is_number, is_plain, is_sha256, is_text, mapping_of, one_of

INPUTS = int(os.environ.get("ZOO_FUZZ_INPUTS", "100"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)
FORM: dict[str, Any] = {
    "value": one_of(None, is_count, is_text),
    "pairs": [(is_text, is_number)],
    "by_name": mapping_of(is_sha256),
    "more?": is_plain,
}
bounded = settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


def test_no_input_is_a_bug_or_a_hang_or_answered_from_a_damaged_file() -> None:
    for kind, score in fuzz(INPUTS, seed=2, minutes=1.0).items():
        assert (kind, score.bugs, score.hangs, score.false_answers) == (kind, [], [], [])
        assert sum(score.codes.values()) > 0


def test_the_fuzzer_notices_an_answer_from_a_changed_file() -> None:
    """A fact with another value and a right checksum, which zoo cannot tell from its own, changes what is found."""
    with bench() as made:
        changed = [path for path in state_files(made.home) if is_sealed(path) and is_count(load(path).get("value"))]
        for path in changed:
            rewrite(path, lambda data: data.update(value=data["value"] + 1))
        assert changed and found(run(made.verify)) != made.expected
        for path in changed:  # and without a right checksum it changes nothing
            path.write_bytes(path.read_bytes().replace(b'"value":', b'"value": '))
        assert found(run(made.verify)) == made.expected


@bounded
@given(VALUES)
def test_a_form_is_decided_for_any_value(value: Any) -> None:
    assert has_form(value, FORM) in (True, False)
    assert not has_form(value, FORM) or is_plain(value)


@bounded
@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_are_no_object_of_zoo(tmp_path_factory: pytest.TempPathFactory, content: bytes, place: int) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-bytes"
    folder.mkdir(exist_ok=True)
    path = folder / "file.json"
    sealed = storage.sealed(path, {"value": 1, "evidence": {"a": [1, 2.5, None, "é"]}})
    path.write_bytes(sealed)
    assert storage.read_json(path, is_plain) == {"value": 1, "evidence": {"a": [1, 2.5, None, "é"]}}
    changed = sealed[:place] + content + sealed[place + len(content) :]
    for damaged in (content, changed):
        path.write_bytes(damaged)
        assert storage.read_json(path, is_plain) is None or damaged.rstrip(b" ") == sealed
