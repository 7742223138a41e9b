"""The worker's side of `DaskExecutor`: a thread that runs calls in order and keeps values.

A lane lives beside the Dask worker, not in its key store: spilling, stealing and rebalancing
never touch what a source's owner put there. Values leave it in two ways only: pulled by a lane
of the same session on another worker, or gathered by the client.
"""

import asyncio
import traceback
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from os import sched_getaffinity
from socket import gethostname
from threading import Event, Lock
from time import perf_counter
from typing import Any

from distributed import Worker
from distributed.comm import CommClosedError
from distributed.protocol import Serialized, serialize

from msl.cluster.base import Soonest
from msl.cluster.threads import limit_threads
from msl.errors import WorkerLostError

__all__ = ["Call", "Program", "Ref", "close_lane", "closing_of", "open_lane", "run_program"]


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
    aside: bool


@dataclass(frozen=True)
class Program:
    """All that one worker has to do before the client hears of it again."""

    calls: tuple[Call, ...]
    wanted: tuple[int, ...]
    released: tuple[int, ...]


class Lane:
    """The values of a session on a worker, its thread, and one for calls aside."""

    def __init__(self, session: str, worker: Worker, kernel_threads: int) -> None:
        self.session, self.worker = session, worker
        self.loop = asyncio.get_running_loop()
        self.thread, self.aside = (
            ThreadPoolExecutor(1, name, initializer=limit_threads, initargs=(kernel_threads,))
            for name in ("msl-lane", "msl-lane-aside")
        )
        self.futures: dict[int, Future[Any]] = {}
        self.made_aside: set[int] = set()
        self.on_the_way: dict[Ref, asyncio.Task[Any]] = {}
        self.lock = Lock()
        self.closing = Event()
        self.awaited: set[Future[Any]] = set()

    def future(self, number: int) -> "Future[Any]":
        """Return the value's future; a pull may ask before the program that makes it came."""
        with self.lock:
            return self.futures.setdefault(number, Future())

    async def run(self, program: Program) -> list[Any]:
        """Queue the calls, and wait for what is wanted; raises what its making raised."""
        # In their turn: calls of programs before this one may not have begun.
        aside = self.made_aside.intersection(program.released)
        for thread, numbers in ((self.aside, aside), (self.thread, {*program.released} - aside)):
            if numbers:
                thread.submit(self.release, numbers)
        self.made_aside -= aside
        for call in program.calls:
            if call.aside:
                self.made_aside.add(call.number)
            (self.aside if call.aside else self.thread).submit(self.make, call)
        wanted = [asyncio.wrap_future(self.future(number)) for number in program.wanted]
        return [await value for value in wanted]

    def release(self, numbers: set[int]) -> None:
        """Let go of values that nobody will ask for again."""
        for number in numbers:
            self.futures.pop(number, None)

    def make(self, call: Call) -> None:
        """Make a value; what making it raised is raised by all that need it."""
        future = self.future(call.number)
        try:
            future.set_result(call.fn(*self.resolve(call.args)))
        except Exception as error:
            future.set_exception(error)
        except BaseException as error:
            # A loader that leaves by sys.exit would leave everybody waiting for its value.
            future.set_exception(RuntimeError(f"{call.fn.__name__} left by {error!r}"))

    def resolve(self, args: Sequence[Any]) -> list[Any]:
        """Replace refs, also inside lists, by their values; remote ones are pulled at once."""
        remote = list({ref for ref in refs_in(args) if ref.place != self.worker.address})
        # Most calls need nothing from elsewhere: no way to the loop and back for them.
        came = self.on_loop(self.pull_all(remote)) if remote else []
        pulled = dict(zip(remote, came, strict=True))

        def value(arg: Any) -> Any:
            if isinstance(arg, Ref):
                return pulled[arg] if arg in pulled else self.future(arg.number).result()
            if isinstance(arg, Soonest):
                return self.on_loop(self.soonest(arg))
            return [value(a) for a in arg] if isinstance(arg, list) else arg

        found = [value(arg) for arg in args]
        # A future that crossed threads, and `value`, refer to themselves: what was pulled would
        # stay until garbage is next collected.
        came.clear()
        pulled.clear()
        return found

    def on_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the worker's loop, from one of our threads."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        self.awaited.add(future)
        try:
            if self.closing.is_set():
                future.cancel()
            return future.result()
        finally:
            self.awaited.discard(future)

    def close(self) -> None:
        """Stop waiting for others, and take no more calls."""
        self.closing.set()
        for future in tuple(self.awaited):
            future.cancel()
        for way in self.on_the_way.values():
            way.cancel()
        for thread in (self.thread, self.aside):
            thread.shutdown(wait=False, cancel_futures=True)

    async def pull_all(self, refs: list[Ref]) -> list[Any]:
        """Fetch values from other workers' lanes, all at the same time."""
        return await asyncio.gather(*(self.pull(ref) for ref in refs))

    async def soonest(self, asked: Soonest) -> list[Any]:
        """Fetch what comes in time; the rest stays on its way, for whoever asks for it next."""
        # What came since, and is not asked for any more, would stay here for good.
        for ref in [ref for ref, way in self.on_the_way.items() if way.done()]:
            if ref not in asked.handles:
                del self.on_the_way[ref]
        begun, ways = perf_counter(), [self.way(ref) for ref in asked.handles]
        while True:
            came = [way.result() if way.done() else None for way in ways]
            left = asked.patience(came, perf_counter() - begun)
            waiting = [way for way in ways if not way.done()]
            if left <= 0 or not waiting:
                break
            await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for ref, way in zip(asked.handles, ways, strict=True):
            if way.done():
                del self.on_the_way[ref]
        return came

    def way(self, ref: Ref) -> "asyncio.Task[Any]":
        """Return the one pull of a value that may take longer than a call."""
        if ref not in self.on_the_way:
            self.on_the_way[ref] = asyncio.create_task(self.fetch(ref))
        return self.on_the_way[ref]

    async def fetch(self, ref: Ref) -> Any:
        """Return a value from here or elsewhere."""
        if ref.place == self.worker.address:
            return await asyncio.wrap_future(self.future(ref.number))
        return await self.pull(ref)

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
) -> str:
    """Open the session's lane on this worker, one of so many that share its machine's cores.

    Returns the machine's host name, which the scheduler does not know.
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
        # Left to do it itself, Dask cuts large frames, and joins them at the other end by a copy.
        return {"value": Serialized(*serialize(await asyncio.wrap_future(lane.future(number))))}

    dask_worker.handlers["msl_pull"] = msl_pull
    return gethostname()


async def run_program(session: str, program: Program, dask_worker: Worker) -> Any:
    """Run a program on the session's lane, off the worker's event loop.

    An error is returned, with its traceback as a note: raised here, Dask would print it on every
    worker before the client can say it once.
    """
    lane = _lanes.get((session, dask_worker.address))
    if lane is None:
        return WorkerLostError((dask_worker.address,), f"it has no session {session}")
    try:
        return await lane.run(program)
    except Exception as error:
        error.add_note(f"on worker {dask_worker.address}:\n{traceback.format_exc()}")
        return error


async def close_lane(session: str, dask_worker: Worker) -> None:
    """Drop the session's values; calls already running end by themselves.

    They stop knocking at a dead worker's door: that takes half a minute, for which this process
    could not end.
    """
    lane = _lanes.pop((session, dask_worker.address), None)
    if lane is not None:
        lane.close()


def closing_of(session: str, address: str) -> Event | None:
    """Return what is set when the session's lane on this worker closes; None without a lane."""
    lane = _lanes.get((session, address))
    return lane.closing if lane else None
