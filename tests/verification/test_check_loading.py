"""The findings of the check `loading` about real files: correct, wrong, damaged and malicious ones."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from tests.helpers.fetching import sha256
from tests.helpers.project import RunZoo
from zoo.errors import WrongContent
from zoo.registry.edit import card_text
from zoo.weights import store, tensors

BUILDER = {
    "library": "timm",
    "entry": "resnest14d",
    "options": {"num_classes": 4, "channels": [4, 4, 8, 8], "stem_width": 4},
}
State = dict[str, torch.Tensor]
Loading = Callable[..., dict[str, Any]]


def fresh(builder: Mapping[str, Any] = BUILDER) -> State:
    import timm

    torch.manual_seed(1)
    options: Any = {
        key: tuple(value) if isinstance(value, list) else value for key, value in builder["options"].items()
    }
    return timm.create_model(builder["entry"], **options).state_dict()


@pytest.fixture(scope="module")
def state() -> State:
    return fresh()


@pytest.fixture
def loading(tmp_path: Path, run_zoo: RunZoo) -> Loading:
    """Return the findings of `loading`, by key, about a card with these files and their true digests."""

    def verify(
        *files: bytes | Path, others: Mapping[str, Mapping[str, Any]] | None = None, **more: Any
    ) -> dict[str, Any]:
        folder = tmp_path / "zoo"
        folder.mkdir(exist_ok=True)
        listed = []
        for number, content in enumerate(files):
            path = folder / f"{number}.bin" if isinstance(content, bytes) else content
            if isinstance(content, bytes):
                path.write_bytes(content)
            size_bytes, digest = store.digest(path)
            listed.append({"file": path.name, "size_bytes": size_bytes, "sha256": digest, **more})
        cards = {"net": {"name": "net", "builder": BUILDER, "weights": listed}, **(others or {})}
        for name, card in cards.items():
            (folder / f"{name}.yaml").write_text(card_text({"schema": 1, **card}))
        ran = run_zoo("verify", "net", "--cards", folder, "--check", "loading", "--format", "json")
        return {finding["key"]: finding for finding in json.loads(ran.out)["findings"]}

    return verify


def saved(content: object, *, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content", [save, saved, lambda state: saved(state, legacy=True)], ids=["safetensors", "zip", "legacy"]
)
def test_a_sound_file_loads_in_each_format(content: Callable[[State], bytes], loading: Loading, state: State) -> None:
    finding = loading(content(state))["0.bin"]
    assert finding["status"] == "ok"
    assert (finding["evidence"]["tensors"], finding["evidence"]["dtype"]) == (len(state), "float32")


def test_a_missing_key_is_named(loading: Loading, state: State) -> None:
    incomplete = {name: value for name, value in state.items() if name != "fc.bias"}
    finding = loading(save(incomplete))["0.bin"]
    assert finding["status"] == "wrong"
    assert finding["reason"] == "the tensors of 0.bin do not fit resnest14d: 1 missing: fc.bias"


def test_an_additional_tensor_is_named(loading: Loading, state: State) -> None:
    finding = loading(save({**state, "aux.weight": torch.ones(2)}))["0.bin"]
    assert (finding["status"], finding["reason"].split(": ", 1)[1]) == ("wrong", "1 unexpected: aux.weight")


def test_a_wrong_shape_is_named_with_both_shapes(loading: Loading, state: State) -> None:
    finding = loading(save({**state, "fc.weight": torch.ones(5, 32), "fc.bias": torch.ones(5)}))["0.bin"]
    assert finding["status"] == "wrong"
    assert "2 of another shape: fc.weight is [5, 32], not [4, 32], fc.bias is [5], not [4]" in finding["reason"]


def test_weights_of_another_model_are_recognised_by_their_shapes(loading: Loading) -> None:
    builder = {"library": "timm", "entry": "resnest26d", "options": BUILDER["options"]}
    content = fresh(builder)
    params = sum(
        value.numel() for name, value in content.items() if "running" not in name and "num_batches" not in name
    )
    others = {
        "far": {
            "name": "far",
            "builder": {"library": "timm", "entry": "resnet50"},
            "claims": {"params": {"value": 25557032}},
        },
        "near": {
            "name": "near",
            "builder": {**builder, "entry": "resnest50d"},
            "claims": {"params": {"value": params}},
        },
        "right": {"name": "right", "builder": builder, "claims": {"params": {"value": params + 5, "rounded_to": 10}}},
    }
    finding = loading(save(content), others=others)["0.bin"]
    assert finding["status"] == "wrong"
    assert finding["reason"].endswith("; they fit right")


def test_averaged_weights_are_used_and_noted_when_there_are_no_others(loading: Loading, state: State) -> None:
    finding = loading(saved({"epoch": 3, "state_dict_ema": state}))["0.bin"]
    assert (finding["status"], finding["evidence"]["notes"]) == ("ok", ["read from `state_dict_ema`"])


def test_averaged_weights_are_preferred_and_noted(loading: Loading, state: State) -> None:
    broken = {name: torch.zeros(0) for name in state}
    finding = loading(saved({"state_dict": broken, "state_dict_ema": state}))["0.bin"]
    assert finding["status"] == "ok"
    assert finding["evidence"]["notes"] == ["read from `state_dict_ema`", "ignored `state_dict`"]


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_ema"])
def test_the_wrapper_of_a_training_script_is_removed(wrapper: str, loading: Loading, state: State) -> None:
    finding = loading(saved({wrapper: state, "optimizer": {"lr": 0.1}}))["0.bin"]
    assert (finding["status"], finding["evidence"]["notes"]) == ("ok", [f"read from `{wrapper}`"])


def test_the_prefix_of_data_parallel_is_removed_and_noted(loading: Loading, state: State) -> None:
    finding = loading(saved({"state_dict": {f"module.{name}": value for name, value in state.items()}}))["0.bin"]
    assert finding["status"] == "ok"
    assert finding["evidence"]["notes"] == ["read from `state_dict`", "removed `module.` from every name"]


def test_foreign_names_are_renamed(loading: Loading, state: State) -> None:
    foreign = {f"net.{name.replace('layer', 'stage')}": value for name, value in state.items()}
    renames = [{"pattern": r"^net\.", "replacement": ""}, {"pattern": r"^stage(\d)", "replacement": r"layer\1"}]
    finding = loading(save(foreign), rename=renames)["0.bin"]
    assert finding["status"] == "ok"
    assert finding["evidence"]["notes"] == [r"`^net\.` renamed tensors", r"`^stage(\d)` renamed tensors"]


def test_tensors_that_only_training_uses_are_dropped_if_the_card_says_so(loading: Loading, state: State) -> None:
    content = {**state, "aux.weight": torch.ones(2), "aux.bias": torch.ones(2)}
    finding = loading(save(content), rename=[{"pattern": r"^aux\."}])["0.bin"]
    assert finding["status"] == "ok"
    assert finding["evidence"]["notes"] == [rf"`^aux\.` removed 2 of {len(content)} tensors"]


@pytest.mark.parametrize(
    ("rename", "reason"),
    [
        ({"pattern": "^(.*)", "replacement": "same"}, "gives two tensors the same name: same"),
        ({"pattern": "(", "replacement": ""}, "is not a valid substitution"),
        ({"pattern": "a", "replacement": r"\3"}, "is not a valid substitution"),
        ({"pattern": "("}, "is not a valid pattern"),
    ],
)
def test_an_invalid_rename_is_reported_at_its_line(
    rename: dict[str, str], reason: str, loading: Loading, state: State
) -> None:
    finding = loading(save(state), rename=[rename])["0.bin"]
    assert finding["status"] == "wrong" and reason in finding["reason"]
    assert "net.yaml:" in finding["where"]


def test_half_precision_loads_and_is_compared_with_the_claim(loading: Loading, state: State) -> None:
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    assert loading(save(half))["0.bin"]["evidence"]["dtype"] == "float16"
    finding = loading(save(half), dtype="float32")["0.bin"]
    assert (finding["status"], finding["reason"]) == ("wrong", "the tensors are float16, but the card claims float32")


def test_a_pickle_that_the_card_calls_safetensors_is_wrong(loading: Loading, state: State) -> None:
    finding = loading(saved(state), format="safetensors")["0.bin"]
    assert (finding["status"], finding["reason"]) == ("wrong", "the file is pickle, but the card claims safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_value_that_is_not_finite_is_wrong_and_its_tensor_named(
    value: float, loading: Loading, state: State
) -> None:
    broken = state["layer1.0.conv1.weight"].clone()
    broken.view(-1)[-1] = value
    finding = loading(save({**state, "layer1.0.conv1.weight": broken}))["0.bin"]
    assert finding["status"] == "wrong"
    assert finding["reason"] == "1 tensor of 0.bin contains NaN or Inf: layer1.0.conv1.weight"


def test_a_layer_that_is_zero_everywhere_is_suspect(loading: Loading, state: State) -> None:
    zero = torch.zeros_like(state["fc.weight"])
    finding = loading(save({**state, "fc.weight": zero, "fc.bias": torch.zeros(4)}))["0.bin"]
    assert finding["status"] == "suspect"
    assert finding["reason"].startswith("all values are zero in fc.weight;")
    assert set(finding["evidence"]["zero"]) >= {"fc.bias", "fc.weight"}


def test_files_older_than_the_counters_of_batch_norm_load(loading: Loading, state: State) -> None:
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert len(old) < len(state)
    assert loading(saved(old))["0.bin"]["status"] == "ok"


def test_a_truncated_zip_is_wrong(loading: Loading, state: State) -> None:
    finding = loading(saved(state)[:-200])["0.bin"]
    assert finding["status"] == "wrong" and "0.bin is not a valid weights file" in finding["reason"]


class Payload:
    """An object whose unpickling creates a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare pickle", "zip with its pickle exchanged"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    kind: str, tmp_path: Path, loading: Loading, state: State
) -> None:
    mark = tmp_path / "it-ran"
    content = {**state, "payload": Payload(mark)}
    if kind == "bare pickle":
        data = pickle.dumps(Payload(mark), protocol=2)
    elif kind == "zip with its pickle exchanged":
        data = exchanged(saved(state), pickle.dumps(Payload(mark), protocol=2))
    else:
        data = saved(content, legacy=kind == "legacy")
    finding = loading(data)["0.bin"]
    assert finding["status"] == "wrong"
    assert "cannot be loaded without executing code, which zoo never does" in finding["reason"]
    assert not mark.exists()


