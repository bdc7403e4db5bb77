from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from robench.cli import main
from robench.datasets import files
from tests.support.commands import Cli, runner
from tests.support.linear_model import LinearModel
from tests.support.made_up import Builder, fall
from tests.support.needs import REASONS
from tests.support.small_models import SMALL_MODELS

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With ``CI=true`` a skip for a reason that is not in ``REASONS`` is a failure."""
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, pytest.skip.Exception):
        refuse_skip(report, call.excinfo.value.msg)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a skip of a whole module, which is never expected."""
    report = yield
    if report.skipped:
        refuse_skip(report, str(report.longrepr))
    return report


def refuse_skip(report: pytest.TestReport | pytest.CollectReport, reason: str) -> None:
    if os.environ.get("CI") == "true" and reason not in REASONS:
        report.outcome = "failed"
        report.longrepr = f"unexpected skip: {reason}"


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """A test that draws from torch's own generator gets the same numbers in every run."""
    torch.manual_seed(0)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run ``robench`` with some arguments in this process."""
    return runner(main, monkeypatch, capsys)


@pytest.fixture
def small_models(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder with the module ``smallmodels``, see ``SMALL_MODELS``."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "smallmodels.py").write_text(SMALL_MODELS, "utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "smallmodels", raising=False)


@pytest.fixture(params=[False, True], ids=["box idle", "box active"])
def linear(request: pytest.FixtureRequest) -> LinearModel:
    return LinearModel((3, 4, 4), 60, box=request.param)


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "results")


@pytest.fixture
def six(builder: Builder) -> Builder:
    """The six kinds of model and a control, each under three attacks and the baseline."""
    scales = {"fgsm": 1.0, "pgd": 0.75, "spgd": 0.65, "noise": 3.0}
    models = [
        ("vgg16-ann", "ann", 22), ("vgg16-hybrid", "hybrid", 38), ("vgg16-stbp", "stbp", 31),
        ("flex-ann", "ann", 27), ("flex-hybrid", "hybrid", 45), ("flex-stbp", "stbp", 50),
    ]  # fmt: skip
    for number, (name, mode, scale) in enumerate(models):
        for attack, factor in scales.items():
            without_gradient = mode == "hybrid" and attack in ("fgsm", "pgd")
            builder.add(
                f"digits/{name}",
                attack,
                fall(scale * (5 if without_gradient else factor), number),
                mode=mode,
                verdict="invalid" if without_gradient else "valid",
                reasons=("gradient-unavailable",) if without_gradient else (),
            )
    for attack in scales:
        builder.add(
            "digits/control-zero-gradient", attack, fall(900 if attack != "spgd" else 5),
            verdict="valid" if attack == "spgd" else "invalid",
            reasons=() if attack == "spgd" else ("gradient-zero",), control=True,
        )  # fmt: skip
    return builder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no other place for data."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(files, "user_cache_path", lambda name: cache)
    monkeypatch.setenv(files.VARIABLE, "")
    return cache
