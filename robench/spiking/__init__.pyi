from .encoding import direct, is_constant, latency, over_time, rate
from .estimator import OWN_GRADIENT, OZDENIZCI_LEGENSTEIN, Estimator, combine, used
from .gradient_paths import PATHS, STBP, GradientPath, PathModule, find_path
from .model_noise import ModelNoise, RowNumbers, bound
from .neuron import LIF, LIFParameters, full_precision, lif
from .neuron_statistics import NeuronStatistics, Recorder
from .nir_graphs import from_nir
from .substitution import override, spiking_layers
from .surrogate import Surrogate, surrogate_names
from .wrapping import Wrapped, wrap

__all__ = [
    "LIF",
    "OWN_GRADIENT",
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
    "Wrapped",
    "bound",
    "combine",
    "direct",
    "find_path",
    "from_nir",
    "full_precision",
    "is_constant",
    "latency",
    "lif",
    "over_time",
    "override",
    "rate",
    "spiking_layers",
    "surrogate_names",
    "used",
    "wrap",
]
