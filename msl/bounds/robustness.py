"""The robustness coefficient of aggregators (Allouah et al., AISTATS 2023).

A rule F is (f, kappa)-robust when for all rows and every set S of n - f of them::

    |F(x_1..x_n) - mean_S|^2 <= kappa / |S| * sum_{i in S} |x_i - mean_S|^2

so that kappa is what corrupted rows can add to the error, in variances of the honest ones.
"""

from collections.abc import Callable, Mapping

from msl.errors import PlanError

__all__ = ["KAPPA", "kappa", "least_kappa"]


def least_kappa(n: int, f: int) -> float:
    """Return f / (n - 2 f): no rule has less (Proposition 6).

    Raises
    ------
    PlanError
        Unless 0 <= 2 f < n.
    """
    if not 0 <= 2 * f < n:
        raise PlanError(f"no rule withstands f={f} of n={n} rows: needs 2 f < n")
    return f / (n - 2 * f)


def _trimmed_mean(r: float) -> float:
    return 6 * r * (1 + r)


def _krum(r: float) -> float:
    return 6 * (1 + r)


def _median(r: float) -> float:
    return 4 * (1 + r) ** 2


KAPPA: Mapping[str, Callable[[float], float]] = {
    "trimmed_mean": _trimmed_mean,
    "krum": _krum,
    "median": _median,
    "geometric_median": _median,
}
"""Coefficients of Table 1, as functions of r = f / (n - 2 f)."""


def kappa(rule: str, n: int, f: int, mixed: bool = False) -> float | None:
    """Return the coefficient of a rule for f of n rows; None where the literature has none.

    Parameters
    ----------
    rule : str
        Name of an aggregator.
    n, f : int
        Rows, and how many are corrupted; 0 <= 2 f < n.
    mixed : bool
        Whether nearest-neighbour mixing stands before it: 8 f / (n - f) (kappa + 1) (Lemma 5).

    Examples
    --------
    >>> kappa("median", 12, 3), kappa("trimmed_mean", 12, 3), least_kappa(12, 3)
    (9.0, 4.5, 0.5)
    """
    r = least_kappa(n, f)
    if rule not in KAPPA:
        return None
    found = KAPPA[rule](r)
    return 8 * f / (n - f) * (found + 1) if mixed else found
