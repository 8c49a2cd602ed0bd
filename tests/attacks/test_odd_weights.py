"""Files whose tensors are unusual: each gets a verdict, broken ones are never ok, and none is a bug in zoo."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from tests.attacks.weights_zoo import fresh_state, saved, verify_files

EIGHT_BITS = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
NAN_OF_8_BITS = {"float8_e4m3fn": 0x7F, "float8_e5m2": 0x7E, "float8_e4m3fnuz": 0x80, "float8_e5m2fnuz": 0x80,
                 "float8_e8m0fnu": 0xFF}  # fmt: skip
NAME, VARIANCE = "fc.weight", "bn1.running_var"


def files() -> dict[str, tuple[bytes, str, str]]:
    """Return the content of each file, the status of its finding, and some words of the reason."""
    state = fresh_state()
    weight = state[NAME]

    def changed(value: Any, name: str = NAME) -> bytes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return saved({**state, name: value})

    def filled(dtype: str, byte: int | None = None) -> torch.Tensor:
        data = torch.full(weight.shape, 0x38, dtype=torch.uint8)
        if byte is not None:
            data[1, 2] = byte
        return data.view(getattr(torch, dtype))

    part = weight.clone().to(torch.complex64)
    part.imag[0, 0] = float("nan")
    odd = {
        **{dtype: (changed(filled(dtype)), "ok", "") for dtype in EIGHT_BITS},
        **{
            f"nan_{dtype}": (changed(filled(dtype, byte)), "wrong", "NaN or Inf: fc.weight")
            for dtype, byte in NAN_OF_8_BITS.items()
        },
        "zero_float8": (changed(torch.zeros_like(weight).to(torch.float8_e4m3fn)), "suspect", "all values are zero"),
        "float4": (changed(torch.full(weight.shape, 0x21, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)), "wrong", "float4"),
        "zero_float4": (changed(torch.full(weight.shape, 0x80, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)), "wrong", "float4"),
        "bfloat16": (changed(weight.to(torch.bfloat16)), "ok", ""),
        "zero_bfloat16": (changed(torch.zeros_like(weight).to(torch.bfloat16)), "suspect", "all values are zero"),
        "minus_zero": (changed(-torch.zeros_like(weight)), "suspect", "all values are zero"),
        "zero_int": (changed(torch.zeros_like(weight).long()), "suspect", "all values are zero in fc.weight"),
        "zero_bool": (changed(torch.zeros_like(weight).bool()), "suspect", "all values are zero in fc.weight"),
        "whole_numbers": (changed(torch.ones_like(weight).to(torch.int8)), "suspect", "whole numbers"),
        "half_booleans": (changed(torch.full(weight.shape, 7, dtype=torch.uint8).view(torch.bool)), "wrong", "neither true"),
        "complex": (changed(weight.to(torch.complex64)), "wrong", "complex"),
        "nan_in_the_imaginary_part": (changed(part), "wrong", "NaN or Inf"),
        "conjugate": (changed(weight.to(torch.complex64).conj()), "wrong", "complex"),
        "negative_view": (changed(torch.complex(weight, weight).conj().imag), "ok", ""),
        "meta": (changed(torch.empty(weight.shape, device="meta")), "wrong", "without values, on the device meta: fc.weight"),
        "coo": (changed(weight.to_sparse()), "unknown", "1 sparse tensor, which zoo does not read: fc.weight"),
        "csr": (changed(weight.to_sparse_csr()), "unknown", "1 sparse tensor"),
        "quantized": (changed(torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)), "unknown", "1 quantized tensor"),
        "nested": (changed(torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])), "unknown", "a nested tensor"),
        "expanded": (changed(torch.ones(1).expand(weight.shape)), "ok", ""),
        "strided": (changed(weight.t().contiguous().t()), "ok", ""),
        "one_storage": (saved({**state, "bn1.weight": state["bn1.bias"]}), "ok", ""),
        "negative_variance": (changed(-state[VARIANCE], VARIANCE), "wrong", "1 variance of negative_variance.bin has values"),
        "without_elements": (changed(torch.zeros(0, 32)), "wrong", "fc.weight is [0, 32], not [4, 32]"),
        "a_number": (changed(torch.tensor(1.0)), "wrong", "fc.weight is [], not [4, 32]"),
        "names_that_are_one": (saved({1: weight, "1": weight}), "wrong", "a name twice"),
        "half_a_surrogate": (changed(weight, "\ud800"), "wrong", "not valid text"),
        "sound": (saved(state), "ok", ""),
    }  # fmt: skip
    return odd


@pytest.fixture(scope="module")
def cases() -> dict[str, tuple[bytes, str, str]]:
    return files()


@pytest.fixture(scope="module")
def found(
    cases: dict[str, tuple[bytes, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("odd") / "zoo"
    return verify_files(folder, {name: content for name, (content, _, _) in cases.items()})


def test_each_file_has_its_verdict(cases: dict[str, tuple[bytes, str, str]], found: dict[str, dict[str, Any]]) -> None:
    wrong = {
        name: (found[name]["status"], found[name]["reason"])
        for name, (_, status, words) in cases.items()
        if found[name]["status"] != status or words not in found[name]["reason"]
    }
    assert wrong == {}
