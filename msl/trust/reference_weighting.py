"""Weights of sources by how far they are from one of them that is believed.

Konstantinov and Lampert: Robust learning from untrusted sources. ICML 2019.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msl.errors import DataError, PlanError
from msl.trust.base import Held, TrustReport, TrustRule
from msl.trust.discrepancy import apart
from msl.trust.reference import telling
from msl.trust.ridge import Hypotheses, Statistics, fit, mixed, risks, statistics
from msl.trust.targets import Targets, agree, check_rows
from msl.trust.weighting import LAMBDAS, LambdaChoice, choose_lambda, deal_folds, source_weights
from msl.types import Data

if TYPE_CHECKING:
    # Executors bring in distributed, which takes a second, and a host is of a floor above.
    from msl.cluster.base import Executor
    from msl.hosts import Host

__all__ = ["ReferenceWeighting"]


class Folds(NamedTuple):
    """The reference's moments: of all its rows, and without each fold; `dealt` says whose fold."""

    all: Statistics
    without: tuple[Statistics, ...]
    dealt: NDArray[np.intp]


class Tried(NamedTuple):
    """What a source says: its moments, and hypotheses with its risks, per set of the reference."""

    moments: Statistics
    hypotheses: tuple[Hypotheses, ...]
    risks: tuple[NDArray[np.float64], ...]


class Verdict(NamedTuple):
    """What leaves the reference's place: discrepancies by rank, and how lam was chosen."""

    discrepancies: NDArray[np.float64]
    choice: LambdaChoice | None


@dataclass(frozen=True)
class ReferenceWeighting(TrustRule):
    """Weights by discrepancy to one source that is believed, however many others lie.

    Discrepancies are of linear hypotheses and 0/1 loss. Moments, hypotheses and risks travel
    between the places of sources; rows do not. All code runs where it should: it is data that is
    not believed, not the workers. Without `lam` the moments of all sources, p^2 numbers each, go
    to the place of the reference, where least squares on them is cross-validated.

    A source's part of the risk is its rows times the weight given here, which is what
    aggregators make of it when they count rows; the largest weight is 1.

    Parameters
    ----------
    reference : int or str
        Rank or name of the source that is believed.
    lam : float, optional
        In [0, inf]: 0 believes the closest sources alone, inf everybody. Chosen from a grid by
        cross-validation on the reference when left out, which needs rows of two classes there.
    folds : int
        Of that cross-validation, >= 2.
    seed : int
        Of the deal of its rows, 0 <= seed < 2**64.

    References
    ----------
    Konstantinov and Lampert: Robust learning from untrusted sources. ICML 2019.
    """

    reference: int | str = 0
    lam: float | None = None
    folds: int = 5
    seed: int = 0
    name: ClassVar[str] = "reference_weighting"

    def __post_init__(self) -> None:
        if self.lam is not None and not self.lam >= 0:
            raise PlanError(f"reference_weighting needs lam in [0, inf] or none, got {self.lam}")
        if self.folds < 2:
            raise PlanError(f"reference_weighting needs at least 2 folds, got {self.folds}")

    def weigh(self, sources: Sequence[Held], executor: "Executor") -> TrustReport:
        """Return weights (nu - d_i)_+ relative to the largest; reasons tell the discrepancy.

        Raises
        ------
        PlanError
            When the reference is none of the sources.
        DataError
            When a source has no class numbers, or the reference cannot choose lam.
        """
        check_rows([held.info for held in sources])
        chosen = self._find(sources)
        if len(sources) == 1:
            return TrustReport((1.0,), ("the reference, and the only source",))
        if mute := [held.info.name for held in sources if not held.info.classes]:
            raise DataError(
                f"reference_weighting compares classifiers, source {mute[0]!r} has real targets"
            )
        targets = agree([held.info for held in sources], lambda: ())
        found = self._judge(sources, chosen, targets, executor)
        lam = self.lam if found.choice is None else found.choice.lam
        sizes = np.array([held.info.rows for held in sources])
        shares = source_weights(found.discrepancies, sizes, 0.0 if lam is None else lam)
        each = shares / sizes
        reasons = tuple(
            _reason(held, chosen, d, share)
            for held, d, share in zip(sources, found.discrepancies, shares, strict=True)
        )
        return TrustReport(
            tuple((each / each.max()).tolist()),
            reasons,
            statistic=tuple(found.discrepancies.tolist()),
        )

    def _find(self, sources: Sequence[Held]) -> Held:
        for held in sources:
            if self.reference in (held.rank, held.info.name):
                return held
        names = ", ".join(repr(held.info.name) for held in sources[:10])
        raise PlanError(
            f"reference_weighting has no source {self.reference!r}; give a rank in "
            f"0..{len(sources) - 1} or a name: {names}"
        )

    def _judge(
        self, sources: Sequence[Held], chosen: Held, targets: Targets, executor: "Executor"
    ) -> Verdict:
        """Ask all places; only numbers come back to the client."""
        folds = self.folds if self.lam is None else 0
        ours = executor.submit(
            _fold_moments, chosen.host, chosen.rank, targets, folds, self.seed, at=chosen.place
        )
        others: dict[str, list[Held]] = {}
        for held in sources:
            if held.rank != chosen.rank:
                others.setdefault(held.place, []).append(held)
        tried = [
            executor.submit(
                _try_all, mine[0].host, tuple(h.rank for h in mine), targets, ours, at=place
            )
            for place, mine in others.items()
        ]
        sizes = {held.rank: held.info.rows for held in sources}
        verdict = executor.submit(
            _settle, chosen.host, chosen.rank, targets, sizes, ours, tried, at=chosen.place
        )
        found: Verdict = executor.gather([verdict])[0]
        return found


