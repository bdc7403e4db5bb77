"""``robench show`` and ``robench compare``: what is registered or stored, in the terminal."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robench.cli.options import DatasetName, Json, ModelsDir, Results, look_in, print_damaged, shown
from robench.errors import UsageError, nearest

if TYPE_CHECKING:
    from robench.registry import ModelEntry
    from robench.reporting.terminal.comparison import Key, Pair
    from robench.results import Check, ResultStore, Sound


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|ATTACK|RESULT",
            help="A model, an attack, or a result: MODEL/ATTACK, a hash, its file or a folder.",
        ),
    ],
    results: Results = Path("results"),
    models_dir: ModelsDir = None,
    dataset: DatasetName = None,
    json: Json = False,
) -> None:
    """Show a model, an attack, or a result.

    A model with its card and results, an attack with its parameters, or a result with its curve
    and checks, as MODEL/ATTACK.
    """
    from robench.reporting.terminal.find import has_results, newest, result_paths, store_of
    from robench.results import ResultStore

    look_in(dataset, None)
    if Path(name).is_dir() and has_results(Path(name)):
        _print_results(ResultStore(Path(name)), json=json)
        return
    store = ResultStore(results)
    paths = result_paths(name, store)
    entry = _model(name, models_dir, dataset)
    if entry is not None or (paths and name.count("/") == 1 and paths[0] != Path(name)):
        _show_model(entry, store, paths, json=json)
        return
    if found := newest(paths, store):
        _print_result(found, store_of(paths[0], store), json=json)
        return
    _show_attack(name, store, json=json)


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A result, or a folder of results.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    results: Results = Path("results"),
    json: Json = False,
) -> None:
    """Compare two results or folders, image by image.

    Prints paired differences on the same images, with intervals.
    """
    from robench.reporting.terminal.comparison import Pair, folder_lines, pair_lines
    from robench.reporting.terminal.find import cells_of, has_results, one_result
    from robench.results import ResultStore
    from robench.results.paired import paired

    folders = [Path(name) for name in (first, second) if has_results(Path(name))]
    if len(folders) == 1:
        other = second if folders[0] == Path(first) else first
        raise UsageError(f"{other!r} is no folder of results; compare two folders or two results")
    if not folders:
        store = ResultStore(results)
        (one, of_one), (two, of_two) = (one_result(name, store) for name in (first, second))
        beside = _checks_beside(one, of_one), _checks_beside(two, of_two)
        pair = Pair(one.cell, two.cell, paired(one, two), beside)
        _print([_pair_data(pair)] if json else None, pair_lines(pair))
        return
    left, right = (cells_of(folder) for folder in folders)
    pairs: dict[Key, Pair] = {}
    refused: dict[Key, str] = {}
    for key in sorted(left.keys() & right.keys()):
        try:
            found = paired(left[key], right[key])
            pairs[key] = Pair(left[key].cell, right[key].cell, found)
        except UsageError as error:
            refused[key] = str(error)
    if not pairs and not refused:
        raise UsageError(f"{first} and {second} share no model, attack and seed")
    data = [_pair_data(pair) for pair in pairs.values()]
    alone = len(left.keys() - right.keys()), len(right.keys() - left.keys())
    _print(data if json else None, folder_lines(pairs, refused, alone))
    if not pairs:
        raise typer.Exit(1)


def _pair_data(pair: Pair) -> dict[str, object]:
    cells = [
        {"model": c.model, "attack": c.attack, "hash": c.hash} for c in (pair.first, pair.second)
    ]
    found = pair.paired
    return {
        "first": cells[0],
        "second": cells[1],
        "accuracy": [
            {"epsilon": e.text, **asdict(d), "difference": d.value}
            for e, d in zip(found.epsilons, found.accuracies, strict=True)
        ],
        "auc": {"limit": found.limit.text, **asdict(found.auc), "difference": found.auc.value},
    }


def _print(data: object, lines: Iterator[str]) -> None:
    """Print data as JSON, or lines without data."""
    if data is not None:
        print(jsonlib.dumps(data, indent=1, ensure_ascii=False))
        return
    for line in lines:
        print(line)


def _model(name: str, models_dir: Path | None, dataset: str | None) -> ModelEntry | None:
    """The model of that name, or None."""
    from robench.registry import model_entries, select_models
    from robench.registry.patterns import is_glob

    function = ":" in name and not _is_of_a_library(name) and not _is_attack(name)
    if name in model_entries(models_dir) or function or Path(name).is_dir():
        found = select_models([name], dataset=dataset, models_dir=models_dir)
        return found[0]
    if is_glob(name) and "[" not in name:
        raise UsageError(f"{name!r}: show takes one model; see: robench list models")
    return None


def _is_of_a_library(name: str) -> bool:
    """Whether a name with a colon is that of another library's attack."""
    from robench.attacks.backends import LIBRARIES

    return name.partition(":")[0] in LIBRARIES


