"""A Dask cluster as an executor: one message per worker between two gathers.

A submitted Dask task costs about 10 ms of batching whatever it does, so rounds do not run as
tasks. `submit` queues here; `gather` sends each worker the program of its queued calls and
waits. Values that a call needs from another worker go from worker to worker.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from time import monotonic, sleep
from typing import Any
from uuid import uuid4
from weakref import finalize

from distributed import Client
from distributed.comm import CommClosedError
from distributed.system import MEMORY_LIMIT

from msl.cluster.base import PATIENCE, Executor, Handle, Soonest
from msl.cluster.lane import Call, Program, Ref, close_lane, open_lane, run_program
from msl.cluster.presence import Presence, clients_of
from msl.errors import PlanError, WorkerLostError

__all__ = ["DaskExecutor"]

# Seconds of silence after which the scheduler is asked whether a worker still lives.
_PATIENCE = 1.0
# Seconds for saying goodbye to a worker that may stand still.
_GOODBYE = 5.0
# Seconds between two looks at which workers there are: while some are missed, and while not.
_MISSING, _LOOK = 0.2, 2.0
_LEAVING = "closing_gracefully"


class Remote:
    """The client's handle of a value at a worker; when it goes, the value is released."""

    def __init__(self, ref: Ref, released: list[int]) -> None:
        self.ref = ref
        finalize(self, released.append, ref.number)


