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

    Raises UsageError for a number that is too small, UnknownName for an unknown precision.
    """
    if precision not in DTYPES:
        raise UnknownName("precision", precision, DTYPES)
    _require_positive(max_age_days=max_age_days, limit=limit, batch_size=batch_size, jobs=jobs)
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


def _require_positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not value > 0:
            raise UsageError(f"{name} is {value}", hint=f"give a {name} above 0")
