"""Parse where releases go: a folder of this machine, or a repository or an organization of the Hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from zoo.errors import UsageError
from zoo.publishing.hub import HubTarget
from zoo.publishing.hub_repository import HubOptions
from zoo.publishing.targets import FolderTarget, Target


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """A folder for one model, or with a subfolder for each of several models."""

    path: Path

    def refuse_several(self) -> None:
        """Do nothing: a folder can hold several models."""

    def target(self, model: str, *, is_one_of_several: bool, report_progress: Callable[[str], None]) -> Target:
        """Return the folder of that model."""
        return FolderTarget(self.path / model if is_one_of_several else self.path)


@dataclass(frozen=True, slots=True)
class HubPlace:
    """A repository of the Hub (ORG/REPO), or an organization or user (ORG) with a repository for each model."""

    name: str
    options: HubOptions = field(default_factory=HubOptions)

    def refuse_several(self) -> None:
        """Raise UsageError when this is one repository, which holds one model."""
        if "/" in self.name:
            organization = self.name.partition("/")[0]
            raise UsageError(
                f"hf:{self.name} is one repository, but several models were given",
                hint=f"--to hf:{organization} publishes each model to a repository of its own",
            )

    def target(self, model: str, *, is_one_of_several: bool, report_progress: Callable[[str], None]) -> Target:
        """Return the repository of that model; raises UsageError when its name is not valid on the Hub."""
        repo_id = self.name if "/" in self.name else f"{self.name}/{model}"
        return HubTarget(repo_id, self.options, report_progress=report_progress)


Place = FolderPlace | HubPlace


def parse_place(text: str, options: HubOptions | None = None) -> Place:
    """Parse `hf:ORG/REPO`, `hf:ORG` or `folder:PATH`. options: for the Hub only.

    Raises UsageError when the text has none of these forms, or a folder is given options of the Hub.
    """
    kind, _, rest = text.partition(":")
    options = options or HubOptions()
    if kind == "hf" and rest:
        return HubPlace(rest, options)
    if kind != "folder" or not rest:
        raise UsageError(f"--to {text}: not a valid destination", hint="give hf:ORG/REPO or folder:PATH")
    given = options.given()
    if given:
        raise UsageError(f"{', '.join(given)}: only for the Hub", hint="give --to hf:ORG/REPO")
    return FolderPlace(Path(rest))
