"""The filter of adversarial multi-source PAC learning: leave out who differs from most others.

Konstantinov, Frantar, Alistarh, Lampert: On the sample complexity of adversarial multi-source PAC
learning. ICML 2020.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from msl.bounds.capacity import Linear
from msl.bounds.pac import count_rule
from msl.errors import PlanError
from msl.trust.base import Held, TrustReport, TrustRule
from msl.trust.discrepancy import Discrepancy
from msl.trust.learners import Learner
from msl.trust.policies import (
    agreement,
    allowed_by_rates,
    allowed_by_splits,
    equal_sources,
    most_differ,
    p_values,
)
from msl.trust.protocols import by_losses, by_moments, by_pairs
from msl.trust.quantile import quantile_filter
from msl.trust.reasons import agrees, few_rows, near
from msl.types import SourceInfo

if TYPE_CHECKING:
    # Executors bring in distributed, which takes a second.
    from msl.cluster.base import Executor

__all__ = ["PacFilter"]

Array: TypeAlias = NDArray[np.float64]
Policy: TypeAlias = Literal["outlier", "permutation", "quantile", "theory"]
Protocol: TypeAlias = Literal["moments", "losses", "pairs"]


@dataclass(frozen=True)
class PacFilter(TrustRule):
    """Keeps the sources that differ little from most others; needs no rows that are believed.

    Good sources are samples of one distribution, so no hypothesis has very different risks on
    two of them, and they are more than half of all. A source is kept when it agrees with enough
    sources, itself included; where none does, all are believed, and the reasons say so. Two
    sources are both believed: neither can outvote the other. Policies tell who agrees:

    ``outlier``
        Good sources may also differ by nature, as hospitals do: two agree unless they differ by
        L times what the permutation policy allows, with L >= 1 for how far apart most are
        (`most_differ`). Who differs more than is usual here is left out, a good one of very few
        at times, and lies that are smaller than natural differences are not found.
    ``permutation``
        Two sources agree unless they differ by more than halves of one source make likely, with
        probability about 1 - delta for all good pairs together (`equal_sources` says what is
        approximate). P-values are of the same law.
    ``quantile``
        No threshold: the `clean` sources whose `clean`-th nearest is nearest are kept.
    ``theory``
        Two sources agree unless they differ by more than s_i + s_j, for uniform convergence of
        linear classifiers with rate s at delta / (2 N). No good source is left out with
        probability 1 - delta; but 1 is allowed below some thousand rows.

    Parameters
    ----------
    policy : {"outlier", "permutation", "quantile", "theory"}
        Above.
    clean : int, optional
        Sources k that are good at least, N/2 < k <= N; floor(N/2) + 1 when left out.
    needed : int, optional
        Sources c a kept one agrees with, N - k < c <= k: fewer could all be bad, more need not
        all be good. floor(N/2) + 1 when left out. The quantile policy has no use for it.
    delta : float
        Chance to leave out a good source, in (0, 1).
    protocol : {"moments", "losses", "pairs"}
        How differences are found (`by_moments`, `by_losses`, `by_pairs`).
    learner : object, optional
        ``learner(X, y, weight) -> predict``: what hypotheses are fitted by; linear ones by least
        squares when left out. Needed by "pairs", not taken by "moments".
    by_class : bool
        Compare sources class by class, so that having more of one class (label shift) is not held
        against anybody. Rows of a class that only one of two holds tell nothing; two without a
        class in common do not agree. Not for real targets, nor the theory policy.
    splits : int
        Halvings of each source for the outlier and the permutation policy, >= 2.
    seed : int
        Of these, 0 <= seed < 2**64.

    References
    ----------
    Konstantinov, Frantar, Alistarh, Lampert: On the sample complexity of adversarial multi-source
    PAC learning. ICML 2020, Algorithm 1.
    """

    policy: Policy = "outlier"
    clean: int | None = None
    needed: int | None = None
    delta: float = 0.05
    protocol: Protocol = "moments"
    learner: Learner | None = None
    by_class: bool = False
    splits: int = 20
    seed: int = 0
    name: ClassVar[str] = "pac_filter"

    def __post_init__(self) -> None:
        for key, known in (("policy", get_args(Policy)), ("protocol", get_args(Protocol))):
            if (got := getattr(self, key)) not in known:
                raise PlanError(f"pac_filter needs {key} of {', '.join(known)}, got {got!r}")
        if not 0 < self.delta < 1:
            raise PlanError(f"pac_filter needs delta in (0, 1), got {self.delta}")
        if self._halves and self.splits < 2:
            raise PlanError(f"pac_filter needs at least 2 splits, got {self.splits}")
        if self.protocol == "pairs" and self.learner is None:
            raise PlanError("pac_filter needs a learner for protocol 'pairs'")
        if self.learner is not None and self.protocol == "moments":
            raise PlanError("pac_filter takes no learner for protocol 'moments'; use 'pairs'")
        if self.by_class and self.policy == "theory":
            raise PlanError("pac_filter knows no rate of comparisons by class; use another policy")
        if self.learner is not None and self.policy == "theory":
            raise PlanError(
                "pac_filter knows the rate of linear classifiers only; with a learner use policy "
                "'outlier', 'permutation' or 'quantile'"
            )

    @property
    def _halves(self) -> bool:
        """Whether halves of sources tell what chance allows."""
        return self.policy in ("outlier", "permutation")

    def weigh(self, sources: Sequence[Held], executor: "Executor") -> TrustReport:
        """Return 1 for the kept sources and 0 for all others.

        The statistic is the distance to the c-th nearest source in units of what is allowed, at
        most 1 for a source that agrees with c; with the quantile policy, the distance to the
        `clean`-th nearest in [0, 1]. A source counts as its own nearest.

        Raises
        ------
        PlanError
            When `clean` or `needed` is impossible for N sources, or theory meets real targets.
        DataError
            For sources without rows or with other features, and as the protocol says.
        """
        n = len(sources)
        clean, needed = self._counts(n)
        infos = [held.info for held in sources]
        if n == 1 and infos[0].rows:
            return TrustReport((1.0,), ("the only source",), np.zeros((1, 1)))
        found = self._measure(sources, executor)
        if self.policy == "quantile":
            report = _nearest(found.matrix, clean)
        else:
            report = self._agreeing(infos, found, clean, needed)
        if n == 2:
            return _believing(report, "of two sources none can outvote the other")
        if not any(report.weights):
            return _believing(report, "no source agrees with enough others")
        return report

    def _agreeing(
        self, infos: Sequence[SourceInfo], found: Discrepancy, clean: int, needed: int
    ) -> TrustReport:
        """Report on the policies with a threshold."""
        n, chances = len(infos), None
        rows: Array = np.array([info.told for info in infos], dtype=np.float64)
        if self.policy == "theory":
            allowed = allowed_by_rates(_capacity(infos).rate(rows, self.delta / (2 * n)))
        else:
            equal = equal_sources(np.empty((0, n)) if found.null is None else found.null, rows)
            # All n hypotheses judge every pair by losses, and halves only their own two.
            tries = n / 2 if self.protocol == "losses" else 1.0
            allowed = allowed_by_splits(equal, rows, self.delta, tries)
            if self.policy == "outlier":
                allowed = np.minimum(1.0, allowed * most_differ(found.matrix, allowed, needed))
            bounds = p_values(found.matrix, rows, equal, needed, clean, tries)
            chances = tuple(bounds.tolist())
        agreed = agreement(found.matrix, allowed, needed)
        reasons = tuple(
            agrees(i, agreed, found.matrix, allowed, needed) + few_rows(info)
            for i, info in enumerate(infos)
        )
        weights = tuple(float(kept) for kept in agreed.kept)
        # Where good sources are of one distribution they agree by the permutation policy, hence
        # L <= 5.45, and s_i + s_j is more than that many times what is allowed (9 and more,
        # measured with linear classifiers). By class they may have different risks.
        return TrustReport(
            weights,
            reasons,
            found.matrix,
            tuple(agreed.statistic.tolist()),
            chances,
            filtered=not self.by_class,
        )

    def _counts(self, n: int) -> tuple[int, int]:
        """Return k and c for n sources, checked."""
        most = n // 2 + 1
        clean = most if self.clean is None else self.clean
        needed = most if self.needed is None else self.needed
        if needed not in (legal := count_rule(n, clean)):
            raise PlanError(
                f"pac_filter: of {n} sources with {clean} clean ones, needed must be in "
                f"{legal[0]}..{legal[-1]}, got {needed}"
            )
        return clean, needed

    def _measure(self, sources: Sequence[Held], executor: "Executor") -> Discrepancy:
        method: Callable[..., Discrepancy] = by_moments
        if self.protocol == "losses":
            method = partial(by_losses, learner=self.learner)
        elif self.learner is not None:
            method = partial(by_pairs, learner=self.learner)
        splits = self.splits if self._halves else 0
        return method(sources, executor, splits=splits, seed=self.seed, by_class=self.by_class)


def _nearest(distances: Array, clean: int) -> TrustReport:
    """Report on the quantile policy."""
    kept, statistic = quantile_filter(distances, clean)
    reasons = tuple(near(far, clean, i in kept) for i, far in enumerate(statistic))
    weights = tuple(float(i in kept) for i in range(len(distances)))
    return TrustReport(weights, reasons, distances, tuple(statistic.tolist()))


def _believing(report: TrustReport, why: str) -> TrustReport:
    """Return the report with everybody believed."""
    reasons = tuple(f"believed, as {why}; {reason}" for reason in report.reasons)
    return replace(report, weights=(1.0,) * len(reasons), reasons=reasons, filtered=False)


def _capacity(infos: Sequence[SourceInfo]) -> Linear:
    """Return the class whose rate the theory policy takes."""
    classes = {number for info in infos for number in info.classes}
    if not classes:
        raise PlanError(
            "pac_filter knows the rate of classifiers only; for real targets use policy "
            "'outlier', 'permutation' or 'quantile'"
        )
    return Linear(infos[0].features, max(2, len(classes)))
