"""Activity as tables: of the models, and of their layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from robench.results import E_AC, E_MAC, Analysis

CAVEAT = (
    f"Energy of the operations alone, float32 at 45 nm: {E_MAC} pJ a MAC, {E_AC} pJ an AC. Memory, "
    "traffic between cores and the updates of the neurons are left out; on hardware they often "
    "cost more. Compare networks by it, not chips."
)


def conditions(analysis: Analysis) -> list[str]:
    """``clean``, and ``adversarial`` if it was measured."""
    return [name for name in ("clean", "adversarial") if name in analysis.summary]


def title(analysis: Analysis) -> str:
    """The model with its images, on one line."""
    identity, images = analysis.identity, analysis.summary["clean"]["images"]
    time = "" if identity.timesteps is None else f", T = {identity.timesteps}"
    if "adversarial" not in analysis.summary:
        return f"{identity.model}, {analysis.mode}{time}, {images} images"
    settings = identity.settings
    return (
        f"{identity.model}, {analysis.mode}{time}, {images} of {identity.samples} images with an "
        f"adversarial example of {settings['attack']} at ε = {settings['epsilon']}"
    )


def sparsity_lines(analyses: Sequence[Analysis]) -> Iterator[str]:
    """A line for each model and condition: spikes, firing rate, sparsity and silent neurons."""

    def cells(part: dict[str, Any]) -> Sequence[str]:
        total = part["total"]
        spiking = total["rate"] is not None
        spikes = interval(total["spikes"], 1, 0, part["images"]) if spiking else "none"
        return spikes, share(total["rate"]), share(total["sparsity"]), share(silent_share(part))

    head = {"spikes an inference": 25, "rate": 7, "sparsity": 8, "silent": 7}
    yield from _lines(analyses, head, cells)
    yield from warning_lines(analyses)


def energy_lines(analyses: Sequence[Analysis]) -> Iterator[str]:
    """A line for each model and condition: operations and energy; the caveat is the last line."""

    def cells(part: dict[str, Any]) -> Sequence[str]:
        total = part["total"]
        counts = [f"{total[name]['value']:,.0f}" for name in ("macs", "acs", "dense")]
        return *counts, interval(total["energy"], 1e-6, 3, part["images"])

    head = {"MACs": 12, "ACs": 12, "dense": 12, "energy, µJ": 22}
    yield from _lines(analyses, head, cells, "not_counted")
    yield from warning_lines(analyses)
    yield CAVEAT


def _lines(
    analyses: Sequence[Analysis],
    head: Mapping[str, int],
    cells: Callable[[dict[str, Any]], Sequence[str]],
    lacking: str = "",
) -> Iterator[str]:
    """A table with a line for each model and condition.

    Args:
        analyses: of the models.
        head: the columns with their widths.
        cells: the texts of a line.
        lacking: the key of what is not counted, for a line of its own; empty for none.
    """

    def joined(texts: Iterable[str]) -> str:
        return " ".join(f"{text:>{size}}" for text, size in zip(texts, head.values(), strict=True))

    width = max(map(len, ["model", *(analysis.identity.model for analysis in analyses)]))
    yield f"{'model':{width}} {'images':>6} {'':11} {joined(head)}"
    for analysis in analyses:
        for condition in conditions(analysis):
            part = analysis.summary[condition]
            name = f"{analysis.identity.model:{width}} {part['images']:6} {condition:11}"
            yield f"{name} {joined(cells(part))}"
            if missing := part[lacking] if lacking else None:
                yield f"  not counted: {', '.join(missing)}"


def warning_lines(analyses: Sequence[Analysis]) -> Iterator[str]:
    """A line for each model with steps that were not followed, whose spikes are not counted."""
    for analysis in analyses:
        if kept := analysis.summary["not_followed"]:
            yield f"{analysis.identity.model}: not counted as spikes: {', '.join(kept)}"


def layer_lines(analysis: Analysis, condition: str, *, energy: bool) -> Iterator[str]:
    """A line for each layer: what it is active, or what it computes."""
    part = analysis.summary[condition]
    rows = part["operations" if energy else "activations"]
    width = max((len(row["layer"]) for row in rows), default=5)
    if energy:
        yield f"{'layer':{width}} {'MACs':>12} {'ACs':>12} {'dense':>12} {'energy, µJ':>11}"
        for row in rows:
            counts = " ".join(f"{row[name]:12,.0f}" for name in ("macs", "acs", "dense"))
            yield f"{row['layer']:{width}} {counts} {row['energy'] / 1e6:11.4f}"
        return
    yield f"{'layer':{width}} {'':6} {'neurons':>8} {'steps':>5} {'active':>7} {'silent':>7}"
    for row in rows:
        kind = "spikes" if row["spikes"] else "ReLU"
        yield (
            f"{row['layer']:{width}} {kind:6} {row['neurons']:8,} {row['steps']:5} "
            f"{share(row['density']):>7} {share(row['silent']):>7}"
        )


def silent_share(part: dict[str, Any]) -> float | None:
    """The share of all neurons that are active on no image."""
    neurons = sum(row["neurons"] for row in part["activations"])
    if not neurons:
        return None
    return float(sum(row["neurons"] * row["silent"] for row in part["activations"]) / neurons)


def share(value: float | None) -> str:
    """A share in per cent; a dash for None."""
    return "—" if value is None else f"{value:.1%}"


def interval(total: dict[str, float], scale: float, digits: int, images: int) -> str:
    """A value with its interval, which a single image does not give."""
    value, low, high = (total[name] * scale for name in ("value", "low", "high"))
    if images < 2:
        return f"{value:,.{digits}f}"
    return f"{value:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"
