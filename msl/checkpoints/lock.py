"""One driver at a time in a folder of checkpoints, by a lock that ends with whoever holds it."""

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import gethostname

from filelock import FileLock, Timeout

from msl.checkpoints.store import Folder
from msl.errors import CheckpointError

__all__ = ["LOCK", "held"]

LOCK = "driver.lock"


@contextmanager
def held(folder: Folder) -> Iterator[None]:
    """Keep other drivers out; the thread that holds a folder may hold it again.

    The kernel gives the lock back when the process ends, by whatever: the file stays and means
    nothing by itself. Object stores have no locks, and nothing is held there.

    Parameters
    ----------
    folder : Folder
        Made when it is not there.

    Raises
    ------
    CheckpointError
        When another driver has it; says which.
    """
    if folder.path is None:
        yield
        return
    file = folder.path / LOCK
    # One object per file in a process, so that a thread that has it gets it again.
    lock = FileLock(file, blocking=False, is_singleton=True, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise CheckpointError(
            f"{folder.path} is in use by {_said_in(file)}; two drivers would spoil each other's "
            "checkpoints. Wait until that one has ended, or end it; one that was killed holds "
            "nothing, and there is no file to remove"
        ) from error
    except OSError as error:
        # Training matters more than a lock that a file system does not know.
        warnings.warn(
            f"{folder.path} cannot be locked: {error}; see to it that no second driver uses it",
            RuntimeWarning,
            stacklevel=4,
        )
        yield
        return
    try:
        with suppress(OSError):
            file.write_text(_own_name())
        yield
    finally:
        lock.release()


def _own_name() -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S %z")
    return f"the driver with pid {os.getpid()} on {gethostname()} since {since}\n"


def _said_in(file: Path) -> str:
    """Return what the holder wrote of itself, as far as a terminal may show it."""
    with suppress(OSError):
        if said := "".join(filter(str.isprintable, file.read_text(errors="replace")[:200])):
            return said
    return "another driver"
