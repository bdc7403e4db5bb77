"""Measure, print and write: ``python -m performance [gradient|sweep|workers …]``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from performance.checkpoints import available, load_model, weights_of
from performance.machine import describe, today
from performance.options import PARTS, Options
from performance.report import render
from performance.strength_page import FIGURE, draw
from performance.timing import prepare
from robench import find_attack
from robench.atomic import replacing
from robench.epsilon import parse_grid
from robench.errors import RobenchError, UsageError
from robench.reporting.figures import save_figure

HERE = Path(__file__).parent
LISTS = {
    "sweep": ("tables", ("model", "images")),
    "search": ("rows", ("model", "attack")),
    "overhead": ("rows", ("model", "attack", "images")),
    "checks": ("rows", ("model", "images")),
    "strength": ("tables", ("model", "images", "epsilon")),
}
"""The parts that keep entries of an earlier run: their list, and the keys of an entry."""
SAME = ("steps", "batch", "search_images")
"""The options in which such entries must agree."""
GIVEN = (
    "repetitions", "stbp", "ann", "images", "sweep_repetitions", "search", "peers",
    "strength_images", "strength_eps",
)  # fmt: skip
"""The options that are copied from the command line if they are given."""


def main() -> int:
    """Run the selected parts; an error of the user is one line."""
    try:
        return _main()
    except RobenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _main() -> int:
    """The numbers of earlier runs on this machine stay in the page."""
    arguments = _arguments()
    folder: Path = arguments.output
    if arguments.render:
        if not (folder / "results.json").is_file():
            sys.exit(f"{folder / 'results.json'}: no such file; measure first")
        return _write(folder, json.loads((folder / "results.json").read_text("utf-8")))
    options = _options(arguments)
    _require(options, arguments.parts or PARTS)
    prepare(options.threads)
    results = _earlier(folder, options)
    for part in arguments.parts or PARTS:
        start = time.monotonic()
        print(f"{part} …", file=sys.stderr, flush=True)
        for measured in importlib.import_module(f"performance.{part}").measure(options):
            facts = {"date": today(), "seconds": time.monotonic() - start}
            found = stamped(part, measured) | facts | {"options": asdict(options)}
            results[part] = with_others(part, found, results.get(part))
            _write(folder, results)  # an interrupted run keeps its results
            print(f"  {time.monotonic() - start:6.0f} s", file=sys.stderr, flush=True)
    print((folder / "README.md").read_text("utf-8"))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m performance", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does all work? minutes")
    parser.add_argument("--render", action="store_true", help="write README.md again, no more")
    parser.add_argument(
        "--output",
        type=Path,
        default=None,
        help="folder of README and results; performance/ by default",
    )
    cores = os.cpu_count() or 1
    parser.add_argument("--threads", type=int, default=cores, help=f"of each; {cores} here")
    parser.add_argument("--repetitions", type=int, help="of a gradient step, cell and bare call")
    parser.add_argument("--model", action="append", help="step through this checkpoint too")
    parser.add_argument(
        "--stbp", help="spiking checkpoint of sweep, overhead, growth and strength; '' for none"
    )
    parser.add_argument("--ann", help="checkpoint without spikes; '' for none")
    parser.add_argument("--images", type=int, help="of a sweep")
    parser.add_argument("--sweep-repetitions", type=int, help="of a whole sweep; 1 by default")
    parser.add_argument("--search", help="ID:ATTACK,… whose searches are compared")
    parser.add_argument("--strength-images", type=int, help="of the strength part")
    parser.add_argument(
        "--strength-eps",
        help="its ε, such as 8/255; by default 1/255 on CIFAR-10, else the headline",
    )
    parser.add_argument("--peers", help="attack libraries to sweep with, e.g. Foolbox,ART")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    arguments.peers = _listed(arguments.peers)
    if unknown := set(arguments.peers or ()) - set(Options.peers):
        parser.error(f"--peers: no such library: {', '.join(sorted(unknown))}")
    arguments.search = _listed(arguments.search)
    for pair in arguments.search or ():
        if not all(pair.partition(":")):
            parser.error(f"--search: {pair!r} is not of the form ID:ATTACK")
    for name in ("threads", "repetitions", "images", "sweep_repetitions", "strength_images"):
        if (value := getattr(arguments, name)) is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')}: at least one is needed")
    if arguments.output is None:
        arguments.output = Path("out/performance") if arguments.quick else HERE
    return arguments


def _listed(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(filter(None, text.split(",")))


def _options(arguments: argparse.Namespace) -> Options:
    options = Options(threads=arguments.threads)
    if arguments.quick:
        options = options.quickly()
    changes: dict[str, Any] = {
        name: getattr(arguments, name) for name in GIVEN if getattr(arguments, name) is not None
    }
    if arguments.model:
        changes["models"] = tuple(arguments.model)
    return replace(options, **changes)


def _require(options: Options, parts: Sequence[str]) -> None:
    """Refuse what is not available before anything is measured.

    Raises:
        RobenchError: a model or an attack is unknown, or has no weights.
    """
    if "gradient" in parts:
        for model_id in options.models:
            load_model(model_id)
    if "search" in parts:
        for model_id, _, attack in (pair.partition(":") for pair in options.search):
            load_model(model_id)
            find_attack(attack)
    if "growth" in parts and not options.stbp:
        raise UsageError("growth is measured on a spiking checkpoint: name one with --stbp")
    if "strength" in parts and len(parse_grid(("0", options.strength_eps or "1/255"))) < 2:
        raise UsageError("--strength-eps: an ε above 0 is needed")
    swept = options.roles if {"sweep", "overhead", "strength"} & set(parts) else ()
    grown = (options.stbp,) if "growth" in parts else ()
    for model_id in (*(model_id for _, model_id in swept), *grown):
        available(model_id)


def _earlier(folder: Path, options: Options) -> dict[str, Any]:
    """The earlier results of this machine and these versions; others are dropped."""
    fresh: dict[str, Any] = {
        "machine": describe(options.threads),
        "quick": options.quick,
    }
    path = folder / "results.json"
    if not path.is_file():
        return fresh
    earlier = json.loads(path.read_text("utf-8"))
    if any(earlier.get(key) != fresh[key] for key in ("machine", "quick")):
        print("earlier results are of another machine or version: dropped", file=sys.stderr)
        return fresh
    return earlier | fresh


def stamped(part: str, measured: dict[str, Any]) -> dict[str, Any]:
    """The results of a part, with the digest of the weights in each entry of a checkpoint."""
    name = LISTS[part][0] if part in LISTS else "rows"
    entries = [
        entry | ({"weights": weights_of(entry["model"])} if entry["model"] else {})
        for entry in measured[name]
    ]
    return measured | {name: entries}


def with_others(part: str, found: dict[str, Any], earlier: dict[str, Any] | None) -> dict[str, Any]:
    """The results of a part, with the entries of an earlier run that it did not measure again.

    Entries of other weights than the checkpoint's present ones are left out.
    """
    if part not in LISTS or earlier is None:
        return found
    if any(found["options"][name] != earlier["options"][name] for name in SAME):
        return found
    name, keys = LISTS[part]
    measured = {tuple(entry[key] for key in keys) for entry in found[name]}
    others = [e for e in earlier[name] if tuple(e[key] for key in keys) not in measured]
    kept = [e for e in others if e["weights"] == weights_of(e["model"])]
    return found | {name: kept + found[name]}


def _write(folder: Path, results: dict[str, Any]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False)
    for name, content in (("results.json", text + "\n"), ("README.md", render(results))):
        with replacing(folder / name) as temporary:
            temporary.write_text(content, "utf-8")
    if "strength" in results:
        save_figure(draw, results["strength"], folder / FIGURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
