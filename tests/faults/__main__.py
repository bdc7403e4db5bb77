"""Make random faults and write what came of them."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults.kinds import SLOW, Fault, shares
from tests.faults.scene import Scene


@dataclass
class Tally:
    """What came of the faults of a kind."""

    kind: str
    faults: int
    seconds: float
    problems: list[str]


def make(scene: Scene, name: str, fault: Fault, count: int, rng: random.Random) -> Tally:
    """Make some faults of a kind, each in a folder of its own, which is kept after a problem."""
    tally, start = Tally(name, 0, 0.0, []), time.monotonic()
    for number in range(count):
        output = scene.folder / f"{name.replace('/', ' ')} {number}"
        scene.problems.clear()
        kept = fault(scene, output, random.Random(rng.random()))
        scene.settle(output, kept)
        scene.orphans({os.getpid()})
        tally.faults += 1
        tally.problems += [f"{output.name}: {problem}" for problem in scene.problems]
        if not scene.problems:
            shutil.rmtree(output)
    tally.seconds = time.monotonic() - start
    return tally


def main() -> int:
    """Exit code 1 if anything did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="of all faults, about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="the kinds whose name contains this")
    parser.add_argument("--quick", action="store_true", help="no kind that starts processes")
    parser.add_argument("--output", type=Path, help="JSON file of the tallies")
    arguments = parser.parse_args()
    rng, tallies = random.Random(arguments.seed), []
    where = Path(tempfile.mkdtemp(prefix="robench-faults-"))
    scene = Scene.prepare(where)
    for name, fault, count in shares(arguments.count):
        if arguments.only in name and not (arguments.quick and fault in SLOW):
            tallies.append(tally := make(scene, name, fault, max(1, count), rng))
            print(f"{name:50} {tally.faults:4} {tally.seconds:6.0f} s", file=sys.stderr)
            for problem in tally.problems:
                print(f"  {problem}", file=sys.stderr, flush=True)
    if arguments.output is not None:
        facts = {"seed": arguments.seed, "kinds": [asdict(tally) for tally in tallies]}
        arguments.output.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    bad = sum(len(tally.problems) for tally in tallies)
    print(f"{sum(tally.faults for tally in tallies)} faults, {bad} problems; {where}")
    if not bad:
        shutil.rmtree(where)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
