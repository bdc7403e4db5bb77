"""The command line: parse, call, print. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json as jsonlib
import sys
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from robench.cli_analyze import analyze
from robench.errors import RobenchError, UsageError

if TYPE_CHECKING:
    from robench.results import CellResult

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(analyze, name="analyze")
INTERRUPTED = 130
_KEPT = {
    "run": ("finished cells are kept",),
    "train": ("finished epochs are kept, and the same command with --resume goes on",),
}
"""What an interrupted command leaves behind."""
Format = Literal["md", "html", "csv", "json"]

ModelsDir = Annotated[
    Path | None, typer.Option("--models-dir", help="Look for checkpoints here first.")
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Look for data sets here first.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"robench {version('robench')}")
        raise typer.Exit


@app.callback()
def robench(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Adversarial-robustness benchmark for spiking networks and the ANNs beside them."""


@app.command()
def run(
    models: Annotated[
        str, typer.Option(help="all, ids, globs, folders or package.module:function, with commas.")
    ] = "all",
    attacks: Annotated[
        str,
        typer.Option(
            help="Names with commas; parameters as in pgd[steps=9,restarts=5], lists too."
        ),
    ] = "fgsm,pgd,spgd",
    dataset: Annotated[str | None, typer.Option(help="Keep the models of this data set.")] = None,
    eps: Annotated[
        str | None, typer.Option(help="Grid such as 0,1/255,2/255; the data set's own by default.")
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(help="Named grid instead of --eps: bioflexnet or bioflexnet-code."),
    ] = None,
    limit: Annotated[
        str | None, typer.Option(help="How many test images: a count, or a fraction such as 0.1.")
    ] = None,
    timesteps: Annotated[
        int | None, typer.Option(help="Time steps T instead of each card's own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the attacks' random numbers.")] = 0,
    eot: Annotated[
        int | None, typer.Option(help="Draws for each gradient of a stochastic model; 10 else.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:1; auto takes CUDA where it is.")
    ] = "auto",
    batch_size: Annotated[
        str, typer.Option(help="Rows of one call, or auto; it decides the speed alone.")
    ] = "auto",
    no_carry: Annotated[
        bool, typer.Option("--no-carry", help="Run every ε on every sample (raw curve).")
    ] = False,
    reference: Annotated[
        bool,
        typer.Option("--reference", help="Plain PyTorch and the ascending search, to check."),
    ] = False,
    witnesses: Annotated[
        bool, typer.Option("--witnesses", help="Keep the adversarial images beside the results.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results"),
    force: Annotated[
        bool, typer.Option("--force", help="Compute again what is there already.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the cells and stop.")] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first cell that fails.")
    ] = False,
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Attack models over a sweep of ε and store the results; the same command continues."""
    from robench.console import Progress, plan_data, plan_lines, require_cells, trouble_lines
    from robench.datasets import find_dataset, look_first_in
    from robench.evaluation import Request, find_grid, make_plan, run_plan
    from robench.results import ResultStore
    from robench.zoo import find_attack, select_models, split_names

    if dataset is not None:
        find_dataset(dataset)
    if data_dir is not None:
        look_first_in(data_dir)
    named = [find_attack(name) for name in dict.fromkeys(split_names(attacks))]
    if not named:
        raise UsageError("no attack was named; see: robench list attacks")
    if eps is not None and grid is not None:
        raise UsageError("--eps and --grid exclude each other")
    request = Request(
        eps=None if eps is None else tuple(eps.split(",")),
        grid=None if grid is None else find_grid(grid),
        limit=limit,
        timesteps=timesteps,
        seed=seed,
        sweep="raw" if no_carry else "ascending" if reference else "fast",
        reference=reference,
        batch_size=None if batch_size == "auto" else _rows(batch_size),
        device=device,
        witnesses=witnesses,
        eot=eot,
    )
    patterns = [part.strip() for part in models.split(",") if part.strip()]
    entries = select_models(patterns, dataset=dataset, models_dir=models_dir)
    store = ResultStore(output)
    if not dry_run:
        store.require_writable()
    plan = make_plan(entries, named, request, store, models_dir)
    require_cells(plan)
    for line in trouble_lines(plan):
        print(line, file=sys.stderr)
    if not json:
        done = sum(planned.done for planned in plan.cells)
        print(f"{len(plan.cells)} cells, {done} of them done already")
    if dry_run:
        for line in [jsonlib.dumps(plan_data(plan))] if json else plan_lines(plan):
            print(line)
        return
    results: list[CellResult] = []
    with Progress(plan, quiet=json) as progress:
        for result, computed in run_plan(plan, store, force=force, progress=progress.update):
            results.append(result)
            progress.finish(result, computed)
            if fail_fast and result.status == "failed":
                break
    failed = [r for r in results if r.status == "failed"]
    broken = [s for s in plan.skipped if s.broken]
    if json:
        print(jsonlib.dumps([r.model_dump(mode="json", by_alias=True) for r in results]))
    elif failed or broken:
        print(
            f"{len(failed)} cells failed, {len(broken)} models could not be loaded; "
            "the same command tries them again.",
            file=sys.stderr,
        )
    if failed or broken:
        raise typer.Exit(1)


def _rows(text: str) -> int:
    """The number of rows that ``--batch-size`` asks for."""
    try:
        rows = int(text)
    except ValueError:
        raise UsageError(f"--batch-size {text!r} is neither auto nor an integer") from None
    if rows < 1:
        raise UsageError(f"--batch-size {rows}: at least 1 row is needed")
    return rows


@app.command()
def leaderboard(
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results"),
    output: Annotated[
        Path | None, typer.Option(help="The file to write; leaderboard.FORMAT by default.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 where the file is stale.")
    ] = False,
    format: Annotated[Format, typer.Option(help="Of the file.")] = "md",
    all_runs: Annotated[
        bool, typer.Option("--all-runs", help="List runs outside the protocol too.")
    ] = False,
) -> None:
    """Make the leaderboard and its figures from the stored results."""
    from robench.reporting import build_report, is_stale, render, write, write_figures
    from robench.results import ResultStore

    output = output or Path(f"leaderboard.{format}")
    if not any(results.glob("*/*/*/*.json")):
        raise UsageError(f"there are no results in {results}; make them with: robench run")
    report = build_report(ResultStore(results))
    for damaged in report.damaged:
        print(f"left out, damaged: {damaged.path}: {damaged.reason}", file=sys.stderr)
    figures = results / "figures"
    text = render(report, format, figures=_relative(figures, output), all_runs=all_runs)
    if check:
        if is_stale(output, text):
            again = "robench leaderboard" + ("" if format == "md" else f" --format {format}")
            print(f"{output} is stale; make it again with: {again}", file=sys.stderr)
            raise typer.Exit(1)
        print(f"{output} is up to date")
        return
    drawn = write_figures(report, figures)
    write(output, text)
    print(f"wrote {output} and {len(drawn)} figures in {figures}")


def _relative(path: Path, document: Path) -> str:
    """The path as a document refers to it."""
    import os

    return Path(os.path.relpath(path, document.parent)).as_posix()


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="models, attacks, datasets or plugins")],
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """List what is registered, and whether it can run."""
    from robench.datasets import look_first_in
    from robench.inventory import inventory, table_lines

    if data_dir is not None:
        look_first_in(data_dir)
    rows = inventory(what, models_dir)
    if json:
        print(jsonlib.dumps(rows, indent=1))
        return
    for line in table_lines(rows):
        print(line)


@app.command()
def train(
    recipes: Annotated[list[str], typer.Argument(help="Model ids or recipe.toml files.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder of folders for the weights; beside the recipe.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what is unfinished; keep what is finished.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Drop an unfinished training and begin anew.")
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Write TensorBoard's events into this folder too.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Train models from their recipes."""
    from robench.datasets import look_first_in
    from robench.training import Display, find_recipe
    from robench.training import train as run_training
    from robench.zoo import training_folder

    if resume and restart:
        raise UsageError("--resume and --restart exclude each other")
    if data_dir is not None:
        look_first_in(data_dir)
    for path, recipe in [find_recipe(name) for name in recipes]:
        name = f"{path.parent.parent.name}/{path.parent.name}"
        with Display(name, recipe.training.epochs) as display:
            card = run_training(
                recipe,
                training_folder(path) if output is None else output / name,
                display.row,
                start="resume" if resume else "restart" if restart else "new",
                advance=display.advance,
                events=None if tensorboard is None else tensorboard / name,
            )
        print(f"{name}  trained, clean accuracy {card.about.clean_accuracy:.1%}")


data = typer.Typer(help="Data sets on this machine.", no_args_is_help=True)
app.add_typer(data, name="data")


@data.command("download")
def data_download(
    names: Annotated[list[str], typer.Argument(help="Data sets, e.g. cifar10.")],
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder for them; the cache by default.")
    ] = None,
) -> None:
    """Fetch data sets from their publishers."""
    from robench.datasets import download, find_dataset

    for dataset in [find_dataset(name) for name in names]:
        print(f"{dataset.name} is in {download(dataset, data_dir)}")


@app.command()
def doctor() -> None:
    """Show versions, devices, plug-ins and known traps."""
    from robench.doctor import examine

    sound = True
    for finding in examine():
        print(finding.text, flush=True)
        sound = sound and finding.sound
    if not sound:
        raise typer.Exit(1)


def main() -> None:
    """Run a command; an error of robench is one line and its exit code."""
    for stream in (sys.stdout, sys.stderr):  # a terminal without ε gets a stand-in for it
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = app(standalone_mode=False)
    except RobenchError as error:
        print(f"robench: {error}", file=sys.stderr)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"robench: {error.strerror or error}{where}", file=sys.stderr)
        code = UsageError.exit_code
    except Exception as error:
        # click's own errors have it: a wrong flag, a missing argument
        text = getattr(error, "format_message", None)
        if text is None:
            raise
        print(f"robench: {text()}", file=sys.stderr)
        code = UsageError.exit_code
    if code == INTERRUPTED:  # typer itself turns an interrupt into this code
        command = next(iter(sys.argv[1:]), "")
        print("; ".join(["robench: interrupted", *_KEPT.get(command, ())]), file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)
