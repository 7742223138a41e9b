"""The worker's side of `DaskExecutor`: one thread that runs calls in order and keeps values.

A lane lives beside the Dask worker, not in its key store: spilling, stealing and rebalancing
never touch what a source's owner put there. Values leave it in two ways only: pulled by a lane
of the same session on another worker, or gathered by the client.
"""

import asyncio
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from os import sched_getaffinity
from threading import Lock
from typing import Any

from distributed import Worker
from distributed.comm import CommClosedError
from distributed.protocol import to_serialize

from msl.cluster.threads import limit_threads
from msl.errors import WorkerLostError

__all__ = ["Call", "Program", "Ref", "close_lane", "open_lane", "run_program"]


@dataclass(frozen=True)
class Ref:
    """A value at a place, by number."""

    place: str
    number: int


@dataclass(frozen=True)
class Call:
    """Run fn(*args) and keep the result under a number."""

    number: int
    fn: Callable[..., Any]
    args: tuple[Any, ...]


@dataclass(frozen=True)
class Program:
    """All that one worker has to do before the client hears of it again."""

    calls: tuple[Call, ...]
    wanted: tuple[int, ...]
    released: tuple[int, ...]


class Lane:
    """The values and the one thread of a session on a worker."""

    def __init__(self, session: str, worker: Worker, kernel_threads: int) -> None:
        self.session, self.worker, self.kernel_threads = session, worker, kernel_threads
        self.loop = asyncio.get_running_loop()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="msl-lane")
        self.futures: dict[int, Future[Any]] = {}
        self.lock = Lock()
        self.limited = False

    def future(self, number: int) -> "Future[Any]":
        """Return the value's future; a pull may ask before the program that makes it came."""
        with self.lock:
            return self.futures.setdefault(number, Future())

    def run(self, program: Program) -> list[Any]:
        """Run the calls in order; what one raised is raised by all that need it."""
        if not self.limited:
            limit_threads(self.kernel_threads)
            self.limited = True
        for number in program.released:
            self.futures.pop(number, None)
        for call in program.calls:
            future = self.future(call.number)
            try:
                future.set_result(call.fn(*self.resolve(call.args)))
            except Exception as error:
                future.set_exception(error)
        return [self.future(number).result() for number in program.wanted]

    def resolve(self, args: Sequence[Any]) -> list[Any]:
        """Replace refs, also inside lists, by their values; remote ones are pulled at once."""
        remote = {ref for ref in refs_in(args) if ref.place != self.worker.address}
        pulled = dict(zip(remote, self.pull_all(list(remote)), strict=True)) if remote else {}

        def value(arg: Any) -> Any:
            if isinstance(arg, Ref):
                return pulled[arg] if arg in pulled else self.future(arg.number).result()
            return [value(a) for a in arg] if isinstance(arg, list) else arg

        return [value(arg) for arg in args]

    def pull_all(self, refs: list[Ref]) -> list[Any]:
        """Fetch values from other workers' lanes, all at the same time."""

        async def together() -> list[Any]:
            return await asyncio.gather(*(self.pull(ref) for ref in refs))

        return asyncio.run_coroutine_threadsafe(together(), self.loop).result()

    async def pull(self, ref: Ref) -> Any:
        """Fetch one value, worker to worker."""
        try:
            reply = await self.worker.rpc(ref.place).msl_pull(
                session=self.session, number=ref.number
            )
        except (OSError, CommClosedError) as error:
            raise WorkerLostError((ref.place,), repr(error)) from error
        return reply["value"]


def refs_in(args: Sequence[Any]) -> list[Ref]:
    """Return the refs among args and in lists among them."""
    found = []
    for arg in args:
        if isinstance(arg, Ref):
            found.append(arg)
        elif isinstance(arg, list):
            found += refs_in(arg)
    return found


# Keyed by address too: with in-process workers several of them share this module.
_lanes: dict[tuple[str, str], Lane] = {}


async def open_lane(
    session: str, workers: int, clients: frozenset[str], dask_worker: Worker
) -> None:
    """Open the session's lane on this worker, one of so many that share its machine's cores.

    Sessions of clients that are gone go now: a killed client cannot close its own.
    """
    for other, address in list(_lanes):
        if address == dask_worker.address and other.rpartition("/")[0] not in clients:
            await close_lane(other, dask_worker)
    threads = max(1, len(sched_getaffinity(0)) // workers)
    _lanes[session, dask_worker.address] = Lane(session, dask_worker, threads)

    async def msl_pull(session: str, number: int) -> dict[str, Any]:
        lane = _lanes.get((session, dask_worker.address))
        if lane is None:
            raise WorkerLostError((dask_worker.address,), f"it has no session {session}")
        return {"value": to_serialize(await asyncio.wrap_future(lane.future(number)))}

    dask_worker.handlers["msl_pull"] = msl_pull


async def run_program(session: str, program: Program, dask_worker: Worker) -> Any:
    """Run a program on the session's lane, off the worker's event loop.

    An error is returned, with its traceback as a note: raised here, Dask would print it on every
    worker before the client can say it once.
    """
    lane = _lanes.get((session, dask_worker.address))
    if lane is None:
        return WorkerLostError((dask_worker.address,), f"it has no session {session}")
    try:
        return await lane.loop.run_in_executor(lane.thread, lane.run, program)
    except Exception as error:
        error.add_note(f"on worker {dask_worker.address}:\n{traceback.format_exc()}")
        return error


async def close_lane(session: str, dask_worker: Worker) -> None:
    """Drop the session's values; calls already running end by themselves."""
    lane = _lanes.pop((session, dask_worker.address), None)
    if lane is not None:
        lane.thread.shutdown(wait=False, cancel_futures=True)
