"""From the measured numbers to ``README.md``."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2

from performance.options import PARTS
from performance.store import STORE, store_rows
from performance.strength_page import strength_rows, strength_title
from performance.targets import (
    PLAIN,
    SEARCH,
    TITLES,
    Results,
    bound,
    excess,
    foolbox_row,
    verdicts,
    void,
)
from performance.workers import WORKERS, worker_rows

TEMPLATE = Path(__file__).with_name("README.md.j2")


def render(results: Results) -> str:
    """The README of a set of results; parts that were not run are left out."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.from_string(TEMPLATE.read_text("utf-8"))
    parts = {name: name in results for name in PARTS}
    return template.render(
        results=results,
        parts=parts,
        machine=table(("", ""), _machine(results), left=2),
        targets="" if results["quick"] or not any(parts.values()) else _targets(results),
        gradient=_gradient(results) if parts["gradient"] else "",
        rates=_rates(results) if parts["gradient"] else "",
        sameness=_sameness(results) if parts["gradient"] else "",
        convolutions=_convolutions(results) if parts["gradient"] else "",
        sweeps=[_sweep(part) for part in results["sweep"]["tables"]] if parts["sweep"] else [],
        search=_search(results) if parts["search"] else "",
        overhead=_overhead(results) if parts["overhead"] else "",
        checks=_checks(results) if parts["checks"] else "",
        users=_users(results) if parts["users"] else "",
        user_sweeps=[_sweep(part) for part in results["users"]["tables"]] if parts["users"] else [],
        growth=_growth(results) if parts["growth"] else "",
        store=table(STORE, store_rows(results["store"]), left=2) if parts["store"] else "",
        workers=table(WORKERS, worker_rows(results["workers"])) if parts["workers"] else "",
        strengths=_strengths(results) if parts["strength"] else [],
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """A Markdown table: the first columns to the left, the others to the right."""
    lines = [header, ["---" if k < left else "---:" for k in range(len(header))], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def title(row: dict[str, Any]) -> str:
    """A gradient row's network in words."""
    reset = "reset to zero" if row["reset"] == "zero" else "reset by subtraction"
    if row["model"]:
        return f"weights of {row['model']}, T = {row['timesteps']}, {reset}"
    return f"{TITLES[row['architecture']]}, {reset}"


def _machine(results: Results) -> list[tuple[str, str]]:
    dates = sorted({results[part]["date"] for part in PARTS if part in results})
    return [*results["machine"].items(), ("measured on", ", ".join(dates))]


def _targets(results: Results) -> str:
    words = {True: "met", False: "**not met**", None: "–"}
    return table(
        ("what", "target", "measured", "", "limit"),
        ((v.what, v.target, v.measured, words[v.met], v.limit) for v in verdicts(results)),
        left=5,
    )


def _gradient(results: Results) -> str:
    lines = []
    for row in results["gradient"]["rows"]:
        ours, memory = row["ms"]["robench"], row["memory_mb"]["robench"]
        for name in ("robench", SEARCH, "snnTorch", "SpikingJelly"):
            reason = "" if name.startswith("robench") else void(row, name)
            if reason:
                lines.append((title(row), name, f"void: {reason}", "", "", "", ""))
            elif name in row["ms"]:
                spread = row["all_ms"][name]
                lines.append(
                    (
                        title(row),
                        name,
                        f"{row['ms'][name]:.0f}",
                        f"{min(spread):.0f} to {max(spread):.0f}",
                        f"{row['ms'][name] / ours:.2f}",
                        f"{row['memory_mb'][name]:.0f}",
                        f"{row['memory_mb'][name] / memory:.2f}",
                    )
                )
    header = ("network", "", "ms", "from to", "× robench", "peak MiB", "× robench")
    return table(header, lines, left=2)


def _rates(results: Results) -> str:
    part = results["gradient"]
    rates = {title(row): row["firing_rates"] for row in part["rows"]}
    rates |= {f"trained: {model}": layers for model, layers in part["trained_rates"].items()}
    return table(
        ("network", "mean", "layer by layer"),
        (
            (
                name,
                f"{100 * statistics.mean(layers):.1f}",
                ", ".join(f"{100 * rate:.0f}" for rate in layers),
            )
            for name, layers in rates.items()
        ),
    )


def _sameness(results: Results) -> str:
    return table(
        ("network", "peer", "logits", "gradients", "equal predictions"),
        (
            (
                title(row),
                peer,
                f"{proof['logits']:.0e}",
                f"{proof['gradient']:.0e}",
                f"{proof['agreement']:.1%}",
            )
            for row in results["gradient"]["rows"]
            for peer, proof in row["sameness"].items()
        ),
        left=2,
    )


def _convolutions(results: Results) -> str:
    row = results["gradient"]["rows"][0]
    best = {bound(row, dtype)[0] for dtype in ("float32", "bfloat16")}
    return table(
        ("convolutions alone", "ms"),
        (
            (name, f"**{ms:.0f}**" if name in best else f"{ms:.0f}")
            for name, ms in row["convolutions_ms"].items()
        ),
    )


def _sweep(part: dict[str, Any]) -> dict[str, str]:
    runs = [row for row in part["rows"] if "skipped" not in row]
    base = next((row for row in runs if row["competitor"] == "pgd"), None)
    foolbox = foolbox_row(part)
    lines, curves = [], []
    for row in part["rows"]:
        name = f"**robench `{row['competitor']}`**, version {row.get('version', '?')}"
        if row["column"]:
            name = f"{row['competitor']} on {row['column']}"
        if "skipped" in row:
            lines.append((name, row["skipped"], "", "", "", "", ""))
            continue
        above = ""
        if foolbox is not None:
            above = f"{100 * excess(row['accuracy'], foolbox['accuracy']):+.1f}"
        lines.append(
            (
                name,
                f"{row['seconds']:.1f}",
                f"{row['compile_seconds']:.1f}" if not row["column"] else "",
                "" if base is None else f"{row['seconds'] / base['seconds']:.2f}",
                f"{row['gradients']:.1f}",
                f"{row['forwards']:.1f}",
                above,
            )
        )
        curves.append((name, *(f"{100 * value:.1f}" for value in row["accuracy"])))
    header = ("", "s", "of it compiling", "× `pgd`", "gradients", "forwards", "above Foolbox")
    epsilons = (text.removesuffix("/255") for text in part["grid"])
    stand_in = "" if part["model"] == part["asked"] else f", in place of {part['asked']}"
    often = f", {part['repetitions']} repetitions" if part.get("repetitions", 1) > 1 else ""
    return {
        "title": f"{part['role']}: {part['model']}{stand_in}, {part['images']} images{often}",
        "times": table(header, lines),
        "curves": table(("ε · 255", *epsilons), curves),
    }


def _search(results: Results) -> str:
    lines = []
    for row in results["search"]["rows"]:
        worst = max(range(len(row["above"])), key=lambda k: row["above"][k])
        passes = row["gradients"]
        lines.append(
            (
                row["model"],
                f"`{row['attack']}`",
                row.get("version", "?"),
                str(row["images"]),
                f"{passes['fast']:.1f}",
                f"{passes['ascending']:.1f}",
                f"{100 * row['above'][worst]:+.1f}",
                f"{100 * row['low'][worst]:+.1f} to {100 * row['high'][worst]:+.1f}",
                f"{100 * min(row['above']):+.1f}",
            )
        )
    header = (
        "model",
        "attack",
        "version",
        "images",
        "gradients, fast",
        "ascending",
        "highest above, points",
        "95 %",
        "lowest",
    )
    return table(header, lines, left=2)


def _overhead(results: Results) -> str:
    return table(
        ("model", "attack", "images", "s", "s of bare passes", "overhead", "calls", "rows each"),
        (
            (
                row["model"],
                f"`{row['attack']}`",
                str(row["images"]),
                f"{row['seconds']:.2f}",
                f"{row['bare_seconds']:.2f}",
                f"{row['overhead']:.2f}",
                str(row["passes"]),
                f"{row['rows_of_a_pass']:.0f}",
            )
            for row in results["overhead"]["rows"]
        ),
        left=2,
    )


def _checks(results: Results) -> str:
    return table(
        ("model", "images", "s of the run", "s of the model's checks", "s of the cells'", "share"),
        (
            (
                row["model"],
                str(row["images"]),
                f"{row['seconds']:.1f}",
                f"{row['of_model']:.2f}",
                f"{row['of_cell']:.2f}",
                f"{row['share']:.1%}",
            )
            for row in results["checks"]["rows"]
        ),
    )


def _users(results: Results) -> str:
    lines = []
    for row in results["users"]["rows"]:
        for name, ms in row["ms"].items():
            low, high = row["interval"][name]
            ratio = (
                ("1.00", "")
                if name == PLAIN
                else (f"{row['ratio'][name]:.2f}", f"{low:.2f} to {high:.2f}")
            )
            lines.append((name, str(row["rows"]), f"{ms:.1f}", *ratio))
    return table(("a gradient", "images", "ms", "× plain", "95 %"), lines)


def _growth(results: Results) -> str:
    rows = results["growth"]["rows"]
    header = "number of", "seconds", "exponent"
    return table(header, ((row["what"], _sizes(row), f"{row['exponent']:.2f}") for row in rows))


def _sizes(row: dict[str, Any]) -> str:
    pairs = zip(row["sizes"], row["seconds"], strict=True)
    return ", ".join(f"{size}: {seconds:.2f}" for size, seconds in pairs)


def _strengths(results: Results) -> list[tuple[str, str]]:
    return [(strength_title(t), table(*strength_rows(t))) for t in results["strength"]["tables"]]
