"""Runs in several processes, in which workers, nodes and the run itself are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.evaluation.test_resume import COMMAND, comparable
from tests.support.interrupts import interruptible
from tests.support.small_models import SMALL_MODELS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("interruptible")]
__all__ = ["interruptible"]
ATTACKS = ("--attacks", "fgsm,pgd[steps=4]")
RUN = [sys.executable, "-m", "robench", *COMMAND, *ATTACKS]


def code_folder(tmp_path: Path) -> Path:
    (tmp_path / "smallmodels.py").write_text(SMALL_MODELS, "utf-8")
    return tmp_path


def workers_of(pid: int) -> list[psutil.Process]:
    below = psutil.Process(pid).children(recursive=True)
    return [p for p in below if "spawn_main" in " ".join(p.cmdline())]


def has_started(worker: psutil.Process) -> bool:
    """Whether the worker is past Python's own start, which fails aloud when its parent dies."""
    return any("libtorch" in part.path for part in worker.memory_maps())


def test_processes_give_the_same_bytes_and_survive_a_kill(tmp_path: Path) -> None:
    folder, environment = code_folder(tmp_path), os.environ | {"OMP_NUM_THREADS": "1"}
    one, two = tmp_path / "one", tmp_path / "two"
    local = subprocess.run(
        [*RUN, "--output", one], cwd=folder, env=environment, check=False, capture_output=True
    )
    assert local.returncode == 0
    run = subprocess.Popen(
        [*RUN, "--output", two, "--jobs", "2"], cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while run.poll() is None and not workers_of(run.pid):
        time.sleep(0.05)
    below = workers_of(run.pid)
    below[0].kill()
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    assert "Traceback" not in out + err
    assert comparable(two) == comparable(one)
    assert not any(process.is_running() for process in below)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_driver(number: signal.Signals, tmp_path: Path) -> None:
    run = subprocess.Popen(
        [*RUN, "--output", tmp_path / "out", "--jobs", "2"], cwd=code_folder(tmp_path),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while run.poll() is None and sum(map(has_started, workers_of(run.pid))) < 2:
        time.sleep(0.05)
    below = workers_of(run.pid)
    if number == signal.SIGINT:
        os.killpg(run.pid, number)  # as a terminal does
    else:
        run.send_signal(number)
    _, err = run.communicate(timeout=60)
    assert "Traceback" not in err
    gone, alive = psutil.wait_procs(below, timeout=60)
    assert len(gone) == 2
    assert not alive


CLUSTER = """
import json, os, subprocess, sys, time
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=1)
try:
    run = subprocess.Popen(
        sys.argv[1:], env=os.environ | {"RAY_ADDRESS": cluster.address}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    next(line for line in run.stdout if "clean" in line)  # the first result
    cluster.remove_node(second, allow_graceful=False)
    out, err = run.communicate(timeout=250)
    print(json.dumps([run.returncode, err[-4000:]]))
finally:
    cluster.shutdown()
"""


def test_a_ray_that_loses_a_node_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = code_folder(tmp_path)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    one, two = tmp_path / "one", tmp_path / "two"
    subprocess.run([*RUN, "--output", one], cwd=folder, env=environment, check=True)
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER, *RUN, "--output", two, "--executor", "ray"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    code, err = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, err
    assert comparable(two) == comparable(one)
