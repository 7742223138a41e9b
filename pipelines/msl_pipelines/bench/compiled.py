"""What a worker compiles, and for how long; importing this is what a worker imports for a round."""

from numba.core import event

from msl import hosts, meeting

__all__ = ["compiled", "watch"]

_HEARD = event.RecordingListener()


def watch() -> tuple[str, ...]:
    """Begin to listen; return whose functions a round needs here."""
    event.register("numba:compile", _HEARD)
    return hosts.__name__, meeting.__name__


def compiled() -> dict[str, float]:
    """Return the seconds of each function that was compiled for itself, with all it calls."""
    found: dict[str, float] = {}
    depth, begun = 0, 0.0
    for when, heard in _HEARD.buffer:
        if heard.is_start:
            begun = begun if depth else when
            depth += 1
        else:
            depth -= 1
            if not depth:
                name = heard.data["dispatcher"].py_func.__name__
                found[name] = found.get(name, 0.0) + when - begun
    return found
