"""What theory promises: bounds that runs and tests are held against."""

from msl.bounds.robustness import kappa, least_kappa

__all__ = ["kappa", "least_kappa"]
