"""Spikes of any network: found in a forward pass, and differentiated as an attack chooses.

An attacker may differentiate a network as he likes. During a gradient pass every step of it, a
spike or a rounding, gets the derivative that the attack asks for. The network is not changed, and
its forward pass gives the same bits.
"""

from robench.spiking.discovery.found import Discovery
from robench.spiking.discovery.substitution import along, substituted
from robench.spiking.discovery.survey import survey

DISCOVERY = 6
"""Raised when another gradient may be taken of a network."""

__all__ = ["DISCOVERY", "Discovery", "along", "substituted", "survey"]
