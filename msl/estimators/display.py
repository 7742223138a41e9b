"""Pictures of a fitted estimator, as scikit-learn's displays: whom it believed, how it learned."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from msl.errors import DataError, PlanError
from msl.ledger import Ledger

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["HistoryDisplay", "TrustDisplay"]

_MOST_NAMES = 40
"""Sources whose names have room beside a bar."""
_BELIEVED, _LEFT_OUT = "#1f6fb4", "#c9c9c9"


class TrustDisplay:
    """How far each source was believed, and how much two sources differ.

    Parameters
    ----------
    table : Ledger, or DataFrame with a row per source
        Columns ``name`` and ``trust`` (weight in [0, 1]); ``share`` (what the aggregator gave,
        where 1 is an equal share), if there were rounds.
    discrepancy : ndarray of shape (n, n), optional
        How differently two sources judge the same hypotheses; a ledger brings its own.

    Attributes
    ----------
    ax_ : Axes
        The bars.
    heat_map_ax_ : Axes or None
        The discrepancies, if the rule compares sources.
    figure_ : Figure

    Raises
    ------
    DataError
        When the table lacks a column, or has not as many rows as the discrepancies.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"name": ["north", "south"], "trust": [1.0, 0.0]})
    >>> display = TrustDisplay(table).plot()
    >>> display.ax_.get_xlabel()
    'weight from the trust rule'
    """

    def __init__(self, table: Any, discrepancy: NDArray[np.float64] | None = None) -> None:
        if isinstance(table, Ledger):
            discrepancy = table.verdict.discrepancy if discrepancy is None else discrepancy
            table = table.table()
        if missing := {"name", "trust"} - set(table.columns):
            raise DataError(f"the table of sources lacks the columns {', '.join(sorted(missing))}")
        n = len(table)
        if discrepancy is not None and np.shape(discrepancy) != (n, n):
            raise DataError(
                f"{n} sources need discrepancies of shape ({n}, {n}), got {np.shape(discrepancy)}"
            )
        self.table: pd.DataFrame = table
        self.discrepancy = discrepancy

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, **kwargs: Any) -> Self:
        """Return the plot of a fitted estimator, pipeline or search.

        Parameters
        ----------
        estimator : estimator
            With `ledger_`, as `SourceFilter` and the multi-source estimators have it.
        ax, **kwargs
            As in `plot`.
        """
        return cls(_last(estimator, "ledger_").ledger_).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw a bar per source, and beside it the discrepancies, where there are some.

        Bars are the share that the aggregator gave, or the weight from the trust rule where there
        were no rounds; sources that were left out are grey.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; it is divided when there is a heat map, too.
        **kwargs
            For the bars (`Axes.barh`).
        """
        from matplotlib import pyplot as plt

        n = len(self.table)
        if ax is None:
            size = (5 if self.discrepancy is None else 10, 1.5 + 0.25 * min(max(n, 6), _MOST_NAMES))
            _, ax = plt.subplots(figsize=size, layout="constrained")
        self.figure_, self.ax_, self.heat_map_ax_ = ax.figure, ax, None
        if self.discrepancy is not None:
            ax.set_axis_off()
            grid = ax.get_subplotspec().subgridspec(1, 2)
            self.heat_map_ax_ = self.figure_.add_subplot(grid[0])
            self.ax_ = self.figure_.add_subplot(grid[1], sharey=self.heat_map_ax_)
            self._heat_map(self.heat_map_ax_)
        self._bars(self.ax_, kwargs)
        if self.heat_map_ax_ is not None:
            self.ax_.tick_params(labelleft=False)  # the names are beside the heat map
        return self

    def _bars(self, ax: Any, kwargs: dict[str, Any]) -> None:
        trust = self.table["trust"].to_numpy(float)
        share = trust if "share" not in self.table else self.table["share"].to_numpy(float)
        shared = "share" in self.table and bool(np.isfinite(share).any())
        length = np.nan_to_num(share) if shared else trust
        colour = [_BELIEVED if weight > 0 else _LEFT_OUT for weight in trust]
        ax.barh(np.arange(len(trust)), length, **({"color": colour} | kwargs))
        if shared:
            ax.axvline(1, color="0.3", linewidth=0.8)
        ax.set_xlabel(
            "share from the aggregator (1: an equal one)"
            if shared
            else "weight from the trust rule"
        )
        self._name(ax)

    def _heat_map(self, ax: Any) -> None:
        image = ax.imshow(self.discrepancy, vmin=0, cmap="viridis", aspect="auto")
        self.figure_.colorbar(image, ax=ax, label="discrepancy", location="left")
        ax.set_xlabel("source")
        ax.xaxis.get_major_locator().set_params(integer=True)

    def _name(self, ax: Any) -> None:
        """Write names beside the bars, the first source on top; ranks when there is no room."""
        n = len(self.table)
        if n <= _MOST_NAMES:
            ax.set_yticks(range(n), [str(name) for name in self.table["name"]])
        ax.set_ylim(n - 0.5, -0.5)


