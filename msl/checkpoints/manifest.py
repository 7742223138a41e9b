"""What says that a checkpoint exists, and what belongs to it: the last file to be written."""

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msl.checkpoints.file import FORMAT
from msl.checkpoints.store import Folder
from msl.errors import CheckpointError

__all__ = [
    "MANIFEST",
    "RUN",
    "Manifest",
    "Part",
    "Run",
    "put_manifest",
    "put_run",
    "read_manifest",
    "read_run",
    "rounds_in",
    "rounds_of",
]

MANIFEST, RUN = "manifest.json", "run.json"
_LIMIT = 1 << 28

Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Part(_Strict):
    """A file of a checkpoint; of memories also whose they are.

    The name never leads out of the folder.
    """

    name: Annotated[str, Field(pattern=r"^([0-9]{6,}/)?[a-z]+(-[0-9]+)*\.tree$")]
    nbytes: int = Field(ge=0)
    sha256: Sha
    ranks: list[int] | None = None


class Manifest(_Strict):
    """All files of a checkpoint after a round; `plan` is what `digests` says of the plan."""

    format: Literal[1] = FORMAT
    round: int = Field(ge=0)
    plan: dict[str, Sha]
    state: Part
    books: Part
    memories: list[Part]
    reports: list[Part]


class Run(_Strict):
    """Whose checkpoints lie in a folder, and how its tracker calls the run."""

    format: Literal[1] = FORMAT
    plan: dict[str, Sha]
    run: str | None = None


def rounds_in(folder: Folder) -> list[int]:
    """Return the rounds that have a manifest, the newest first."""
    rounds = sorted(rounds_of(folder.names()), reverse=True)
    return [round for round in rounds if folder.has(f"{round:06d}/{MANIFEST}")]


def rounds_of(names: Iterable[str]) -> list[int]:
    """Return the rounds that have a folder, finished or not."""
    return [int(name) for name in names if re.fullmatch(r"[0-9]{6,}", name)]


def put_manifest(folder: Folder, manifest: Manifest) -> None:
    """Let the checkpoint exist."""
    text = manifest.model_dump_json().encode()
    folder.put_bytes(f"{manifest.round:06d}/{MANIFEST}", text)


def read_manifest(folder: Folder, round: int) -> Manifest:
    """Return the manifest of a round; raises CheckpointError when it is none."""
    name = f"{round:06d}/{MANIFEST}"
    try:
        manifest = Manifest.model_validate_json(folder.get_bytes(name, _LIMIT))
    except ValidationError as error:
        raise CheckpointError(f"{name} cannot be read: {_first(error)}") from error
    if manifest.round != round:
        raise CheckpointError(f"{name} is of round {manifest.round}")
    return manifest


def put_run(folder: Folder, run: Run) -> None:
    """Say whose folder it is."""
    folder.put_bytes(RUN, run.model_dump_json(indent=1).encode())


def read_run(folder: Folder) -> Run | None:
    """Return whose folder it is; None when it is nobody's."""
    if not folder.has(RUN):
        return None
    try:
        return Run.model_validate_json(folder.get_bytes(RUN, _LIMIT))
    except ValidationError as error:
        raise CheckpointError(f"{folder.url}/{RUN} cannot be read: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    wrong = error.errors()[0]
    return f"{'.'.join(str(step) for step in wrong['loc'])}: {wrong['msg']}"
