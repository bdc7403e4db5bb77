"""From models and attacks to results: the plan of a run and the evaluation of its cells."""

from robench.evaluation.cell import Cell, Settings
from robench.evaluation.checking import checks_alone, hopeless
from robench.evaluation.evaluate import evaluate_cell
from robench.evaluation.grids import NamedGrid, find_grid
from robench.evaluation.plan import Plan, Planned, Skipped, look_up, make_plan
from robench.evaluation.preparation import at_work, find_spikes, prepare
from robench.evaluation.provenance import run_record
from robench.evaluation.request import Request
from robench.evaluation.run import run_plan
from robench.evaluation.slices import read_slice

__all__ = [
    "Cell",
    "NamedGrid",
    "Plan",
    "Planned",
    "Request",
    "Settings",
    "Skipped",
    "at_work",
    "checks_alone",
    "evaluate_cell",
    "find_grid",
    "find_spikes",
    "hopeless",
    "look_up",
    "make_plan",
    "prepare",
    "read_slice",
    "run_plan",
    "run_record",
]
