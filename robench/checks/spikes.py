"""Whether the spikes of a user's network can be differentiated as an attack chooses."""

from __future__ import annotations

from robench.registry import Model
from robench.results import Check


def replaceable(model: Model) -> Check | None:
    """Suspect if a network has steps that keep their own gradient, or spikes that were not found.

    Such a network is attacked through its own gradient, which may hide what another one finds. None
    for networks of robench's neurons, and for a network without steps that is not said to spike.
    """
    found = model.discovery
    if found is None or model.layered:
        return None
    kept = 1 if found.refused else len(found.own)
    if model.mode == "ann" and not (kept or found.spikes):
        return None
    reason = "spikes-not-replaced" if kept else "" if found.spikes else "no-spike-found"
    return Check(
        name="spikes", value=float(kept or not found.spikes), threshold=0.0,
        verdict="suspect" if reason else "valid", reason=reason,
    )  # fmt: skip
