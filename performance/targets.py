"""The targets for the speed of robench: what was measured, and what limits a missed target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Results = dict[str, Any]
TITLES = {"vgg16": "VGG16", "flex-vgg16": "FLEX"}
STEP, SEARCH_STEP, OVERHEAD, MEMORY = 2.0, 3.5, 1.15, 0.25
ROUNDING = 1e-6
"""Of the difference of two accuracies, one of which a peer computes in float32."""
ABOVE = 0.01
SWEEP = {"STBP": 20.0, "ANN": 8.0}
SEARCH = "robench, bfloat16 search"
PLAIN, OWN, REPLACED = "plain PyTorch", "robench, own gradient", "robench, spikes replaced"
SUBSTITUTION, USERS, WORKERS = 1.1, 2.0, 1.7
CHECKS = 0.1
THEIRS, OURS = "their network", "robench's module"
AUTHORS, SCALED = "sapgd, its authors' settings", "sapgd, assg_scaled(0.425)"
FOOLBOX_PGD = "Foolbox PGD"


@dataclass(frozen=True)
class Verdict:
    """A target with its measurement; ``met`` is None if nothing was measured."""

    what: str
    target: str
    measured: str
    met: bool | None
    limit: str = ""


def verdicts(results: Results) -> list[Verdict]:
    """Every target, in the order in which they were set."""
    return [
        *_steps(results),
        *_search_steps(results),
        *_sweeps(results),
        *_searches(results),
        *_overhead(results),
        *_memory(results),
        *_checks(results),
        *_users(results),
        *_workers(results),
    ]


def headline_rows(results: Results) -> Iterator[dict[str, Any]]:
    """The rows of the gradient step that the targets are for: random weights, reset to zero."""
    for row in results.get("gradient", {}).get("rows", []):
        if row["reset"] == "zero" and not row["model"]:
            yield row


def void(row: dict[str, Any], peer: str) -> str:
    """The reason why a row cannot be compared with a peer, or an empty text."""
    if peer in row["skipped"]:
        return str(row["skipped"][peer])
    return str(row["sameness"][peer]["void"])


def bound(row: dict[str, Any], dtype: str = "float32") -> tuple[str, float]:
    """The fastest way through the convolutions alone and its milliseconds."""
    ways = {name: ms for name, ms in row["convolutions_ms"].items() if name.startswith(dtype)}
    name = min(ways, key=lambda way: ways[way])
    return name, ways[name]


def _steps(results: Results) -> Iterator[Verdict]:
    for row in headline_rows(results):
        texts, met = [], True
        for peer in ("snnTorch", "SpikingJelly"):
            reason = void(row, peer)
            if reason:
                texts.append(f"{peer}: void, {reason}")
                met = False
                continue
            ratio = row["ms"][peer] / row["ms"]["robench"]
            met = met and ratio >= STEP
            texts.append(f"{ratio:.2f}× {peer}")
        way, ms = bound(row)
        ours = row["ms"]["robench"]
        limit = (
            f"the convolutions alone ({way}) take {ms:.0f} ms of robench's {ours:.0f} ms; dense "
            f"convolution allows {row['ms']['snnTorch'] / ms:.1f}× snnTorch at most"
        )
        title = f"gradient step, float32, {TITLES[row['architecture']]}"
        yield Verdict(title, f"≥ {STEP:g}× each", ", ".join(texts), met, "" if met else limit)


def _search_steps(results: Results) -> Iterator[Verdict]:
    for row in headline_rows(results):
        title = f"gradient step, bfloat16 search, {TITLES[row['architecture']]}"
        target = f"≥ {SEARCH_STEP:g}× snnTorch"
        way, ms = bound(row, "bfloat16")
        limit = f"the convolutions alone ({way}) take {ms:.0f} ms"
        if ms > bound(row)[1]:
            limit += f", {bound(row)[1]:.0f} ms in float32: this CPU only emulates bfloat16"
        if SEARCH not in row["ms"]:
            yield Verdict(title, target, "not offered", None, limit)
            continue
        ratio = row["ms"]["snnTorch"] / row["ms"][SEARCH]
        met = ratio >= SEARCH_STEP
        yield Verdict(title, target, f"{ratio:.2f}×", met, "" if met else limit)


def foolbox_row(table: dict[str, Any]) -> dict[str, Any] | None:
    """Foolbox on the network that its users have, which the targets are for."""
    for row in table["rows"]:
        if (row["competitor"], row["column"]) == ("Foolbox", THEIRS) and "skipped" not in row:
            found: dict[str, Any] = row
            return found
    return None


def excess(ours: list[float], theirs: list[float]) -> float:
    """The largest difference between a curve and another, without ε = 0."""
    return max(a - b for a, b in zip(ours[1:], theirs[1:], strict=True))


def _sweeps(results: Results) -> Iterator[Verdict]:
    tables = results.get("sweep", {}).get("tables", [])
    for table in tables:
        if any(t["model"] == table["model"] and t["images"] > table["images"] for t in tables):
            continue  # the targets are for the whole sweep
        target = SWEEP[table["role"]]
        peer = foolbox_row(table)
        if peer is None:
            continue
        for row in (row for row in table["rows"] if not row["column"]):
            ratio = peer["seconds"] / row["seconds"]
            above = excess(row["accuracy"], peer["accuracy"])
            met = ratio >= target and above <= ROUNDING
            fewer = peer["gradients"] / max(row["gradients"], 1e-9)
            limit = (
                f"{row['gradients']:.0f} gradient passes a sample against {peer['gradients']:.0f}; "
                f"for each pass {ratio / fewer:.1f} times as fast, everything included"
            )
            limit += _dense(results, table["role"], ratio)
            yield Verdict(
                f"sweep, {table['role']} ({table['model']}), {row['competitor']}",
                f"≥ {target:g}× Foolbox, not above it at any ε",
                f"{ratio:.1f}×, at most {100 * above:+.1f} points",
                met,
                "" if met else limit,
            )


def _dense(results: Results, role: str, ratio: float) -> str:
    """The speed-up that the convolutions still allow."""
    if role == "ANN":
        return "; the dense convolutions of a pass are the same for both"
    for row in headline_rows(results):
        if row["architecture"] == "vgg16":
            whole = row["ms"]["robench"] / bound(row)[1]
            return (
                f"; convolutions alone are {1 / whole:.0%} of a gradient step, so that passes "
                f"which cost no more than they do would make it {whole * ratio:.1f}×"
            )
    return ""


def _searches(results: Results) -> Iterator[Verdict]:
    rows = results.get("search", {}).get("rows", [])
    for attack in dict.fromkeys(row["attack"] for row in rows):
        of = [row for row in rows if row["attack"] == attack]
        worst = max(of, key=lambda row: max(row["above"]))
        above, passes = max(worst["above"]), worst["gradients"]
        met = above <= ABOVE
        missed = [row["model"] for row in of if max(row["above"]) > ABOVE]
        limit = (
            f"missed on {', '.join(missed)}; on the worst the ascending sweep has "
            f"{passes['ascending'] / passes['fast']:.1f} times as many passes"
        )
        yield Verdict(
            f"search, {attack}, {len(of)} models",
            f"≤ {100 * ABOVE:+g} point above the ascending sweep at every ε",
            f"{100 * above:+.1f} at most ({worst['model']})",
            met,
            "" if met else limit,
        )


def _overhead(results: Results) -> Iterator[Verdict]:
    rows = results.get("overhead", {}).get("rows", [])
    if rows:
        worst = max(rows, key=lambda row: row["overhead"])
        met = worst["overhead"] <= OVERHEAD
        where = f"{worst['model']} under {worst['attack']}"
        extra = worst["seconds"] - worst["bare_seconds"]
        limit = (
            f"{1000 * extra / worst['passes']:.1f} ms beside each of {worst['passes']} calls: the "
            "attack's steps, projection, verification, the checks and the record"
        )
        yield Verdict(
            "overhead",
            f"≤ {OVERHEAD:g}",
            f"{worst['overhead']:.2f} at most ({where})",
            met,
            "" if met else limit,
        )


def _memory(results: Results) -> Iterator[Verdict]:
    for row in headline_rows(results):
        ours, theirs = row["memory_mb"]["robench"], row["memory_mb"].get("snnTorch")
        if theirs is None:
            continue
        met = ours / theirs <= MEMORY
        limit = (
            f"one float32 number for each neuron and step of the batch is already "
            f"{row['membranes_mb'] / theirs:.2f} of snnTorch's"
        )
        yield Verdict(
            f"peak memory of a gradient step, {TITLES[row['architecture']]}",
            f"≤ {MEMORY:g} of snnTorch's",
            f"{ours / theirs:.2f}",
            met,
            "" if met else limit,
        )


def _checks(results: Results) -> Iterator[Verdict]:
    for row in results.get("checks", {}).get("rows", []):
        met = row["share"] <= CHECKS
        limit = f"{row['of_model']:.1f} s are the model's, {row['of_cell']:.1f} s the cells'"
        yield Verdict(
            f"checks of fgsm, pgd and spgd, {row['model']}", f"≤ {CHECKS:.0%} of the run",
            f"{row['share']:.1%}", met, "" if met else limit,
        )  # fmt: skip


def _workers(results: Results) -> Iterator[Verdict]:
    rows = results.get("workers", {"rows": []})["rows"]
    alone = {row["executor"]: row["seconds"] for row in rows if row["workers"] == 1}
    for row in rows:
        if row["workers"] == 2:
            ratio = alone[row["executor"]] / row["seconds"]
            same = "the same bytes" if row["same"] else "other bytes"
            yield Verdict(
                f"benchmark of digits, two workers of {row['executor']}",
                f"≥ {WORKERS:g}× one, the same bytes as local",
                f"{ratio:.2f}×, {same}",
                ratio >= WORKERS and row["same"],
            )


def _users(results: Results) -> Iterator[Verdict]:
    part = results.get("users", {"rows": [], "tables": []})
    for row in part["rows"][:1]:  # the target is for a whole batch
        ratio, ms = row["ratio"][REPLACED], row["ms"]
        met = ratio <= SUBSTITUTION
        limit = (
            f"{ms[OWN] - ms[PLAIN]:+.1f} ms are the view's, {ms[REPLACED] - ms[OWN]:+.1f} ms the "
            "substitution's"
        )
        yield Verdict(
            f"a user's network, spikes replaced, {row['rows']} images",
            f"≤ {SUBSTITUTION:g}× a plain gradient",
            f"{ratio:.2f}×",
            met,
            "" if met else limit,
        )
    for table in part["tables"]:
        ours, theirs = table["rows"]
        ratio, above = (
            theirs["seconds"] / ours["seconds"],
            excess(ours["accuracy"], theirs["accuracy"]),
        )
        met = ratio >= USERS and above <= ROUNDING
        yield Verdict(
            "a user's network, pgd",
            f"≥ {USERS:g}× Foolbox, not above it at any ε",
            f"{ratio:.1f}×, at most {100 * above:+.1f} points",
            met,
            ""
            if met
            else f"{ours['gradients']:.0f} gradient passes a sample against "
            f"{theirs['gradients']:.0f}",
        )
