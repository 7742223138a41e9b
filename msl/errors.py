"""Every error msl raises on purpose: one base, each class also a standard type.

All of them take plain positional arguments and keep them in ``args``, so an error raised on a
worker arrives at the client as itself after a pickle.
"""

__all__ = [
    "CheckpointError",
    "DataError",
    "MslError",
    "PayloadError",
    "PlanError",
    "SourceError",
    "TrackingError",
    "UnknownNameError",
    "WorkerLostError",
]


class MslError(Exception):
    """Base of all errors of this library."""


class PlanError(MslError, ValueError):
    """The parts of a run do not fit together, or one of them has an impossible value."""


class UnknownNameError(PlanError, KeyError):
    """A name that no table holds; the message lists what exists."""

    def __str__(self) -> str:
        # KeyError shows the repr of its message; a reader wants the sentence.
        return str(self.args[0]) if self.args else ""


class DataError(MslError, ValueError):
    """Rows or labels that cannot be learned from: wrong shape, NaN, empty, unknown class."""


class PayloadError(MslError, ValueError):
    """Bytes that are no payload, or a payload that its decoder cannot take."""


class SourceError(MslError, RuntimeError):
    """Work on one source failed; names the source, the round and the worker.

    Parameters
    ----------
    source, worker : str
        Name of the source and address of the worker that held it.
    round : int
        Round in which it happened, -1 while loading.
    cause : str
        The original error in words.
    """

    def __init__(self, source: str, round: int, worker: str, cause: str) -> None:
        super().__init__(source, round, worker, cause)
        self.source, self.round, self.worker, self.cause = source, round, worker, cause

    def __str__(self) -> str:
        when = "while loading" if self.round < 0 else f"in round {self.round}"
        return f"source {self.source!r} failed {when} on worker {self.worker}: {self.cause}"


class WorkerLostError(MslError, ConnectionError):
    """Workers that held sources are gone.

    Parameters
    ----------
    workers : tuple of str
        Their addresses.
    cause : str
        What was seen.
    """

    def __init__(self, workers: tuple[str, ...], cause: str) -> None:
        super().__init__(workers, cause)
        self.workers, self.cause = workers, cause

    def __str__(self) -> str:
        return f"lost worker(s) {', '.join(self.workers)}: {self.cause}"


class CheckpointError(MslError, RuntimeError):
    """A checkpoint that cannot be read or is in use, or a value that none can hold."""


class TrackingError(MslError, RuntimeError):
    """The tracking store cannot be reached or written."""
