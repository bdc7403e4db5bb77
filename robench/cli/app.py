"""All commands of ``robench``; the short ones are defined here."""

from __future__ import annotations

import json as jsonlib
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from robench.cli.analyze import analyze
from robench.cli.check import check
from robench.cli.exits import CELLS_KEPT, run_app
from robench.cli.leaderboard import leaderboard
from robench.cli.new import new
from robench.cli.options import (
    DataDir,
    Device,
    Json,
    ModelsDir,
    folder_at,
    look_in,
    require_writable,
)
from robench.cli.run import run
from robench.cli.show import compare, show
from robench.cli.validate import validate
from robench.errors import UsageError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(analyze, name="analyze")
app.add_typer(new, name="new")
_KEPT = {
    "run": CELLS_KEPT,
    "train": "finished epochs are kept, and the same command with --resume continues",
    "analyze estimators": CELLS_KEPT,
    "analyze transfer": CELLS_KEPT,
    "analyze landscape": "finished models are kept",
}
"""What an interrupted command leaves behind."""


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
    """Adversarial-robustness benchmark for spiking networks and ANNs."""


app.command()(run)
app.command()(check)
app.command()(leaderboard)
app.command()(validate)
app.command()(show)
app.command()(compare)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="models, attacks, datasets or plugins")] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="List the attacks of foolbox and advertorch too.")
    ] = False,
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """List what is registered, and whether it can run."""
    from robench.cli.inventory import inventory, overview, table_lines

    look_in(None, data_dir)
    rows = inventory(what, models_dir, everything=everything) if what else overview(models_dir)
    if json:
        print(jsonlib.dumps(rows, indent=1))
        return
    for line in table_lines(rows):
        print(line)


@app.command()
def train(
    recipes: Annotated[list[str], typer.Argument(help="Model ids or recipe.toml files.")],
    output: Annotated[
        Path | None,
        typer.Option(
            parser=folder_at("--output"),
            metavar="FOLDER",
            help="Folder of folders for the weights; beside the recipe by default.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue what is unfinished; keep what is finished.")
    ] = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Start again; drop what is unfinished and replace what is finished."
        ),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="<int>",
            help="Another seed than the recipe's; without --output it goes into seeds/SEED.",
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            parser=folder_at("--tensorboard"),
            metavar="FOLDER",
            help="Write TensorBoard's events into this folder too.",
        ),
    ] = None,
    device: Device = "auto",
    data_dir: DataDir = None,
) -> None:
    """Train models from their recipes."""
    from robench.registry import seed_folder, training_folder
    from robench.training import SEEDS, Display, find_recipe, finished
    from robench.training import train as run_training

    if resume and restart:
        raise UsageError("--resume and --restart exclude each other")
    if seed is not None and seed >= SEEDS:
        raise UsageError(f"--seed {seed}: a seed lies below {SEEDS}")
    look_in(None, data_dir)
    plan = {}
    for path, recipe in [find_recipe(name) for name in recipes]:
        name = f"{path.parent.parent.name}/{path.parent.name}"
        target = training_folder(path) if output is None else output / name
        if seed not in (None, recipe.training.seed):
            recipe = recipe.with_seed(seed)
            target = seed_folder(target, seed) if output is None else target
        require_writable("--output", target)
        if target in plan:
            raise UsageError(f"two of these recipes would be trained into {target}")
        plan[target] = name, recipe
    for target, (name, recipe) in plan.items():
        if resume and (card := finished(recipe, target)) is not None:
            print(f"{name}  kept, clean accuracy {card.about.clean_accuracy:.1%}")
            continue
        with Display(name, recipe.training.epochs) as display:
            card = run_training(
                recipe,
                target,
                display.row,
                start="resume" if resume else "restart" if restart else "new",
                advance=display.advance,
                events=None if tensorboard is None else tensorboard / name,
                device=device,
            )
        print(f"{name}  trained, clean accuracy {card.about.clean_accuracy:.1%}")


data = typer.Typer(help="Data sets on this machine.", no_args_is_help=True)
app.add_typer(data, name="data")


@data.command("download")
def data_download(
    names: Annotated[list[str], typer.Argument(help="Data sets, e.g. cifar10.")],
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            parser=folder_at("--data-dir"),
            metavar="FOLDER",
            help="Folder for them; the cache by default.",
        ),
    ] = None,
) -> None:
    """Fetch data sets from their publishers."""
    from robench.datasets import download, find_dataset

    for dataset in [find_dataset(name) for name in names]:
        print(f"{dataset.name} is in {download(dataset, data_dir)}")


@app.command()
def doctor() -> None:
    """Show versions, devices, plug-ins and known traps."""
    from robench.cli.doctor import examine

    sound = True
    for finding in examine():
        print(finding.text, flush=True)
        sound = sound and finding.sound
    if not sound:
        raise typer.Exit(1)


def main() -> None:
    """Run a command; an error of robench is one line and its exit code."""
    run_app(app, "robench", _KEPT)
