"""msl learns one model from many data sources that stay where they are."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_ESTIMATORS = (
    "FederatedScaler",
    "HistoryDisplay",
    "MultiSourceClassifier",
    "MultiSourceRegressor",
    "MultiSourceTorchClassifier",
    "MultiSourceTorchRegressor",
    "SourceFilter",
    "TrustDisplay",
)
_HOMES = {
    **dict.fromkeys(_ESTIMATORS, "msl.estimators"),
    "autolog": "msl.tracking",
    "compare": "msl.comparison",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    # scikit-learn takes a second to import; workers that only solve need none of it.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'msl' has no attribute {name!r}")
