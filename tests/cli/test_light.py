"""What a command leaves out: torch for a list, weights for a dry run, networks that are done."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from weakref import WeakSet

import pytest
from torch import nn

import robench
from robench.architectures import VGG
from robench.evaluation import LocalExecutor, Request, make_plan, run_plan
from robench.registry import find_attacks, model_entries, select_models
from robench.results import ResultStore
from tests.support.commands import Cli

COMMAND = """
import sys
from robench.cli import main

try:
    main()
except SystemExit as stop:
    heavy = ("torch", "pandas", "sklearn", "scipy", "pyarrow", "matplotlib", "foolbox")
    loaded = [name for name in heavy if name in sys.modules]
    print(stop.code, *loaded, file=sys.stderr)
"""


def fresh(*arguments: object) -> tuple[str, list[str]]:
    """What a command prints, and its exit code with the large libraries that it loaded."""
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout, done.stderr.splitlines()[-1].split()


@pytest.mark.parametrize("what", ["models", "datasets", "attacks"])
def test_a_list_needs_no_torch(what: str) -> None:
    out, loaded = fresh("list", what, "--json")
    assert loaded == ["0"]
    rows = json.loads(out)
    assert rows
    if what == "models":
        row = next(row for row in rows if row["model"] == "digits/vgg16-stbp")
        card = model_entries()[row["model"]].card
        assert card is not None
        assert row["T"] == str(card.model.timesteps)
        assert row["clean"] == f"{card.about.clean_accuracy:.1%}"
        assert next(row for row in rows if row["model"] == "digits/vgg16-ann")["T"] == ""


def test_tables_and_results_need_no_torch(tmp_path: Path) -> None:
    robench.evaluate("digits/vgg16-ann", ["fgsm", "noise"], limit=4, store=tmp_path, progress=False)
    page = ("leaderboard", "--alone", "--format", "csv", "--output", tmp_path / "page.csv")
    for command in (("show", "digits/vgg16-ann/noise"), page):
        out, (code, *loaded) = fresh(*command, "--results", tmp_path)
        assert code == "0"
        assert out
        assert not {"torch", "matplotlib"} & set(loaded)


def test_the_lists_of_libraries_have_the_same_columns(cli: Cli) -> None:
    done = cli("list", "attacks", "--all")
    assert done.code == 0, done.err
    assert "foolbox:" in done.out
    assert (
        len({tuple(row) for row in json.loads(cli("list", "attacks", "--all", "--json").out)}) == 1
    )


def test_a_reader_who_leaves_ends_a_command_quietly() -> None:
    command = f"{sys.executable} -m robench list models | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("model ")
    assert done.stderr == ""


def test_a_dry_run_loads_no_network(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("weights are loaded")

    monkeypatch.setattr("safetensors.torch.load_file", load)
    attacks = "fgsm,pgd,spgd,transfer[source=*-ann]"
    done = cli(
        "run", "--dataset", "digits", "--attacks", attacks, "--dry-run", "--output", tmp_path
    )
    assert done.code == 0, done.err
    cells = 4 * len(robench.list_models(dataset="digits"))
    assert done.out.count("  to do\n") == cells
    last = done.out.splitlines()[-1]
    assert last.startswith(f"to do: {cells} cells, about ")
    assert last.endswith(" by stored times")  # the published ones


def test_only_the_networks_of_the_present_cell_are_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: WeakSet[VGG] = WeakSet()

    class Known(VGG):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            made.add(self)

    monkeypatch.setattr("robench.registry.loading.VGG", Known)
    store, most = ResultStore(tmp_path), []
    attacks = find_attacks("fgsm,transfer[source=vgg16-ann]")
    entries = select_models(["digits/*-ann", "digits/*-stbp"])
    plan = make_plan(entries, attacks, Request(limit="4", device="cpu"), store)
    assert not made
    for result, _ in run_plan(
        plan,
        store,
        executor=LocalExecutor(progress=lambda cell, done, passes: most.append(len(made))),
    ):
        assert result.status == "done"
    assert len(plan.cells) == 8
    assert max(most) == 2  # a model and the source of a transfer attack
    assert not made


def test_memory_does_not_grow_with_the_number_of_cells(tmp_path: Path) -> None:
    model = robench.Model(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), dataset="digits")

    def run(seeds: range) -> int:
        for seed in seeds:
            robench.evaluate(
                model, "fgsm", limit=4, eps=["4/255"], seed=seed, store=tmp_path, progress=False
            )
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        run(range(2))
        first = run(range(2, 4))
        assert run(range(4, 12)) - first < 200_000
    finally:
        tracemalloc.stop()