def _reason(held: Held, chosen: Held, d: float, share: float) -> str:
    if held.rank == chosen.rank:
        return f"the reference: {share:.1%} of the risk"
    far = f"discrepancy {d:.3f} to the reference {chosen.info.name!r}"
    return f"{far}: {share:.1%} of the risk" if share else f"{far} is too much: left out"


def _fold_moments(host: "Host", rank: int, targets: Targets, folds: int, seed: int) -> Folds:
    """Return the reference's moments, at its place."""
    data = host.data[rank]
    dealt = deal_folds(data.y, folds, seed) if folds else np.zeros(len(data), dtype=np.intp)
    return Folds(
        statistics(targets, data),
        tuple(statistics(targets, _rows(data, dealt != fold)) for fold in range(folds)),
        dealt,
    )


def _rows(data: Data, kept: NDArray[np.bool_]) -> Data:
    return Data(data.X[kept], data.y[kept], None if data.weight is None else data.weight[kept])


def _try_all(host: "Host", ranks: Sequence[int], targets: Targets, ours: Folds) -> dict[int, Tried]:
    """Fit the hypotheses that tell each source of a place from the reference, and judge them."""
    found = {}
    for rank in ranks:
        theirs = statistics(targets, host.data[rank])
        hypotheses = tuple(telling(theirs, part) for part in (ours.all, *ours.without))
        judged = tuple(risks(targets, host.data[rank], some) for some in hypotheses)
        # Moments are of use to cross-validation only.
        found[rank] = Tried(theirs, hypotheses, judged)
    return found


def _settle(
    host: "Host",
    rank: int,
    targets: Targets,
    sizes: Mapping[int, int],
    ours: Folds,
    tried: Sequence[Mapping[int, Tried]],
) -> Verdict:
    """Judge the hypotheses by the reference, at its place, and choose lam there."""
    data, number_of = host.data[rank], {one: i for i, one in enumerate(sizes)}
    others = {other: one for part in tried for other, one in part.items()}

    def distances(number: int, rows: Data) -> NDArray[np.float64]:
        found = np.zeros(len(sizes))
        for other, one in others.items():
            judged = risks(targets, rows, one.hypotheses[number])
            found[number_of[other]] = apart(one.risks[number], judged)[0]
        return found

    overall = distances(0, data)
    if not ours.without:
        return Verdict(overall, None)
    judged = []
    for fold in range(len(ours.without)):
        kept = ours.dealt != fold
        m = np.array(list(sizes.values()), dtype=np.float64)
        m[number_of[rank]] = kept.sum()
        judged.append((distances(fold + 1, _rows(data, kept)), m))

    def wrong(fold: int, weights: NDArray[np.float64]) -> float:
        parts = [ours.without[fold] if one == rank else others[one].moments for one in sizes]
        held_back = _rows(data, ours.dealt == fold)
        error = risks(targets, held_back, fit(mixed(parts, weights)))[0, 0, 0]
        return float(error) * len(held_back)

    return Verdict(overall, choose_lambda(LAMBDAS, judged, wrong, len(data)))
