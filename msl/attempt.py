"""Work that may never end, tried for so long: the thread that does it cannot be stopped, only left.

It goes on in the background until it ends by itself or with its process.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from threading import Thread
from time import perf_counter
from typing import Any

import numba

__all__ = ["Attempt", "Attempts", "LateError"]


class LateError(Exception):
    """What was asked for was not ready in time."""


class Attempt:
    """A call on a thread of its own, and the round it is for."""

    def __init__(self, round: int, fn: Callable[..., Any], *args: Any) -> None:
        self.round = round
        self._future: Future[Any] = Future()
        # numba's setting is per thread, and a new one would take all cores.
        self._threads = numba.get_num_threads()
        Thread(target=self._run, args=(fn, args), daemon=True, name="msl-attempt").start()

    def _run(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        numba.set_num_threads(self._threads)
        try:
            self._future.set_result(fn(*args))
        except BaseException as error:
            self._future.set_exception(error)

    def done(self) -> bool:
        """Whether it has come to an end by now."""
        return self._future.done()

    def wait(self, seconds: float) -> None:
        """Wait for its end, that long at most."""
        wait([self._future], max(0.0, seconds))

    def outcome(self) -> Any:
        """Return its value, or raise its error; LateError when it has none yet."""
        if not self.done():
            raise LateError("late: not ready when the time was over")
        return self._future.result()


class Attempts:
    """A call for each of some sources, all in so many seconds.

    They are tried one after another, as they share a core; one that takes longer than its share of
    the time goes on beside the next. Each round begins with another one, so that it is not always
    the last who finds no time left.

    Parameters
    ----------
    fn : callable
        ``fn(rank)``.
    ranks : sequence of int
        For whom.
    before : mapping from int to Attempt
        Of earlier rounds: sources that are still at it are late at once.
    round : int
        For which this is.
    seconds : float
        For all of them.
    """

    def __init__(
        self,
        fn: Callable[[int], Any],
        ranks: Sequence[int],
        before: Mapping[int, Attempt],
        round: int,
        seconds: float,
    ) -> None:
        self.round, self.end = round, perf_counter() + seconds
        # Those that came to an end since are free again.
        self.tried = {rank: attempt for rank, attempt in before.items() if not attempt.done()}
        first = round % max(len(ranks), 1)
        mine = [rank for rank in (*ranks[first:], *ranks[:first]) if rank not in self.tried]
        for i, rank in enumerate(mine):
            if self.left <= 0:
                break
            self.tried[rank] = Attempt(round, fn, rank)
            self.tried[rank].wait(self.left / (len(mine) - i))

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self.end - perf_counter()

    @property
    def hanging(self) -> dict[int, Attempt]:
        """Those that have not come to an end."""
        return {rank: attempt for rank, attempt in self.tried.items() if not attempt.done()}

    def outcome(self, rank: int) -> Any:
        """Return the value for a source, or raise its error; LateError when there is none."""
        attempt = self.tried.get(rank)
        if attempt is None:
            raise LateError("late: its turn had not come when the time was over")
        if attempt.round != self.round:
            raise LateError(f"late: still at round {attempt.round}")
        attempt.wait(self.left)
        return attempt.outcome()
