"""From models and attacks to results: the plan of a run and the evaluation of its cells."""

from robench.evaluation.cell import Cell, Settings
from robench.evaluation.checking import checks_alone, hopeless, refuse_hopeless
from robench.evaluation.evaluate import evaluate_cell
from robench.evaluation.executors import Executor, LocalExecutor, Order, make_executor
from robench.evaluation.grids import NamedGrid, find_grid
from robench.evaluation.plan import Plan, Planned, Skipped, look_up, make_plan
from robench.evaluation.preparation import at_work, find_spikes, prepare
from robench.evaluation.provenance import run_record
from robench.evaluation.request import Request
from robench.evaluation.run import run_plan
from robench.evaluation.slices import read_slice
from robench.evaluation.units import Shard, Unit

__all__ = [
    "Cell",
    "Executor",
    "LocalExecutor",
    "NamedGrid",
    "Order",
    "Plan",
    "Planned",
    "Request",
    "Settings",
    "Shard",
    "Skipped",
    "Unit",
    "at_work",
    "checks_alone",
    "evaluate_cell",
    "find_grid",
    "find_spikes",
    "hopeless",
    "look_up",
    "make_executor",
    "make_plan",
    "prepare",
    "read_slice",
    "refuse_hopeless",
    "run_plan",
    "run_record",
]
