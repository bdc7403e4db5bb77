from .activation import ClipFloorShift
from .config import VERSION, FlexConfig, InputKind, Mode, ModelConfig, NeuronConfig
from .flex import PlasticFlexLayer
from .vgg import VGG

__all__ = [
    "VERSION",
    "VGG",
    "ClipFloorShift",
    "FlexConfig",
    "InputKind",
    "Mode",
    "ModelConfig",
    "NeuronConfig",
    "PlasticFlexLayer",
]
