"""Loggers that are silent for a while."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]


@contextmanager
def quiet(*names: str, level: int = logging.ERROR) -> Iterator[None]:
    """Let these loggers say nothing below `level`; their own levels come back afterwards."""
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, own in before.items():
            logging.getLogger(name).setLevel(own)
