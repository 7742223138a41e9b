"""What Dask sees of a session: its calls are no tasks, so every worker would look idle.

An adaptive cluster (`cluster.adapt`) stops idle workers, and starts as many as waiting tasks ask
for. So a session has a task that stays on each of its workers, and one that waits for each worker
it could still use. They cost no thread of a worker's pool, and go with the session or its client.
"""

from collections.abc import Sequence
from itertools import count

from distributed import Client, Future, Scheduler, get_worker, secede

from msl.cluster.lane import closing_of

__all__ = ["Presence", "clients_of"]

_STAYS, _WAITS = "msl-lane", "msl-wants-worker"
_MOST = 100
"""Waiting tasks of a session at most, so that many small sources do not ask for as many workers."""


class Presence:
    """The tasks of a session."""

    def __init__(self, client: Client, session: str) -> None:
        self.client, self.session = client, session
        self._staying: dict[str, Future] = {}
        self._waiting: list[Future] = []
        self._numbers = count()

    def show(self, places: Sequence[str], wanted: int) -> None:
        """Stay on these workers, and wait for as many as are missing to the number wanted."""
        for place in places:
            if place not in self._staying:
                self._staying[place] = self.client.submit(
                    _stay, self.session, key=self._key(_STAYS), workers=[place]
                )
        # Those that stay are counted by `Scheduler.adaptive_target` too.
        missing = max(0, min(wanted, _MOST) - len(places))
        for future in self._waiting[missing:]:
            future.release()
        del self._waiting[missing:]
        if more := missing - len(self._waiting):
            # A resource that nobody has: they are seen, and never run.
            keys = [self._key(_WAITS) for _ in range(more)]
            self._waiting += self.client.map(_never, keys, key=keys, resources={_WAITS: 1})

    def end(self) -> None:
        """Be seen no longer."""
        for future in (*self._staying.values(), *self._waiting):
            future.release()

    def _key(self, kind: str) -> str:
        # The dashboard groups by what stands before the number.
        return f"{kind}-{next(self._numbers)}-{self.session}"


def clients_of(client: Client) -> frozenset[str]:
    """Return the ids of the clients that the scheduler knows; raises OSError when it is gone."""

    # A local function travels by value: a scheduler need not have msl installed.
    def prepared(dask_scheduler: Scheduler, prefix: str) -> frozenset[str]:
        import dask

        # A task of unknown duration counts as half a second, a tenth of a worker.
        dask.config.set({f"distributed.scheduler.default-task-durations.{prefix}": "1h"})
        return frozenset(dask_scheduler.clients)

    found: frozenset[str] = client.run_on_scheduler(prepared, prefix=_WAITS)
    return found


def _stay(session: str) -> None:
    """Return when the session's lane on this worker is closed."""
    address = get_worker().address
    secede()
    if closing := closing_of(session, address):
        closing.wait()


def _never(key: str) -> None:
    raise AssertionError(f"{key} asks for a resource that no worker has")
