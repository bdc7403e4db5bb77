"""The options that several commands share, and how their texts are read."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from robench.epsilon import Epsilon, parse_part
from robench.errors import UsageError

if TYPE_CHECKING:
    from robench.results import Damaged

RESULTS, OWN = Path("results"), Path("out")
"""Where results go by default, and those of own models where ``results`` are the published ones."""
FIGURES = Path("results/figures")
"""Where figures go by default: those of other results go beside them."""


def folder_at(option: str) -> Callable[[str | Path], Path]:
    """The reader of an option that names a folder, which need not exist.

    It raises a UsageError if the text is empty, or if the path or a part of it is a file.
    """

    def read(text: str | Path) -> Path:
        path = _path(option, text)
        if path.exists() and not path.is_dir():
            raise UsageError(f"{option} {path}: this is a file; name a folder")
        return path

    return read


def store_at(option: str) -> Callable[[str | Path], Path]:
    """:func:`folder_at` for a folder that is written to while a network is at work.

    The path is absolute, since a network may change the working folder.
    """
    read = folder_at(option)
    return lambda text: read(text).absolute()


def shown(path: Path) -> Path:
    """A path as the user would write it: from the current folder, if it lies there."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def file_at(option: str) -> Callable[[str | Path], Path]:
    """The reader of an option that names a file, which need not exist.

    It raises a UsageError if the text is empty or a folder, or if a part of the path is a file.
    """

    def read(text: str | Path) -> Path:
        path = _path(option, text)
        if path.is_dir():
            raise UsageError(f"{option} {path}: this is a folder; name a file")
        return path

    return read


def _path(option: str, text: str | Path) -> Path:
    if not str(text).strip():
        raise UsageError(f"{option} is empty; give a path, or leave the option out")
    path = Path(text)
    above = next((parent for parent in path.parents if parent.exists()), None)
    if above is not None and not above.is_dir():
        raise UsageError(f"{option} {path}: {above} is a file, so nothing can lie in it")
    return path


def require_writable(option: str, path: Path) -> None:
    """Refuse a folder or file that cannot be written to, before anything is computed.

    Raises:
        UsageError: nothing can be written there.
    """
    places = [path] if path.is_dir() else path.parents
    place = next((place for place in places if place.exists()), None)
    if place is not None and not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {path}: cannot write into {place}; choose another place")


def require_results(folder: Path) -> None:
    """Refuse a folder without results.

    Raises:
        UsageError: nothing is stored there.
    """
    if not any(folder.glob("*/*/*/*.json")):
        raise UsageError(f"there are no results in {shown(folder)}; make them with: robench run")


def print_damaged(damaged: Iterable[Damaged]) -> None:
    """Name the files that are not believed on stderr."""
    for file in damaged:
        print(f"left out, damaged: {file.path}: {file.reason}", file=sys.stderr)


_MOST_ROWS = 10**6

ModelsDir = Annotated[
    Path | None,
    typer.Option(
        "--models-dir",
        parser=folder_at("--models-dir"),
        metavar="FOLDER",
        help="Look for checkpoints here first.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        parser=folder_at("--data-dir"),
        metavar="FOLDER",
        help="Look for data sets here first.",
    ),
]
Results = Annotated[
    Path,
    typer.Option(
        "--results", parser=store_at("--results"), metavar="FOLDER", help="Folder of the results."
    ),
]


def _beside_results(context: typer.Context, output: Path) -> Path:
    """The folder of the figures: that of the option, or ``figures`` in that of the results."""
    source = context.get_parameter_source("output")
    given = source is not None and source.name != "DEFAULT"
    if not given and "results" in context.params:
        return Path(context.params["results"]) / "figures"
    return output


Figures = Annotated[
    Path,
    typer.Option(
        "--output",
        parser=folder_at("--output"),
        callback=_beside_results,
        metavar="FOLDER",
        show_default="figures in --results",
        help="Folder of the figures.",
    ),
]
FigureFormat = Annotated[
    Literal["png", "svg", "pdf"], typer.Option("--format", help="Of the figures.")
]
EXAMPLES = Path("out/examples")
"""Where the adversarial examples that an analysis needs are kept by default."""
Examples = Annotated[
    Path,
    typer.Option(
        "--examples",
        parser=store_at("--examples"),
        metavar="FOLDER",
        help="Folder of the adversarial examples; missing ones are computed.",
    ),
]
OneEpsilon = Annotated[
    str | None, typer.Option("--eps", help="ε of the attack; the data set's headline by default.")
]
NoRun = Annotated[bool, typer.Option("--no-run", help="Draw what is stored; compute nothing.")]
Models = Annotated[str, typer.Option(help="all, ids or globs, with commas.")]
AnyModels = Annotated[
    str, typer.Option(help="all, ids, globs, folders, module:function or file.py:function.")
]
Epsilons = Annotated[str, typer.Option(help="One or more ε with commas, each attacked separately.")]
DatasetName = Annotated[
    str | None, typer.Option(help="Keep the models of this data set; or your own, file.py:make.")
]
Limit = Annotated[
    str | None, typer.Option(help="How many test images: a count, or a share such as 10%.")
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda or cuda:1; auto takes CUDA if there is any.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def split_patterns(text: str) -> list[str]:
    """The parts of a value of ``--models``."""
    return [part.strip() for part in text.split(",") if part.strip()]


def look_in(dataset: str | None, data_dir: Path | None) -> str | None:
    """Look for images in ``data_dir`` first; returns the name of the data set, if one is given.

    Raises:
        UsageError: there is no such data set or folder.
    """
    from robench.datasets import find_dataset, look_first_in

    if data_dir is not None:
        look_first_in(data_dir)
    return None if dataset is None else find_dataset(dataset).name


def split_epsilons(text: str) -> tuple[Epsilon, ...]:
    """Read the ε of ``--eps``.

    Raises:
        UsageError: the text is empty, or a part is not an ε.
    """
    if not text.strip():
        raise UsageError("the list of ε is empty; write it like --eps 0,4/255,8/255")
    return tuple(epsilon for part in text.split(",") for epsilon in parse_part(part))


def require_one_epsilon(text: str) -> Epsilon:
    """Read an ``--eps`` of one ε.

    Raises:
        UsageError: it is not an ε above 0, or there is more than one.
    """
    epsilons = split_epsilons(text)
    if len(epsilons) != 1 or epsilons[0].value == 0:
        raise UsageError(f"--eps {text}: give one ε above 0")
    return epsilons[0]


def rows_of_a_call(text: str) -> int:
    """The value of ``--batch-size`` as a number of rows."""
    try:
        rows = int(text)
    except ValueError:
        raise UsageError(f"--batch-size {text!r} is neither auto nor an integer") from None
    if not 1 <= rows <= _MOST_ROWS:
        raise UsageError(f"--batch-size {rows}: a batch has from 1 to {_MOST_ROWS:,} rows")
    return rows