def exchanged(archive: bytes, data: bytes) -> bytes:
    """Return the archive with another data.pkl."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, data if name.endswith("data.pkl") else old.read(name))
    return buffer.getvalue()


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def test_a_header_with_a_wrong_length_is_refused(loading: Loading, state: State) -> None:
    content = save(state)
    finding = loading(struct.pack("<Q", len(content) * 2) + content[8:])["0.bin"]
    assert finding["status"] == "wrong" and f"its header has {len(content) * 2} bytes" in finding["reason"]


@pytest.mark.parametrize("offsets", [[0, 400], [0, 4], [4, 12], [-8, 0]])
def test_a_header_with_wrong_offsets_of_a_tensor_is_refused(offsets: list[int], loading: Loading) -> None:
    text = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": offsets}}).encode()
    finding = loading(header(text) + bytes(8))["0.bin"]
    assert finding["status"] == "wrong" and "is not a valid safetensors file" in finding["reason"]


def test_a_header_of_100_megabytes_is_refused_without_reading_it(tmp_path: Path, loading: Loading) -> None:
    (tmp_path / "zoo").mkdir()
    path = tmp_path / "zoo" / "0.bin"
    with path.open("wb") as file:  # the file is sparse: it takes no room
        file.write(header(b"{", 100_000_000))
        file.truncate(100_000_100)
    finding = loading(path)["0.bin"]
    assert finding["status"] == "wrong"
    assert finding["reason"] == "the header of 0.bin has 100000000 bytes, more than the limit of 25000000"


@pytest.mark.parametrize("content", [b"", b"\x00" * 5, b"{", b"just text", b"PK\x03\x04", b"\x80\x02N."])
def test_a_file_without_weights_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(WrongContent):
        read(content, tmp_path)


@pytest.mark.parametrize(
    "make", [saved, lambda state: saved(state, legacy=True), save], ids=["zip", "legacy", "safetensors"]
)
def test_damaged_files_are_refused_or_read_without_another_error(
    make: Callable[[State], bytes], tmp_path: Path
) -> None:
    whole = make({"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2).half()})
    numbers = random.Random(5)
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(numbers.randint(1, 3)):
            data[numbers.randrange(len(data))] = numbers.randrange(256)
        try:
            read(bytes(data[: numbers.randint(1, len(data))] if numbers.random() < 0.2 else data), tmp_path)
        except WrongContent:
            refused += 1
    assert refused > 20


def read(content: bytes, folder: Path) -> tensors.Contents:
    path = folder / "0.bin"
    path.write_bytes(content)
    return tensors.read(store.Artifact(path, "0.bin", None, len(content), sha256(content), "here"))


def test_two_files_of_one_card_with_equal_tensors_are_ok(loading: Loading, state: State) -> None:
    by_key = loading(save(state), saved({"model": state}))
    assert {key: finding["status"] for key, finding in by_key.items()} == {
        "0.bin": "ok",
        "1.bin": "ok",
        "tensors": "ok",
    }


def test_two_files_of_one_card_with_different_tensors_are_wrong(loading: Loading, state: State) -> None:
    by_key = loading(save(state), save({**state, "fc.bias": state["fc.bias"] + 1}))
    assert (by_key["0.bin"]["status"], by_key["1.bin"]["status"]) == ("ok", "ok")
    assert (by_key["tensors"]["status"], by_key["tensors"]["reason"]) == (
        "wrong",
        "1.bin differs from 0.bin: 1 tensor differs: fc.bias",
    )


def test_a_copy_in_half_precision_is_equal_once_the_other_is_rounded(loading: Loading, state: State) -> None:
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    finding = loading(save(state), save(half))["tensors"]
    assert (finding["status"], finding["evidence"]["dtypes"]) == ("ok", {"0.bin": "float32", "1.bin": "float16"})
    finding = loading(save(state), save({**half, "fc.bias": half["fc.bias"] + 1}))["tensors"]
    assert finding["status"] == "wrong"
