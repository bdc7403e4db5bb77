"""How often the checks call an honest network suspect or invalid."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

import robench
from robench.checks import OF_MODELS
from robench.compat import snntorch
from robench.reporting.report import verdict_text
from robench.results.metrics import wilson
from studies.honest_networks import ANN, SPIKING, trained
from studies.pages import markdown_table, page, read_table, write_table

NAME = "false-alarms"
SEEDS = range(100, 105)
"""Of the networks; no threshold was chosen with them, and no test uses them."""
SWEPT = SEEDS[0]
LEAST = 0.6
"""The clean accuracy below which a network is left out, the only reason for that."""
IMAGES = 64
ATTACKS = ("fgsm", "pgd", "spgd")
VERDICTS = ("unchecked", "valid", "suspect", "invalid")
COLUMNS: dict[str, type] = {
    "kind": str,
    "style": str,
    "seed": int,
    "accuracy": float,
    "attack": str,
    "check": str,
    "value": float,
    "threshold": float,
    "verdict": str,
    "reason": str,
}
"""A row for each check; ``attack`` is empty for a check of the model, and ``check`` for a network
that is left out."""


def measure_all() -> pd.DataFrame:
    """Train and check all networks, by :data:`COLUMNS`."""
    rows: list[tuple[object, ...]] = []
    for kind, styles in (("ann", ANN), ("stbp", SPIKING)):
        for style, make in styles.items():
            for seed in SEEDS:
                net, accuracy = trained(make, seed)
                print(f"{style}, seed {seed}: {accuracy:.1%}", file=sys.stderr)
                about = (kind, style, seed, accuracy)
                if accuracy < LEAST:
                    rows.append((*about, "", "", 0.0, 0.0, "unchecked", ""))
                    continue
                model = robench.Model(net, dataset="digits", mode=kind)
                rows += ((*about, *row) for row in _checks(model, swept=seed == SWEPT))
                snntorch.forget(net)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _checks(model: robench.Model, *, swept: bool) -> Iterator[tuple[object, ...]]:
    """Attack, name, figure, threshold, verdict and reason of each check."""
    frame = robench.check(model, limit=IMAGES).to_frame()
    names = [check.name for check in OF_MODELS]
    frames = [frame[frame["check"].isin(names)].assign(attack="")]
    if swept:
        found = robench.evaluate(model, ATTACKS, limit=IMAGES, checks="full", progress=False)
        frame = found.checks().to_frame()
        frames.append(frame[~frame["check"].isin(names)])
    yield from pd.concat(frames)[list(COLUMNS)[4:]].itertuples(index=False)


def read(path: Path) -> pd.DataFrame:
    """The table of :func:`write_table`."""
    return read_table(path, COLUMNS)


def false_alarms_page(table: pd.DataFrame) -> str:
    """The page."""
    networks = table.drop_duplicates(["style", "seed"])
    kept = networks[networks["check"] != ""]
    of_models = table[(table["attack"] == "") & (table["check"] != "")]
    verdicts = of_models.groupby(["style", "seed"], sort=False)["verdict"].agg(_worst)
    text = [
        f"{len(kept)} small networks of {kept['style'].nunique()} styles were trained on digits "
        f"with the seeds {SEEDS[0]} to {SEEDS[-1]}. The lowest accuracy on the test images is "
        f"{kept['accuracy'].min():.1%}. Left out are networks below {LEAST:.0%}, "
        f"{len(networks) - len(kept)} here, and no others. The styles are in "
        "`studies/honest_networks.py`.",
        "",
        f"## Checks of a model, on {IMAGES} images",
        "",
        *_shares(verdicts),
        "",
        "The largest figure is relative to the threshold, above which a check alarms; where the "
        "threshold is 0 it is the figure itself.",
        "",
        *_by_check(of_models),
        "",
        f"## Styles, and a sweep of the network with seed {SWEPT} on {IMAGES} images",
        "",
        "The verdicts of the attacks are those of `--checks full`, also of those that compare "
        "attacks. "
        "Of a spiking network only that of `spgd` counts: where its own surrogate hides "
        "adversarial examples, a *suspect* `fgsm` or `pgd` is true.",
        "",
        *_by_style(table, verdicts),
        "",
    ]
    return page(NAME, "False alarms", "\n".join(text))


def _worst(verdicts: pd.Series[str]) -> str:
    return max(verdicts, key=VERDICTS.index, default="valid")


def _shares(verdicts: pd.Series[str]) -> list[str]:
    """How many networks are suspect and invalid, with Wilson's interval."""
    rows = []
    for verdict in ("suspect", "invalid"):
        count, n = int((verdicts == verdict).sum()), len(verdicts)
        interval = wilson(count, n)
        between = f"{interval.low:.1%} to {interval.high:.1%}"
        rows.append([verdict, f"{count} of {n}", f"{count / n:.1%}", between])
    return markdown_table(["verdict", "networks", "share", "95 % interval"], rows, words=1)


def _by_check(table: pd.DataFrame) -> list[str]:
    """Alarms and the largest figure of each check."""
    rows: list[list[str]] = []
    for name, part in table.groupby("check", sort=False):
        values, limits = (part[column].to_numpy(np.float64) for column in ("value", "threshold"))
        relative = values / np.where(limits > 0, limits, 1)
        at = int(relative.argmax())
        of = f"{part['style'].iloc[at]}, seed {part['seed'].iloc[at]}" if relative[at] > 0 else ""
        alarms = int((part["verdict"] != "valid").sum())
        rows.append([f"`{name}`", of, str(len(part)), str(alarms), f"{relative[at]:.3g}"])
    head = ["check", "of the largest figure", "networks", "alarms", "largest figure"]
    return markdown_table(head, rows, words=2)


def _by_style(table: pd.DataFrame, verdicts: pd.Series[str]) -> list[str]:
    """Accuracies and verdicts of each style."""
    rows = []
    for (kind, style), part in table.groupby(["kind", "style"], sort=False):
        accuracy = part["accuracy"]
        alarms = int((verdicts[verdicts.index.get_level_values(0) == style] != "valid").sum())
        swept = part[(part["seed"] == SWEPT) & (part["check"] != "")]
        cells = []
        for attack in ATTACKS:
            found = swept[swept["attack"].isin(["", attack])]
            reasons = [reason for reason in found["reason"] if reason]
            cells.append(verdict_text(_worst(found["verdict"]), reasons))
        counts = str(part["seed"].nunique()), str(alarms)
        between = f"{accuracy.min():.1%} to {accuracy.max():.1%}"
        rows.append([str(kind), str(style), *cells, *counts, between])
    words = ["mode", "style", *(f"`{attack}`" for attack in ATTACKS)]
    return markdown_table([*words, "networks", "alarms", "accuracy"], rows, words=len(words))


def make_table(path: Path) -> None:
    """Train, check and write the table."""
    write_table(measure_all(), path)
