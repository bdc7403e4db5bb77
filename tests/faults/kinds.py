"""The kinds of faults: each disturbs a run, and returns the cells that it has finished."""

from __future__ import annotations

import errno
import itertools
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from tests.faults.scene import Scene

Kept = dict[Path, int]
Fault = Callable[[Scene, Path, random.Random], Kept]
SPAN = 1.5
"""Seconds within which a run is disturbed; it takes about as long."""


def _signalled(number: signal.Signals, scene: Scene, output: Path, rng: random.Random) -> Kept:
    """A signal at a random time."""
    child = scene.start(output)
    time.sleep(rng.uniform(0, SPAN))
    os.kill(child, number)
    code = scene.end(child)
    allowed = {signal.SIGINT: {130}, signal.SIGTERM: {143}}.get(number, {-number})
    if code not in allowed | {0}:
        scene.problems.append(f"exit code {code} after {number.name}")
    return scene.finished(output)


def _at_write(action: Callable[[int], object], rng: random.Random) -> Callable[[], None]:
    """Do something before or after the n-th file is renamed into its place."""
    chosen, after = rng.randint(1, 12), rng.random() < 0.5

    def prepare() -> None:
        count, replace = itertools.count(1), Path.replace

        def replacing(self: Path, target: Path) -> Any:
            now = next(count)
            if now == chosen and not after:
                action(now)
            found = replace(self, target)
            if now == chosen and after:
                action(now)
            return found

        Path.replace = replacing  # type: ignore[method-assign,assignment]

    return prepare


def kill_at_write(scene: Scene, output: Path, rng: random.Random) -> Kept:
    """SIGKILL just before or after a file is renamed."""
    prepare = _at_write(lambda _: os.kill(os.getpid(), signal.SIGKILL), rng)
    if scene.run(output, prepare=prepare) not in (-9, 0):
        scene.problems.append("the run was not killed")
    return scene.finished(output)


