"""scikit-learn faces."""

from msl.estimators.multi_source import MultiSourceClassifier

__all__ = ["MultiSourceClassifier"]
