"""Estimators for scikit-learn users."""

from msl.estimators.multi_source import MultiSourceClassifier
from msl.estimators.source_filter import SourceFilter

__all__ = ["MultiSourceClassifier", "SourceFilter"]