class HistoryDisplay:
    """A number that the rounds report, round by round.

    Parameters
    ----------
    history : DataFrame
        A row per round; columns as in `Report.metrics`; rounds in a column ``round`` or the index.
    metric : str, optional
        A column; by default the accuracy on held-out rows, or else the mean loss of the sources.
    against : str
        ``"round"``, or a column such as ``"bytes/total"``.

    Attributes
    ----------
    line_ : Line2D
    ax_ : Axes
    figure_ : Figure

    Raises
    ------
    PlanError
        When the history has no such column; lists those it has.

    Examples
    --------
    >>> import pandas as pd
    >>> history = pd.DataFrame({"round": [0, 1, 2], "sources/loss_mean": [0.7, 0.4, 0.3]})
    >>> HistoryDisplay(history).plot().ax_.get_ylabel()
    'sources/loss_mean'
    """

    def __init__(self, history: Any, metric: str | None = None, against: str = "round") -> None:
        if metric is None:
            judged = "eval/accuracy" in history.columns
            metric = "eval/accuracy" if judged else "sources/loss_mean"
        for column in (metric, against):
            if column not in history.columns and column != "round":
                raise PlanError(
                    f"the history has no {column!r}; choose from: {', '.join(history.columns)}"
                )
        self.history: pd.DataFrame = history
        self.metric, self.against = metric, against

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        metric: str | None = None,
        *,
        against: str = "round",
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Return the plot of a fitted estimator, pipeline or search.

        Parameters
        ----------
        estimator : estimator
            With `history_`.
        metric, against
            As in the class.
        ax, **kwargs
            As in `plot`.
        """
        history = _last(estimator, "history_").history_
        return cls(history, metric, against).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the line over the rounds that have the number.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw, beside what is there.
        **kwargs
            For the line (`Axes.plot`): ``label``, ``color``.
        """
        from matplotlib import pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        y = self.history[self.metric].to_numpy(float)
        x = (
            self.history[self.against]
            if self.against in self.history.columns
            else self.history.index
        ).to_numpy(float)
        known = np.isfinite(y)
        few = "o" if known.sum() < 4 else None
        (self.line_,) = ax.plot(x[known], y[known], **({"marker": few} | kwargs))
        ax.set_xlabel(self.against)
        ax.set_ylabel(self.metric)
        if "label" in kwargs:
            ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _last(estimator: Any, wanted: str) -> Any:
    """Return the fitted estimator that has the attribute: itself, the best one or the last step."""
    check_is_fitted(estimator)
    found = getattr(estimator, "best_estimator_", estimator)
    found = found[-1] if hasattr(found, "steps") else found
    if not hasattr(found, wanted):
        raise PlanError(f"{type(found).__name__} has no {wanted} to draw")
    return found
