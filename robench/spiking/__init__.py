"""Spiking neurons, surrogate derivatives, gradient paths and encoders."""

from robench.spiking.draws import ModelNoise, RowNumbers, bound
from robench.spiking.encoding import direct, is_constant, over_time, rate
from robench.spiking.member import OZDENIZCI_LEGENSTEIN, Member, combine
from robench.spiking.memory import Recorder, RowMemory
from robench.spiking.neuron import LIF, LIFParameters, LIFState, lif, lif_start, lif_step
from robench.spiking.override import override, spiking_layers
from robench.spiking.paths import PATHS, STBP, GradientPath, PathModule, find_path
from robench.spiking.surrogate import Surrogate, spike, surrogate_names

__all__ = [
    "LIF",
    "OZDENIZCI_LEGENSTEIN",
    "PATHS",
    "STBP",
    "GradientPath",
    "LIFParameters",
    "LIFState",
    "Member",
    "ModelNoise",
    "PathModule",
    "Recorder",
    "RowMemory",
    "RowNumbers",
    "Surrogate",
    "bound",
    "combine",
    "direct",
    "find_path",
    "is_constant",
    "lif",
    "lif_start",
    "lif_step",
    "over_time",
    "override",
    "rate",
    "spike",
    "spiking_layers",
    "surrogate_names",
]
