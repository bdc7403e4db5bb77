"""Workers on a Ray cluster, or on a Ray of this machine."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from robench.errors import PluginError, RobenchError, UsageError
from robench.evaluation.executors.order import Order
from robench.evaluation.executors.pool import Answer, PoolExecutor
from robench.evaluation.executors.worker import Bench, LostWorkerError, Place
from robench.evaluation.plan import Planned
from robench.evaluation.units import Unit
from robench.results import CellResult, ResultStore

ADDRESS = "RAY_ADDRESS"
"""The variable with the address of a cluster, which Ray reads too."""
PATIENCE = 5.0
"""Seconds to wait for the server of a cluster."""


def _import_ray() -> Any:
    """The package.

    Raises:
        PluginError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # by default it reports to its makers
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # no new Ray after its end
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the default from Ray 3 on
    try:
        import ray
    except ImportError:
        raise PluginError(
            "--executor ray needs Ray; install it with: pip install 'robench[ray]'"
        ) from None
    return ray


def _require_server(address: str | None) -> None:
    """Refuse the address of a cluster at which nothing listens: Ray itself tries for minutes.

    Raises:
        UsageError: nothing does.
    """
    found = re.fullmatch(r"(?:ray://)?(?P<host>[^:/]+):(?P<port>\d{1,5})", address or "")
    if found is None:  # no address, or a word that Ray knows
        return
    try:
        socket.create_connection((found["host"], int(found["port"])), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"no Ray at {ADDRESS}={address}: {error}; start one with: ray start --head"
        ) from None


class RayExecutor(PoolExecutor):
    """Ray actors, one for each CPU or GPU of the cluster, whose nodes share a folder.

    A worker whose node is lost is started again on another one.
    """

    def __init__(
        self, order: Order, jobs: int | None = None, say: Callable[[str], None] = print
    ) -> None:
        """Connect to the cluster at ``RAY_ADDRESS``, or start a Ray on this machine.

        Args:
            order: the run.
            jobs: number of actors, None for one on each CPU, or on each GPU if the run uses them.
            say: see :class:`PoolExecutor`.

        Raises:
            PluginError: Ray is not installed.
            UsageError: there is no cluster at that address.
        """
        self.ray, self.order = _import_ray(), order
        self._connect()
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        cpus = [int(node.get("CPU", 0)) for node in nodes]
        gpus = sum(node.get("GPU", 0) for node in nodes)
        device = order.request.device
        on_gpu = device.startswith("cuda") or (device == "auto" and gpus > 0)
        super().__init__(jobs or max(1, int(gpus) if on_gpu else sum(cpus)), say)
        self.threads = max(1, min(sum(cpus) // self.workers, *cpus))
        self.gpus = min(1.0, gpus / self.workers) if on_gpu else 0.0
        at_once = min(self.workers, max(1, max(cpus) // self.threads))
        shared = max(1, int(1 / self.gpus)) if self.gpus else 1
        self.place = Place(self.threads, "cuda" if on_gpu else "cpu", at_once, shared)

    def _connect(self) -> None:
        address, terminate = os.environ.get(ADDRESS), signal.getsignal(signal.SIGTERM)
        _require_server(address)
        try:
            self.ray.init(
                address=address,
                include_dashboard=None if address else False,
                logging_level="error",
                log_to_driver=False,  # what a lost node printed last; Ray keeps it in its logs
                ignore_reinit_error=True,
            )
        except Exception as error:  # Ray raises what its parts raise
            said = " ".join(str(error).split())
            where = f"at {ADDRESS}={address}" if address else "can be started here"
            raise UsageError(f"no Ray {where}: {said}") from None
        if threading.current_thread() is threading.main_thread():  # Ray's own prints its stack
            signal.signal(signal.SIGTERM, terminate or signal.SIG_DFL)

    def run(
        self, units: Sequence[Unit], cells: Mapping[str, Planned], store: ResultStore
    ) -> Iterator[Answer]:
        """See :class:`~.pool.PoolExecutor`; a second run connects again."""
        if not self.ray.is_initialized():
            self._connect()
        yield from super().run(units, cells, store)

    def start(self, number: int) -> RayWorker:
        """See :class:`~.pool.PoolExecutor`; it is ready as soon as the cluster has room for it."""
        return RayWorker(self)

    def close(self) -> None:
        """End all actors, and a Ray that was started here."""
        super().close()
        self.ray.shutdown()


class RayWorker:
    """An actor."""

    def __init__(self, executor: RayExecutor) -> None:
        """Start the actor."""
        self.ray = executor.ray
        remote = self.ray.remote(Bench).options(
            num_cpus=executor.threads, num_gpus=executor.gpus, scheduling_strategy="SPREAD"
        )
        self.actor = remote.remote(executor.order, executor.place)

    def wait(self) -> None:
        """See :class:`~.pool.Worker`."""
        self._get(self.actor.ready.remote())

    def compute(self, unit: Unit) -> CellResult | None:
        """See :class:`~.pool.Worker`."""
        result: CellResult | None = self._get(self.actor.compute.remote(unit))
        return result

    def _get(self, reference: Any) -> Any:
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, RobenchError):
                raise error.cause from None
            raise LostWorkerError(_first_line(error.cause or error)) from None
        except self.ray.exceptions.RayError as error:
            raise LostWorkerError(_first_line(error)) from None

    def stop(self) -> None:
        """See :class:`~.pool.Worker`."""
        self.ray.kill(self.actor)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
