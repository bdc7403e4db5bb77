"""Spiking neurons, surrogate derivatives, gradient paths and encoders."""

from robench.spiking.encoding import direct, is_constant, over_time, rate
from robench.spiking.estimator import OZDENIZCI_LEGENSTEIN, Estimator, combine
from robench.spiking.gradient_paths import PATHS, STBP, GradientPath, PathModule, find_path
from robench.spiking.model_noise import ModelNoise, RowNumbers, bound
from robench.spiking.neuron import LIF, LIFParameters, lif
from robench.spiking.neuron_statistics import NeuronStatistics, Recorder
from robench.spiking.substitution import override, spiking_layers
from robench.spiking.surrogate import Surrogate, surrogate_names

__all__ = [
    "LIF",
    "OZDENIZCI_LEGENSTEIN",
    "PATHS",
    "STBP",
    "Estimator",
    "GradientPath",
    "LIFParameters",
    "ModelNoise",
    "NeuronStatistics",
    "PathModule",
    "Recorder",
    "RowNumbers",
    "Surrogate",
    "bound",
    "combine",
    "direct",
    "find_path",
    "is_constant",
    "lif",
    "over_time",
    "override",
    "rate",
    "spiking_layers",
    "surrogate_names",
]
