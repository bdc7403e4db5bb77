"""Spikes, synaptic operations and energy of models."""

from robench.analysis.activity.draw import draw_energy, draw_sparsity
from robench.analysis.activity.draw_raster import DrawnRaster, draw_raster, draw_rates, layer_number
from robench.analysis.activity.measure import Activity
from robench.analysis.activity.raster import Raster
from robench.analysis.activity.tables import (
    CAVEAT,
    conditions,
    energy_lines,
    layer_lines,
    sparsity_lines,
    title,
)

__all__ = [
    "CAVEAT",
    "Activity",
    "DrawnRaster",
    "Raster",
    "conditions",
    "draw_energy",
    "draw_raster",
    "draw_rates",
    "draw_sparsity",
    "energy_lines",
    "layer_lines",
    "layer_number",
    "sparsity_lines",
    "title",
]
