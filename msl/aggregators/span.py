"""Points in the span of the rows, by their inner products alone: nothing here costs in d."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["distances", "middle", "top_direction"]


def distances(inner: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return |x_i - sum_j a_j x_j| from inner products (n, n) of the rows and shares a (n,)."""
    image = inner @ shares
    squares = inner.diagonal() - 2 * image + shares @ image
    return np.sqrt(np.maximum(squares, 0.0))


def middle(distances: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the distance within which half of the weight lies; weights sum to 1."""
    order = distances.argsort()
    half = int(np.searchsorted(weights[order].cumsum(), 0.5))
    return float(distances[order[min(half, len(order) - 1)]])


def top_direction(
    inner: NDArray[np.float64], shares: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Return the top eigenvalue of the weighted covariance, and each row's squared part along it.

    The covariance sum_i a_i (x_i - m)(x_i - m)^T around the weighted mean m has the eigenvalues
    of the n x n matrix sqrt(a_i a_j) <x_i - m, x_j - m>; its eigenvector v gives the projections.

    Parameters
    ----------
    inner : ndarray of shape (n, n)
        Inner products of the rows around any one point.
    shares : ndarray of shape (n,)
        a, non-negative, sums to 1.
    """
    image = inner @ shares
    centred = inner - image[:, None] - image[None, :] + shares @ image
    roots = np.sqrt(shares)
    values, vectors = np.linalg.eigh(roots[:, None] * centred * roots[None, :])
    top = float(max(values[-1], 0.0))
    if top == 0.0:
        return 0.0, np.zeros(len(shares))
    # <x_i - m, v> with v = sum_j sqrt(a_j) u_j (x_j - m) / sqrt(top)
    along = centred @ (roots * vectors[:, -1])
    return top, along * along / top