def _is_attack(name: str) -> bool:
    """Whether a name is that of an attack's class in a file."""
    from robench.attacks import Attack
    from robench.registry.attack_classes import is_file
    from robench.user_code import imported

    if not is_file(name):
        return False
    with imported(name.partition("[")[0]) as found:
        return isinstance(found, type) and issubclass(found, Attack)


def _show_model(
    entry: ModelEntry | None, store: ResultStore, paths: list[Path], *, json: bool
) -> None:
    """Print a model and its results."""
    from robench.cli.inventory import model_state
    from robench.reporting.terminal.cards import model_lines

    if entry is not None:
        state = model_state(entry)
        if json:
            card = entry.card.model_dump(mode="json", exclude_none=True) if entry.card else {}
            print(jsonlib.dumps({"id": str(entry.id), "state": state} | card, indent=1))
            return
        for line in model_lines(entry, state):
            print(line)
        print()
        if not paths:
            again = f"robench run --models {entry.pattern} --attacks spgd --output out"
            print(f"no results in {shown(store.root)}; make them with: {again}")
            return
    _print_results(store, paths, json=json)


def _show_attack(name: str, store: ResultStore, *, json: bool) -> None:
    """Print an attack.

    Raises:
        UsageError: there is no attack, model or result of that name.
    """
    from robench.registry import attack_names, find_attack, model_entries
    from robench.reporting.terminal.cards import attack_lines

    known = name.partition("[")[0]
    if known not in attack_names() and ":" not in known:
        results = {path.parent.relative_to(store.root).as_posix(): None for path in store.paths()}
        near = nearest(name, [*results, *attack_names(), *map(str, model_entries())])
        raise UsageError(
            f"{name!r} is no model or attack, and no result in {shown(store.root)}{near}; see: "
            "robench list"
        )
    named = find_attack(name)
    data = {
        "attack": named.name,
        "description": named.description,
        "norm": named.attack.norm,
        "implementation": named.implementation,
        "version": named.version,
        "parameters": named.parameters,
    }
    _print(data if json else None, attack_lines(named))


def _print_results(
    store: ResultStore, paths: list[Path] | None = None, *, json: bool = False
) -> None:
    """Print the results at some paths of a store, or all of them: a line each."""
    from robench.reporting.cells import read_results
    from robench.reporting.terminal.lines import all_lines

    found = read_results(store, paths)
    if json:
        print(jsonlib.dumps([cell.model_dump(mode="json", by_alias=True) for cell in found.cells]))
        return
    for line in all_lines(found.cells, found.compared, hashes=True):
        print(line)
    print_damaged(found.damaged)


def _print_result(found: Sound, store: ResultStore, *, json: bool) -> None:
    """Print one result with its curve and checks."""
    from robench.reporting.terminal.bars import fits
    from robench.reporting.terminal.cards import result_lines

    if json:
        print(found.cell.model_dump_json(by_alias=True, indent=1))
        return
    checks = _checks_beside(found, store)
    for line in result_lines(found.cell, checks, plain=not fits(sys.stdout.encoding)):
        print(line)


def _checks_beside(found: Sound, store: ResultStore) -> Sequence[Check]:
    from robench.reporting.cells import read_results

    beside = read_results(store, list(store.paths(model=found.cell.model)))
    return beside.compared.get(found.cell.hash, ())
