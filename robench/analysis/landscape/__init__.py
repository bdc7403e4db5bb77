"""Loss surfaces of models, over their weights and over their inputs, and the sharpness."""

from robench.analysis.landscape.draw import (
    draw_inputs,
    draw_sharpness,
    draw_weights,
    write_input_figure,
    write_weight_figures,
)
from robench.analysis.landscape.inputs import InputLandscape
from robench.analysis.landscape.losses import axis
from robench.analysis.landscape.weights import RADII, Landscape

__all__ = [
    "RADII",
    "InputLandscape",
    "Landscape",
    "axis",
    "draw_inputs",
    "draw_sharpness",
    "draw_weights",
    "write_input_figure",
    "write_weight_figures",
]
