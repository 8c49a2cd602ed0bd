"""The API inside another program: a script without `if __name__ == "__main__"` calls all of it, and its process stays as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.digit_images import save_digits
from tests.helpers.project import ROOT

SCRIPT = """
import sys
from pathlib import Path
import zoo

with open("runs.txt", "a") as runs:
    runs.write("run\\n")
digits, cards = "resnest_digits", Path("cards")
called = {
    "load_card": lambda: zoo.load_card(digits).name,
    "list_models": lambda: zoo.list_models("digits"),
    "fetch": lambda: zoo.fetch(digits).name,
    "create_model": lambda: zoo.create_model(digits, pretrained=True, num_classes=3).training,
    "create_transform": lambda: tuple(zoo.create_transform(digits)(IMAGE).shape),
    "validate": lambda: zoo.validate(digits, cards / "net.yaml").exit_code,
    "verify": lambda: zoo.verify(digits, "net", jobs=2, cards=[SHIPPED, cards]).exit_code,
    "evaluate": lambda: [score.top1.correct for score in zoo.evaluate(digits, jobs=2, refresh=True)],
    "predict": lambda: len(zoo.predict(digits, "digit.png")[0].guesses),
    "count_flops": lambda: zoo.count_flops(digits).model,
    "import_cards": lambda: zoo.import_cards("model-index.yml", to="imported").models,
    "export_cards": lambda: len(zoo.export_cards("imported-net", format="csv", cards="imported")),
    "publish": lambda: zoo.publish(digits, to="folder:release").kind,
    "check_published": lambda: zoo.check_published(digits, to="folder:release").exit_code,
}
SHIPPED = sys.argv[1]
from PIL import Image
IMAGE = Image.open("digit.png")
functions = {name for name in zoo.__all__ if name[0].islower()}
assert functions == set(called), functions ^ set(called)
for name, call in called.items():
    print(name, call())
"""
UNCHANGED = """
import gc, os, signal, sys, threading, warnings
import PIL.Image, timm, torch
from huggingface_hub.utils import are_progress_bars_disabled

def threads():
    numbers = []
    thread = threading.Thread(target=lambda: numbers.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return torch.get_num_threads(), *numbers

def state():
    return {
        "variables": dict(os.environ),
        "handlers": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "threads": threads(),
        "frozen": (gc.get_freeze_count(), gc.isenabled(), gc.get_threshold()),
        "path": list(sys.path),
        "warnings": list(warnings.filters),
        "random numbers": torch.get_rng_state().tolist(),
        "gradients": torch.is_grad_enabled(),
        "progress bars": are_progress_bars_disabled(),
        "hooks": (sys.excepthook, threading.excepthook),
    }

before = state()
import zoo
zoo.create_model("resnest_digits", pretrained=True)
zoo.create_transform("resnest_digits")
zoo.fetch("resnest_digits")
zoo.validate()
zoo.verify("resnest_digits")
zoo.evaluate("resnest_digits", refresh=True, jobs=2)
zoo.predict("resnest_digits", "digit.png")
zoo.count_flops("resnest_digits", explain=[1])
zoo.import_cards("model-index.yml", to="imported")
zoo.export_cards("resnest_digits", format="csv")
zoo.publish("resnest_digits", to="folder:release")
from zoo.publishing.hub_client import HubClient
HubClient("organization/repository")
after = state()
print([name for name in before if before[name] != after[name]])
from zoo.runtime import malloc
print(malloc._set_thresholds.cache_info().misses)
"""
CALLED = """\
load_card resnest_digits
list_models ['resnest_digits']
fetch resnest_digits-9fd38cd8.safetensors
create_model False
create_transform (3, 32, 32)
validate 0
verify 0
evaluate [359]
predict 5
count_flops resnest_digits
import_cards 1
export_cards 1
publish published
check_published 0
"""
NET = """\
schema: 1
name: net
builder: {library: timm, entry: test_byobnet}
input: {size: [3, 160, 160]}
"""
MODEL_INDEX = """\
Models:
- Name: imported-net
  Metadata: {Parameters: 1000}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with what the scripts read."""
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "net.yaml").write_text(NET)
    (tmp_path / "model-index.yml").write_text(MODEL_INDEX)
    (name,) = save_digits(tmp_path / "images", 1)[:1]
    (tmp_path / "images" / name).rename(tmp_path / "digit.png")
    return tmp_path


def run_python(folder: Path, *arguments: object, program: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python in the folder with a home of its own; zoo is found as this process finds it."""
    variables = {"ZOO_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, env={**os.environ, **variables}, input=program,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_script_without_a_guard_calls_every_function(folder: Path) -> None:
    (folder / "script.py").write_text(SCRIPT)
    ran = run_python(folder, "script.py", ROOT / "cards")
    assert ran.stdout == CALLED, ran.stderr
    assert (folder / "runs.txt").read_text() == "run\n"  # no worker ran the script again


def test_a_program_from_standard_input_calls_every_function(folder: Path) -> None:
    ran = run_python(folder, "-", ROOT / "cards", program=SCRIPT)
    assert ran.stdout == CALLED, ran.stderr
    assert (folder / "runs.txt").read_text() == "run\n"


def test_the_process_of_the_caller_stays_as_it_is(folder: Path) -> None:
    ran = run_python(folder, "-c", UNCHANGED)
    assert ran.stdout == "[]\n0\n", ran.stderr
