"""What an estimator keeps of its rounds and its sources."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from sklearn.exceptions import NotFittedError

from msl.rounds import Result
from msl.types import Vector

if TYPE_CHECKING:
    # Takes half a second, and only who looks at a table needs it.
    import pandas as pd

__all__ = ["WithBooks"]


class WithBooks:
    """The fitted attributes that say how it went, and pictures of them."""

    _told: list[dict[str, float]]

    @abstractmethod
    def _fitted(self, params: Vector) -> dict[str, Any]:
        """Return the attributes that say what was learned."""

    def _keep(self, left: Result, best: Vector | None = None) -> None:
        """Set what is fitted."""
        self.params_ = left.params if best is None else best
        self._server = left.server if best is None else None
        self._told = self._told + [report.metrics() for report in left.reports]
        for name, value in self._fitted(self.params_).items():
            setattr(self, name, value)
        self.ledger_, self.sources_ = left.ledger, list(left.ledger.sources)
        self.n_iter_ = len(self._told)
        self.bytes_up_ = int(sum(told["bytes/up"] for told in self._told))
        self.bytes_down_ = int(sum(told["bytes/down"] for told in self._told))
        self.guarantee_ = dict(left.reports[-1].bound)

    @property
    def history_(self) -> "pd.DataFrame":
        """A row per round: bytes, losses at the sources, times and guarantees."""
        import pandas as pd

        self._need_fit("history_")
        return pd.DataFrame(self._told).rename_axis(index="round")

    @property
    def trust_report_(self) -> "pd.DataFrame":
        """A row per source: rows, trust, mean share in the rounds, and why."""
        self._need_fit("trust_report_")
        return self.ledger_.table()

    def _need_fit(self, what: str) -> None:
        if "ledger_" not in vars(self):
            raise NotFittedError(f"{type(self).__name__} has no {what} before it is fitted")

    def plot_history(self, **settings: Any) -> Any:
        """Return a `HistoryDisplay` of the rounds, plotted."""
        from msl.estimators.display import HistoryDisplay

        return HistoryDisplay.from_estimator(self, **settings)

    def plot_trust(self, **settings: Any) -> Any:
        """Return a `TrustDisplay` of the sources, plotted."""
        from msl.estimators.display import TrustDisplay

        return TrustDisplay.from_estimator(self, **settings)
