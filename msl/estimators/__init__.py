"""Estimators for scikit-learn users."""

from importlib import import_module
from typing import Any

__all__ = [
    "FederatedScaler",
    "HistoryDisplay",
    "MultiSourceClassifier",
    "MultiSourceRegressor",
    "MultiSourceTorchClassifier",
    "MultiSourceTorchRegressor",
    "SourceFilter",
    "TrustDisplay",
]

_HOMES = {
    "FederatedScaler": "msl.estimators.scaler",
    "HistoryDisplay": "msl.estimators.display",
    "MultiSourceClassifier": "msl.estimators.classifier",
    "MultiSourceRegressor": "msl.estimators.regressor",
    "MultiSourceTorchClassifier": "msl.estimators.torch_estimators",
    "MultiSourceTorchRegressor": "msl.estimators.torch_estimators",
    "SourceFilter": "msl.estimators.source_filter",
    "TrustDisplay": "msl.estimators.display",
}


def __getattr__(name: str) -> Any:
    # torch and matplotlib take seconds to import; who does without them need not wait.
    if name in _HOMES:
        return vars(import_module(_HOMES[name]))[name]
    raise AttributeError(f"module 'msl.estimators' has no attribute {name!r}")
