"""Turn the options of the command line and of the Python API into Settings, and describe them in a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.accuracy.evaluate import default_jobs
from zoo.accuracy.ranking import DTYPES
from zoo.errors import UnknownName, UsageError
from zoo.models.subject import Evaluation, Settings
from zoo.runtime.engines import Options

MAX_NUMBER = 2**53 - 1
"""The largest number of an option: JSON readers keep it exactly (RFC 8259, section 6)."""
LARGEST = {"max_age_days": MAX_NUMBER, "limit": MAX_NUMBER, "batch_size": 65_536, "jobs": 1024}
"""The largest values of settings. A batch is decoded at once: 65,536 photographs of 224 x 224 pixels have 39 GB."""


def make_settings(
    *,
    fetch: bool = False,
    data: Mapping[str, str | Path] | None = None,
    device: str = "auto",
    allow_code: bool = False,
    refresh: bool = False,
    max_age_days: float | None = None,
    limit: int | None = None,
    seed: int = 0,
    early_stop: bool = False,
    precision: str = "fp32",
    batch_size: int | None = None,
    compile: bool = False,
    jobs: int | None = None,
    engine: str = "local",
    address: str | None = None,
    remote: bool = False,
) -> Settings:
    """Return the settings of a run; `jobs` is one worker, or one for each accelerator, when None.

    Raises UsageError for a number that is too small or too large, UnknownName for an unknown precision.
    """
    if precision not in DTYPES:
        raise UnknownName("precision", precision, DTYPES)
    _require_within(max_age_days=max_age_days, limit=limit, batch_size=batch_size, jobs=jobs)
    if abs(seed) > MAX_NUMBER:
        raise UsageError("seed is out of range", hint=f"give a seed from -{MAX_NUMBER} to {MAX_NUMBER}")
    evaluation = Evaluation(
        limit=limit, seed=seed, early_stop=early_stop, precision=precision, batch_size=batch_size, compile=compile,
        max_age_days=max_age_days, engine=engine, options=Options(default_jobs(device) if jobs is None else jobs, address),
    )  # fmt: skip
    paths = {name: Path(path) for name, path in (data or {}).items()}
    return Settings(
        fetch=fetch,
        device=device,
        data=paths,
        refresh=refresh,
        evaluation=evaluation,
        allow_code=allow_code,
        remote=remote,
    )


def describe(command: str, settings: Settings, *, strict: bool, checks: Sequence[str]) -> dict[str, Any]:
    """Return what a report says about the options of a run: those that change what is found."""
    evaluation = settings.evaluation
    sample = {"limit": evaluation.limit, "seed": evaluation.seed} if evaluation.limit else {}
    stop = {"early_stop": True, "seed": evaluation.seed} if evaluation.early_stop else {}
    code = {"allow_code": True} if settings.allow_code else {}
    return {
        "command": command,
        "strict": strict,
        "checks": list(checks),
        "remote": settings.remote,
        "fetch": settings.fetch,
        "device": settings.device,
        "precision": evaluation.precision,
        **sample,
        **stop,
        **code,
    }


def _require_within(**values: float | None) -> None:
    for name, value in values.items():
        largest = LARGEST[name]
        if value is not None and not 0 < value <= largest:  # also true for NaN
            given = "out of range" if value > largest else str(value)
            raise UsageError(f"{name} is {given}", hint=f"give a {name} above 0 and at most {largest}")
