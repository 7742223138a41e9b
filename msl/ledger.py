"""Who was believed, how far and why: what a run tells of its sources, without a row of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from msl.errors import PlanError
from msl.fit import LEFT_OUT
from msl.sources.base import check_same
from msl.trust.base import TrustReport
from msl.types import Report, SourceInfo

if TYPE_CHECKING:
    # Takes half a second, and only a finished run needs it.
    import pandas as pd

__all__ = ["COLUMNS", "Drops", "Ledger"]

Reals: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.int64]

COLUMNS = (
    "name",
    "rows",
    "digest",
    "place",
    "trust",
    "share",
    "rounds",
    "dropped",
    "last_dropped",
    "late",
    "statistic",
    "p_value",
    "excluded",
    "reason",
)


@dataclass(frozen=True)
class Drops:
    """How often a source was asked in vain, and the last time.

    `late` of those times it was not ready when the round was closed, `in_row` times since it last
    answered.
    """

    times: int
    round: int
    why: str
    late: int = 0
    in_row: int = 0

    def after(self, round: int, why: str, late: bool) -> "Drops":
        """Return it after one more time."""
        in_row = self.in_row + 1 if late else 0
        return Drops(self.times + 1, round, why, self.late + late, in_row)

    @property
    def rests_until(self) -> int:
        """The first round in which to ask again: one that is late in a row rests 1, 3, 7, ...

        At most 63 rounds, as binary exponential backoff of a shared wire does (Metcalfe and
        Boggs, CACM 1976); late for the first time, it does not rest.
        """
        return self.round + int(2 ** min(max(self.in_row - 1, 0), 6))


@dataclass(frozen=True, eq=False)
class Ledger:
    """The books of a run: a new one from every verdict and every round, old ones stay as they are.

    It keeps sums and no reports: 24 bytes per source, and the first and the last verdict.

    Parameters
    ----------
    sources : tuple of SourceInfo
        By rank.
    verdicts : tuple of (int, TrustReport)
        The first and the last verdict of the trust rule, and the rounds before which it was asked.
    excluded : ndarray of shape (n,)
        Round before which a source was left out; NaN for those that are believed now.
    shares : ndarray of shape (n,)
        Sum over rounds of what the aggregator gave, in units of an equal share.
    heard_in : ndarray of shape (n,)
        Rounds in which its update was used.
    dropped : mapping from int to Drops
        Ranks that did not deliver when asked. The reasons are words of other people's errors,
        which may quote data: they are for whoever runs the training, and on no table or page.
    rounds : int
        Reports so far.

    Examples
    --------
    >>> from msl.types import Report, SourceInfo
    >>> sources = [SourceInfo(name, 50, 3, (0, 1), "ab12") for name in ("north", "south")]
    >>> ledger = Ledger.open(sources, TrustReport((1.0, 0.0), ("like the others", "far away")))
    >>> ledger = ledger.heard(Report(0, (0,), (1.0,), (0.7,), {}, 0, 0, 0, 0, 0.0))
    >>> ledger.table()["share"].tolist()
    [1.0, nan]
    >>> ledger.table()["excluded"].tolist()
    [nan, 0.0]
    """

    sources: tuple[SourceInfo, ...]
    verdicts: tuple[tuple[int, TrustReport], ...]
    excluded: Reals
    shares: Reals
    heard_in: Counts
    dropped: Mapping[int, Drops]
    rounds: int = 0

    @classmethod
    def open(
        cls,
        sources: tuple[SourceInfo, ...] | list[SourceInfo],
        verdict: TrustReport,
        round: int = 0,
    ) -> Self:
        """Return the books before the first round.

        Raises
        ------
        PlanError
            When the verdict is about another number of sources.
        """
        n = len(sources)
        empty = cls(tuple(sources), (), np.full(n, np.nan), np.zeros(n), np.zeros(n, np.int64), {})
        return empty.judged(round, verdict)

    def judged(
        self, round: int, verdict: TrustReport, sources: Sequence[SourceInfo] | None = None
    ) -> Self:
        """Return the books after the rule was asked before a round; O(sources).

        `sources` are as they were loaded for it, by rank; as before when left out.

        Raises
        ------
        PlanError
            When the verdict is about another number of sources.
        """
        if len(verdict.weights) != len(self.sources):
            raise PlanError(
                f"a verdict about {len(self.sources)} sources needs as many weights, "
                f"got {len(verdict.weights)}"
            )
        verdicts = (*self.verdicts[:1], (round, verdict))
        return replace(self, verdicts=verdicts)._holding(sources or self.sources, round)

    def _holding(self, sources: Sequence[SourceInfo], round: int) -> Self:
        """Return the books on these sources, and who of them is left out from this round on."""
        weights = np.array(self.verdict.weights)
        out = (weights == 0) | np.array([bool(info.trouble) for info in sources], bool)
        since = np.where(np.isnan(self.excluded), round, self.excluded)
        excluded = np.where(out, since, np.nan)
        return replace(self, sources=tuple(sources), excluded=excluded)

    def loaded_again(self, infos: Sequence[SourceInfo], *, same_rows: bool = True) -> Self:
        """Return the books with the sources where they are now; PlanError when they are others."""
        known = self.sources
        if len(infos) != len(known):
            raise PlanError(f"the run had {len(known)} sources, not {len(infos)}")
        for rank, (info, before) in enumerate(zip(infos, known, strict=True)):
            if info.name != before.name:
                raise PlanError(f"source {rank} of the run was {before.name!r}, not {info.name!r}")
            if same_rows and not info.trouble and before.digest:
                check_same(before, info)
        sources = [_known(*pair) for pair in zip(infos, known, strict=True)]
        return self._holding(sources, self.verdicts[0][0] + self.rounds)

    def heard(self, report: Report) -> Self:
        """Return the books after a round: O(participants), and a copy of 16 bytes per source."""
        ranks = np.array(report.participants, dtype=np.intp)
        shares, heard_in = self.shares.copy(), self.heard_in.copy()
        shares[ranks] += np.array(report.given) * len(ranks)
        heard_in[ranks] += 1
        dropped = self.dropped
        heard_again = [r for r in report.participants if r in dropped and dropped[r].in_row]
        if report.dropped or heard_again:
            late = report.late or ()
            dropped = dict(dropped)
            for rank in heard_again:
                dropped[rank] = replace(dropped[rank], in_row=0)
            for rank, why in report.dropped.items():
                before = dropped.get(rank, Drops(0, report.round, why))
                dropped[rank] = before.after(report.round, why, rank in late)
        return replace(
            self, shares=shares, heard_in=heard_in, dropped=dropped, rounds=self.rounds + 1
        )

    def resting(self, round: int) -> frozenset[int]:
        """Return the ranks that were late in a row, and are not asked in this round."""
        return frozenset(r for r, d in self.dropped.items() if d.in_row and round < d.rests_until)

    @property
    def verdict(self) -> TrustReport:
        """What the trust rule said last."""
        return self.verdicts[-1][1]

    def columns(self) -> dict[str, list[Any]]:
        """Return the table as lists by rank, under the names in `COLUMNS`.

        ``trust`` is the last verdict's weight in [0, 1]; ``share`` the mean, over the rounds a
        source took part in, of what the aggregator gave it, where 1 is an equal share; ``rounds``,
        ``dropped`` and ``late`` are counts; ``last_dropped`` and ``excluded`` are rounds. What is
        not known is NaN.
        """
        n, verdict = len(self.sources), self.verdict
        unknown, judged = (np.nan,) * n, zip(self.sources, verdict.weights, strict=True)
        with np.errstate(invalid="ignore"):
            share = self.shares / self.heard_in
        drops = [self.dropped.get(rank) for rank in range(n)]
        found: dict[str, list[Any]] = {
            "name": [info.name for info in self.sources],
            "rows": [info.rows for info in self.sources],
            "digest": [info.digest for info in self.sources],
            "place": [info.place for info in self.sources],
            "trust": [0.0 if i.trouble else w for i, w in judged],
            "share": share.tolist(),
            "rounds": self.heard_in.tolist(),
            "dropped": [drop.times if drop else 0 for drop in drops],
            "last_dropped": [float(drop.round) if drop else np.nan for drop in drops],
            "late": [drop.late if drop else 0 for drop in drops],
            "statistic": list(verdict.statistic or unknown),
            "p_value": list(verdict.p_values or unknown),
            "excluded": self.excluded.tolist(),
            "reason": [
                LEFT_OUT if info.trouble else reason
                for info, reason in zip(self.sources, verdict.reasons, strict=True)
            ],
        }
        return {name: found[name] for name in COLUMNS}

    def table(self) -> "pd.DataFrame":
        """Return a row per source, by rank; the columns are those of `columns`."""
        import pandas as pd

        frame = pd.DataFrame(self.columns(), columns=list(COLUMNS))
        return frame.rename_axis(index="rank")

    def html(self) -> str:
        """Return one page for people, that needs no network and no script.

        It says what `columns` holds and shows the last verdict's discrepancies. The same books
        give the same bytes.
        """
        from msl.ledger_page import page

        asked = [round for round, _ in self.verdicts]
        return page(self.columns(), self.verdict.discrepancy, self.rounds, asked)


def _known(info: SourceInfo, before: SourceInfo) -> SourceInfo:
    """Return what is known of a source now; one that is lost keeps what it was known by."""
    return replace(before, place=info.place, trouble=info.trouble) if info.trouble else info
