"""msl learns one model from many data sources that stay where they are."""

from typing import Any

__all__ = ["MultiSourceClassifier", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # scikit-learn takes a second to import; workers that only solve need none of it.
    if name == "MultiSourceClassifier":
        from msl.estimators import MultiSourceClassifier

        return MultiSourceClassifier
    raise AttributeError(f"module 'msl' has no attribute {name!r}")
