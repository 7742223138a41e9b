"""Loggers that are silent for a while."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

__all__ = ["quiet"]

_lock = Lock()
_held: dict[str, tuple[int, int]] = {}
"""Own levels of the loggers that are silent now, and how many threads want them so."""


@contextmanager
def quiet(*names: str, level: int = logging.ERROR) -> Iterator[None]:
    """Let these loggers say nothing below `level`; their own levels come back afterwards."""
    with _lock:
        for name in names:
            own, holders = _held.get(name, (logging.getLogger(name).level, 0))
            _held[name] = own, holders + 1
            logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        with _lock:
            for name in names:
                own, holders = _held.pop(name)
                if holders > 1:
                    _held[name] = own, holders - 1
                else:
                    logging.getLogger(name).setLevel(own)
