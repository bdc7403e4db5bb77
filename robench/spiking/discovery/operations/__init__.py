"""Steps that operations of torch make, without a function of their own."""

from robench.spiking.discovery.operations.comparisons import Observer
from robench.spiking.discovery.operations.masks import Crossing, Place
from robench.spiking.discovery.operations.roundings import WithoutRoundings
from robench.spiking.discovery.operations.steps import Operations

__all__ = ["Crossing", "Observer", "Operations", "Place", "WithoutRoundings"]
