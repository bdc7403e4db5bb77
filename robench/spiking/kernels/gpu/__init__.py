"""The inner loops of ``kernels.c`` for CUDA, in Triton: the same names, arguments and layouts.

Arrays have the channel as the innermost axis (NHWC) and time as the outermost; all are of float32.
A loop over time is one program, which keeps the membrane in registers. No sum
depends on the order in which programs run: equal calls give equal numbers.
"""

from robench.spiking.kernels.gpu.layers import (
    conv,
    flex_backward,
    flex_forward,
    max_pool_backward,
    max_pool_forward,
)
from robench.spiking.kernels.gpu.neurons import assg, lif_backward, lif_forward

__all__ = [
    "assg",
    "conv",
    "flex_backward",
    "flex_forward",
    "lif_backward",
    "lif_forward",
    "max_pool_backward",
    "max_pool_forward",
]