class DaskExecutor(Executor):
    """Lanes on the workers of an existing cluster; closing it leaves client and cluster open.

    Parameters
    ----------
    client : distributed.Client
    only : sequence of str, optional
        Addresses of the workers to use, while one of them lives; all when left out.
    at_least : int
        Workers to begin with; later one is enough.
    patience : float
        Seconds to wait for workers without which there is nothing to do: `at_least`, or one on a
        machine where a source lives.
    cache : int, optional
        Bytes of rows that each worker keeps loaded. When left out, half of its memory limit; a
        worker without one counts as its share of a machine like this one.

    Raises
    ------
    PlanError
        When the scheduler is gone, or too few workers came.
    """

    def __init__(
        self,
        client: Client,
        only: Sequence[str] = (),
        *,
        at_least: int = 1,
        patience: float = PATIENCE,
        cache: int | None = None,
    ) -> None:
        self.client, self._only, self.patience = client, frozenset(only), patience
        self.cache = cache
        self._wanted = 0 if only else at_least
        self._host_names: dict[str, str] = {}
        self._open(at_least)

    def _open(self, at_least: int) -> None:
        self.session = f"{self.client.id}/{uuid4().hex}"
        self._numbers = count()
        self._queued: dict[str, list[Call]] = defaultdict(list)
        self._released: dict[str, list[int]] = defaultdict(list)
        self._ripe: dict[str, list[int]] = defaultdict(list)
        self._sent: dict[str, asyncio.Task[list[Any]]] = {}
        self._memory: dict[str, int] = {}
        self._presence = Presence(self.client, self.session)
        self.places: tuple[str, ...] = ()
        self.machines: dict[str, frozenset[str]] = {}
        self._wait_until(lambda: len(self.places) >= at_least)
        if (found := len(self.places)) < at_least:
            self.close()
            few = f"{found} of {at_least} workers" if found else "no workers"
            raise PlanError(
                f"the cluster at {self.client.scheduler.address} has {few}; start some, "
                "or wait for them with client.wait_for_workers"
            )

    def _wait_until(self, enough: Callable[[], bool], machines: Sequence[str] = ()) -> None:
        """Take in workers that come until there are enough, or patience ends."""
        stop = monotonic() + self.patience
        self._join(machines)
        while not enough() and monotonic() < stop:
            sleep(_MISSING)
            self._join(machines)

    def _join(self, machines: Sequence[str] = ()) -> bool:
        """Open lanes on workers that have none, also on those of machines that are not ours."""
        self._looked = monotonic()
        try:
            workers = self._workers()
            wanted = set(self._only & workers.keys() or workers)
            wanted |= {p for p in workers if not self._names(p, workers[p]).isdisjoint(machines)}
            new = sorted(wanted - self.machines.keys())
            clients = clients_of(self.client) if new or not self.places else frozenset()
        except OSError as error:
            raise PlanError(
                f"the scheduler at {self.client.scheduler.address} is gone: {error}; start a "
                "cluster, and the run again: it goes on from its checkpoints, if it has some"
            ) from error
        opened = self.client.sync(self._open_lanes, new, workers, clients) if new else {}
        self._host_names |= opened
        self.machines |= {place: self._names(place, workers[place]) for place in opened}
        crowd = Counter(worker["host"] for worker in workers.values())
        self._memory |= {
            place: workers[place]["memory_limit"] or MEMORY_LIMIT // crowd[workers[place]["host"]]
            for place in opened
        }
        self.places += tuple(sorted(opened))
        self._presence.show(self.places, self._wanted)
        return bool(opened)

    def _workers(self) -> dict[str, Any]:
        """Return what the scheduler knows of each worker that is not about to leave."""
        told = self.client.sync(self.client.scheduler.identity, n_workers=-1)["workers"]
        return {p: worker for p, worker in told.items() if worker["status"] != _LEAVING}

    def _names(self, place: str, worker: Mapping[str, Any]) -> frozenset[str]:
        names = (worker["host"], str(worker["name"]), self._host_names.get(place))
        return frozenset(name for name in names if name)

    async def _open_lanes(
        self, wanted: list[str], workers: dict[str, Any], clients: frozenset[str]
    ) -> dict[str, str]:
        """Open a lane on each of these workers; return the host names of those that live."""
        most = max(Counter(worker["host"] for worker in workers.values()).values())
        pending = {
            place: asyncio.ensure_future(
                self.client.run(
                    open_lane, self.session, most, clients, workers=[place], on_error="return"
                )
            )
            for place in wanted
        }
        opened = {}
        while pending:
            await asyncio.wait(pending.values(), timeout=_PATIENCE)
            for place in [place for place, task in pending.items() if task.done()]:
                reply = pending.pop(place).result().get(place, OSError("unknown by now"))
                # The scheduler may not know yet that one is gone; all else is ours to say.
                if isinstance(reply, Exception) and not isinstance(reply, OSError):
                    raise reply
                if isinstance(reply, str):
                    opened[place] = reply
            if pending:
                # It would go on knocking at a dead worker's door for half a minute.
                known = (await self.client.scheduler.identity(n_workers=-1))["workers"]
                for place in pending.keys() - known.keys():
                    pending.pop(place).cancel()
        return opened

    def room(self, place: str) -> int:
        """Return the bytes of rows that a worker keeps loaded."""
        return self._memory[place] // 2 if self.cache is None else self.cache

    def scatter(self, value: Any, at: str | None = None) -> Handle:
        """Send a value to a worker with the next gather."""
        return self.submit(_same, value, at=at)

    def submit(
        self, fn: Callable[..., Any], *args: Handle, at: str | None = None, aside: bool = False
    ) -> Handle:
        """Queue a call for a worker (the first one by default)."""
        if not self._queued:
            self._ripen()
        place = self.places[0] if at is None else at
        number = next(self._numbers)
        self._queued[place].append(Call(number, fn, tuple(_refs(arg) for arg in args), aside))
        return Remote(Ref(place, number), self._released[place])

    def gather(self, handles: Sequence[Handle]) -> list[Any]:
        """Send every worker its program, and bring the wanted values here."""
        wanted: dict[str, list[int]] = defaultdict(list)
        for handle in handles:
            wanted[handle.ref.place].append(handle.ref.number)
        programs = {}
        for place in self._queued.keys() | wanted.keys():
            programs[place] = Program(
                tuple(self._queued.pop(place, [])),
                tuple(wanted[place]),
                tuple(self._ripe.pop(place, [])),
            )
        replies = self.client.sync(self._send, programs)
        self._ripen()
        found = {
            (place, number): value
            for place, values in replies.items()
            for number, value in zip(programs[place].wanted, values, strict=True)
        }
        return [found[handle.ref.place, handle.ref.number] for handle in handles]

    def _ripen(self) -> None:
        """Let go of dead values with the next programs: until now a queued call could use them."""
        for place, released in self._released.items():
            # Cut in place: the finalizers of live handles append to this very list.
            self._ripe[place] += released
            released.clear()

    async def _send(self, programs: dict[str, Program]) -> dict[str, list[Any]]:
        """Send programs; wait for those that are to bring something, be the others ever so slow."""
        tasks = {
            place: asyncio.ensure_future(self._send_after(self._sent.get(place), place, program))
            for place, program in programs.items()
        }
        wanted = {place: tasks[place] for place, program in programs.items() if program.wanted}
        watched = {*self._sent.values(), *tasks.values()}
        self._sent |= tasks
        try:
            while not all(task.done() for task in wanted.values()):
                done, watched = await asyncio.wait(
                    watched, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
                if not done:
                    await self._check_alive()
        finally:
            # Of several errors one is raised; asyncio would print those that nobody looks at.
            for task in tasks.values():
                if task.done():
                    task.exception()
            self._sent = {place: task for place, task in self._sent.items() if not task.done()}
        return {place: task.result() for place, task in wanted.items()}

    async def _send_after(
        self, before: "asyncio.Task[list[Any]] | None", place: str, program: Program
    ) -> list[Any]:
        """Send a program when the place has the one before: they could overtake each other."""
        if before is not None:
            await asyncio.wait([before])
            # Nobody may be looking at it any more; what it was to make is waited for in vain.
            before.result()
        return await self._send_one(place, program)

    async def _send_one(self, place: str, program: Program) -> list[Any]:
        try:
            replies = await self.client.run(run_program, self.session, program, workers=[place])
        except (OSError, CommClosedError) as error:
            raise WorkerLostError((place,), repr(error)) from error
        except Exception as error:
            # A program that a worker cannot even read, as it lacks a module.
            raise PlanError(
                f"worker {place} cannot run what it was sent: {error}; install there what is "
                "installed here (msl doctor compares them)"
            ) from error
        if place not in replies:
            raise WorkerLostError((place,), "the scheduler no longer knows it")
        values = replies[place]
        if isinstance(values, Exception):
            raise values
        found: list[Any] = values
        return found

    async def _check_alive(self) -> None:
        # All places, not only those that were sent something: a call may wait for a pull.
        known = (await self.client.scheduler.identity(n_workers=-1))["workers"]
        gone = tuple(place for place in self.places if place not in known)
        if gone:
            raise WorkerLostError(gone, "the scheduler no longer knows them")

    def expect(self, n: int, machines: Mapping[str, str]) -> None:
        """Ask the cluster for n workers, and wait until these machines have one."""
        self._wanted = 0 if self._only else n
        self._presence.show(self.places, self._wanted)
        if missing := machines.keys() - self._known():
            self._wait_until(lambda: missing <= self._known(), tuple(machines))
        super().expect(n, machines)

    def _known(self) -> frozenset[str]:
        return frozenset().union(*self.machines.values())

    def grow(self) -> bool:
        """Open lanes on workers that joined; one that has workers of its own stays with them."""
        full = len(self.places) >= self._wanted
        return not full and monotonic() - self._looked > _LOOK and self._join()

    def split(self, n: int) -> list[Executor]:
        """Return executors on workers of their own."""
        n = min(n, len(self.places))
        if n <= 1:
            return [self]
        found: list[Executor] = []
        for i in range(n):
            one = DaskExecutor(
                self.client, self.places[i::n], patience=self.patience, cache=self.cache
            )
            one._host_names |= self._host_names
            found.append(one)
        return found

    def refresh(self) -> None:
        """Close the lanes that are left and open new ones on the workers there are now."""
        self.close()
        self._open(1)

    def close(self) -> None:
        """Drop this session's values on every worker that still lives."""
        if self.client.status == "closed":
            return  # the next run on that cluster sees that we are gone
        self._presence.end()
        # A scheduler that is gone has nobody to tell.
        with suppress(OSError):
            self.client.sync(self._close_lanes)

    async def _close_lanes(self) -> None:
        for task in self._sent.values():
            task.cancel()
        known = (await self.client.scheduler.identity(n_workers=-1))["workers"]
        if alive := [place for place in self.places if place in known]:
            goodbye = self.client.run(close_lane, self.session, workers=alive, on_error="ignore")
            with suppress(TimeoutError):
                await asyncio.wait_for(goodbye, _GOODBYE)


def _same(value: Any) -> Any:
    return value


def _refs(arg: Any) -> Any:
    if isinstance(arg, Remote):
        return arg.ref
    if isinstance(arg, Soonest):
        return Soonest(_refs(arg.handles), arg.patience)
    return [_refs(a) for a in arg] if isinstance(arg, list) else arg
