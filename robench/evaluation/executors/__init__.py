"""Executors: where the units of a run are computed, in this process, in others or on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from robench.evaluation.executors.base import Executor
from robench.evaluation.executors.local import LocalExecutor
from robench.evaluation.executors.order import Order

ExecutorName = Literal["local", "process", "ray"]

__all__ = ["Executor", "ExecutorName", "LocalExecutor", "Order", "make_executor"]


def make_executor(
    name: ExecutorName, order: Order, jobs: int | None, say: Callable[[str], None]
) -> Executor:
    """The executor of a name.

    Args:
        name: ``local``, ``process`` or ``ray``.
        order: the run, which other processes make again.
        jobs: number of workers, None to choose it.
        say: called with a line about a lost worker.

    Raises:
        PluginError: Ray is not installed.
        UsageError: there is no Ray at the given address.
    """
    if name == "process":
        from robench.evaluation.executors.process import ProcessExecutor

        return ProcessExecutor(order, jobs, say)
    if name == "ray":
        from robench.evaluation.executors.on_ray import RayExecutor

        return RayExecutor(order, jobs, say)
    return LocalExecutor()
