"""The commands of ``python -m studies``."""

from __future__ import annotations

import typer

from robench.cli.exits import CELLS_KEPT, run_app
from studies import cell_commands, page_commands

app = typer.Typer(
    help="The experiments of this repository.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
CELLS = (
    cell_commands.strength,
    cell_commands.doubling,
    cell_commands.gradients,
    cell_commands.timesteps,
)
PAGES = (
    page_commands.findings,
    page_commands.not_converged,
    page_commands.autoattack,
    page_commands.ablations,
    page_commands.replication,
    page_commands.seeds,
    page_commands.reliability,
    page_commands.scale,
    page_commands.false_alarms,
)
for command in (*CELLS, *PAGES):
    app.command()(command)


def main() -> None:
    """Run a command; an error of robench is one line and its exit code."""
    kept = dict.fromkeys((command.__name__ for command in CELLS), CELLS_KEPT)
    run_app(app, "python -m studies", kept)


if __name__ == "__main__":
    main()
