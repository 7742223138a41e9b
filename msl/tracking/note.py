"""What a run is, in words: the description that a tracking page shows above its numbers."""

from collections.abc import Mapping
from typing import Any

__all__ = ["note_of"]


def note_of(plan: Mapping[str, Any], command: str) -> str:
    """Return markdown that says what is learned, how, who lies, and how to run it again.

    Parameters
    ----------
    plan : mapping
        What `Plan.describe` returns.
    command : str
        What reproduces the run; the file it reads is among the artifacts.

    Examples
    --------
    >>> plan = {"model": {"name": "softmax", "n_features": 64}, "algorithm": {"name": "fedavg"},
    ...         "aggregator": {"name": "median"}, "codec": {"name": "none"}, "rounds": 5, "seed": 0}
    >>> print(note_of(plan, "msl run config.yaml"))
    **5 rounds** of `fedavg` on the model `softmax` (n_features 64), in each all sources.
    <BLANKLINE>
    - Updates are aggregated by `median` and not compressed.
    - No source is made to lie.
    <BLANKLINE>
    Run it again, with the same result to the bit (seed 0):
    <BLANKLINE>
        msl run config.yaml
    """
    per_round = plan.get("per_round")
    chosen = f"{per_round} sources, drawn by {_part(plan.get('sampler', {'name': 'uniform'}))}"
    if per_round is None:
        chosen = "all sources"
    lines = [
        f"**{plan['rounds']} rounds** of {_part(plan['algorithm'])} on the model "
        f"{_part(plan['model'])}, in each {chosen}.",
        "",
        f"- Updates are aggregated by {_part(plan['aggregator'])} and {_compressed(plan)}.",
        f"- {_liars(plan)}",
    ]
    if (trust := plan.get("trust")) and trust["name"] != "all":
        lines.append(f"- Sources are believed according to {_part(trust)}.")
    if trusted := plan.get("trusted"):
        lines.append(f"- The server judges updates by {trusted} rows that it trusts.")
    return "\n".join(
        [
            *lines,
            "",
            f"Run it again, with the same result to the bit (seed {plan['seed']}):",
            "",
            f"    {command}",
        ]
    )


def _part(part: Mapping[str, Any]) -> str:
    """Return a part's name and what it was made with; parts inside it likewise."""
    made_with = [
        f"{key} {_part(value) if isinstance(value, Mapping) and 'name' in value else value}"
        for key, value in part.items()
        if key != "name" and value is not None
    ]
    return f"`{part['name']}`" + (f" ({', '.join(made_with)})" if made_with else "")


def _compressed(plan: Mapping[str, Any]) -> str:
    codec = plan["codec"]
    return "not compressed" if codec["name"] == "none" else f"compressed by {_part(codec)}"


def _liars(plan: Mapping[str, Any]) -> str:
    corrupted = plan.get("corrupted") or ()
    if not corrupted or not plan.get("attack"):
        return "No source is made to lie."
    ranks = ", ".join(map(str, corrupted))
    return f"{len(corrupted)} corrupted sources (ranks {ranks}) do {_part(plan['attack'])}."