def disk_full(scene: Scene, output: Path, rng: random.Random) -> Kept:
    """From some write on there is no space, or the file system is read-only."""
    number = rng.choice([errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
    first = rng.randint(1, 14)

    def prepare() -> None:
        count = itertools.count(1)
        for name in ("write_bytes", "write_text"):
            write = getattr(Path, name)

            def failing(self: Path, *arguments: Any, write: Any = write, **options: Any) -> Any:
                if next(count) >= first:
                    with suppress(OSError):  # a part of it is on the disk
                        write(self, arguments[0][: len(arguments[0]) // 2], *arguments[1:])
                    raise OSError(number, os.strerror(number), str(self))
                return write(self, *arguments, **options)

            setattr(Path, name, failing)

    _no_traceback(scene, scene.run(output, prepare=prepare))
    return scene.finished(output)


def small_files(scene: Scene, output: Path, rng: random.Random) -> Kept:
    """The kernel refuses files above a size."""
    size = rng.randint(0, 12_000)
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    (scene.folder / "log").write_text("")  # it is limited too
    _no_traceback(scene, scene.run(output, prepare=limit))
    return scene.finished(output)


def _no_traceback(scene: Scene, code: int) -> None:
    if code not in (0, 1, 2):
        scene.problems.append(f"exit code {code} where nothing can be written")


def clock(scene: Scene, output: Path, rng: random.Random) -> Kept:
    """The clock jumps by up to ten years, both ways, while a run is killed and continued."""

    def prepare() -> None:
        now = time.time
        jumps = random.Random(rng.random())
        time.time = lambda: now() + jumps.uniform(-1, 1) * 10 * 365 * 86_400

    child = scene.start(output, prepare=prepare)
    time.sleep(rng.uniform(0, SPAN))
    os.kill(child, signal.SIGKILL)
    scene.end(child)
    for path in output.rglob("*"):  # as if they were written then
        moment = time.time() + rng.uniform(-1, 1) * 10 * 365 * 86_400
        os.utime(path, (moment, moment))
    return scene.finished(output)


def _damage(path: Path, others: list[Path], rng: random.Random) -> None:
    """Flip, cut, empty, lengthen, swap or remove a file."""
    data = bytearray(path.read_bytes())
    how = rng.choice(["flip", "flip", "flip", "cut", "empty", "longer", "swap", "remove"])
    if how == "flip" and data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == "cut":
        data = data[: rng.randrange(len(data) or 1)]
    elif how == "empty":
        data = bytearray()
    elif how == "longer":
        data += rng.randbytes(rng.randint(1, 100))
    elif how == "swap":
        data = bytearray(rng.choice(others).read_bytes())
    if how == "remove":
        path.unlink()
    else:
        path.write_bytes(data)


def damaged_file(scene: Scene, output: Path, rng: random.Random) -> Kept:
    """A stored file of a finished run is damaged; only its cell is computed again."""
    shutil.copytree(scene.folder / "undisturbed", output)
    path = rng.choice(files := _files(output))
    _damage(path, [other for other in files if other != path], rng)
    whole = scene.finished(output)
    return {name: changed for name, changed in whole.items() if name.stem != path.stem}


def damaged_chunk(scene: Scene, output: Path, rng: random.Random) -> Kept:
    """A finished chunk of an unfinished cell is damaged."""
    prepare = _at_write(lambda _: os.kill(os.getpid(), signal.SIGKILL), rng)
    scene.run(output, prepare=prepare)
    chunks = [path for path in _files(output) if path.parent.suffix == ".chunks"]
    if chunks:
        _damage(path := rng.choice(chunks), [o for o in chunks if o != path] or chunks, rng)
    return scene.finished(output)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def runs_at_once(scene: Scene, output: Path, rng: random.Random) -> Kept:
    """Two or three runs with different batch sizes on one folder, of which one may be killed."""
    sizes = rng.sample(["1", "7", "16", "64", "auto"], rng.choice([2, 3]))
    children = []
    for size in sizes:
        children.append(scene.start(output, "--batch-size", size))
        time.sleep(rng.uniform(0, 0.3))
    if rng.random() < 0.5:
        time.sleep(rng.uniform(0, SPAN))
        os.kill(children[0], signal.SIGKILL)
    codes = [scene.end(child) for child in children]
    if set(codes) - {0, -9}:
        scene.problems.append(f"exit codes {codes} of runs at once")
    return scene.finished(output)


def interrupt_start(scene: Scene, output: Path, rng: random.Random) -> Kept:
    """Ctrl-C within the first seconds of a command, from its first millisecond on."""
    run = scene.command(output)
    time.sleep(rng.choice([rng.uniform(0, 0.5), rng.uniform(0, 5)]))
    _interrupt(scene, run.pid)
    _, err = run.communicate(timeout=120)
    # until the first line of its command line runs, an interrupt is Python's own matter
    if "robench/cli/" in err and "Traceback" in err:
        scene.problems.append(f"a traceback after Ctrl-C: {err.splitlines()[-1]}")
    if run.returncode not in (0, 130, 1, -signal.SIGINT):
        scene.problems.append(f"exit code {run.returncode} after Ctrl-C")
    return scene.finished(output)


def _interrupt(scene: Scene, pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGINT)


def _workers(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        below = psutil.Process(pid).children(recursive=True)
        return [p for p in below if "spawn_main" in " ".join(p.cmdline())]
    return []


def _spread(scene: Scene, output: Path, rng: random.Random) -> tuple[Any, list[psutil.Process]]:
    """A run with two processes, at a random time after their start."""
    run, found = scene.command(output, "--jobs", "2"), []
    while run.poll() is None and len(found := _workers(run.pid)) < 2:
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 8))
    return run, found


def kill_worker(scene: Scene, output: Path, rng: random.Random) -> Kept:
    """SIGKILL of a worker; the run replaces it and ends well."""
    run, workers = _spread(scene, output, rng)
    with suppress(psutil.Error):
        rng.choice(workers).kill()
    _, err = run.communicate(timeout=LONG)
    if run.returncode != 0:
        scene.problems.append(
            f"exit code {run.returncode} after the loss of a worker: {err[-200:]}"
        )
    return scene.finished(output)


LONG = 300


def kill_driver(scene: Scene, output: Path, rng: random.Random) -> Kept:
    """SIGKILL, SIGTERM or Ctrl-C of a run with workers, which end too."""
    run, workers = _spread(scene, output, rng)
    number = rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    with suppress(ProcessLookupError):
        os.killpg(run.pid, number) if number == signal.SIGINT else run.send_signal(number)
    _, err = run.communicate(timeout=LONG)
    if "Traceback" in err:
        scene.problems.append(f"a traceback after {number.name}: {err.splitlines()[-1]}")
    _, alive = psutil.wait_procs(workers, timeout=60)
    scene.problems += [f"orphan after {number.name}: {process.pid}" for process in alive]
    return scene.finished(output)


def ray_node(scene: Scene, output: Path, rng: random.Random) -> Kept:
    """A node of a Ray of two nodes is lost; the run repeats its work and ends well."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        node = cluster.add_node(num_cpus=1)
        os.environ["RAY_ADDRESS"] = cluster.address
        run = scene.command(output, "--executor", "ray")
        time.sleep(rng.uniform(5, 25))
        cluster.remove_node(node, allow_graceful=False)
        _, err = run.communicate(timeout=LONG)
        if run.returncode != 0:
            scene.problems.append(f"exit code {run.returncode} after a node was lost: {err[-200:]}")
    finally:
        os.environ.pop("RAY_ADDRESS", None)
        cluster.shutdown()
    return scene.finished(output)


SLOW = (interrupt_start, kill_worker, kill_driver, ray_node)
"""The kinds that start a command, with its imports."""


def shares(count: int) -> Iterator[tuple[str, Fault, int]]:
    """The kinds with their parts of a number of faults, of which the slow ones get few."""
    parts: dict[str, tuple[Fault, float]] = {
        "SIGKILL": (partial(_signalled, signal.SIGKILL), 0.16),
        "SIGTERM": (partial(_signalled, signal.SIGTERM), 0.08),
        "Ctrl-C": (partial(_signalled, signal.SIGINT), 0.08),
        "Ctrl-C within the first seconds of a command": (interrupt_start, 0.06),
        "SIGKILL at the renaming of a file": (kill_at_write, 0.1),
        "disk full, quota, read-only, input/output error": (disk_full, 0.1),
        "file size limit of the kernel": (small_files, 0.04),
        "clock jumps, before and after a SIGKILL": (clock, 0.06),
        "stored file cut, flipped, swapped, removed": (damaged_file, 0.14),
        "chunk cut, flipped, swapped, removed": (damaged_chunk, 0.08),
        "two or three runs on one folder": (runs_at_once, 0.05),
        "SIGKILL of a worker": (kill_worker, 0.02),
        "SIGKILL, SIGTERM, Ctrl-C of a run with workers": (kill_driver, 0.02),
        "loss of a Ray node": (ray_node, 0.01),
    }
    for name, (fault, part) in parts.items():
        yield name, fault, round(count * part)
