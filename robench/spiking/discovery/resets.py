"""Resets without gradient: a backward pass does not follow a spike into its own membrane.

A spike resets its neuron, so the membrane of the next step depends on it. With a surrogate this
connection carries a gradient that largely cancels that of the spike, and attacks are weaker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from typing import Any

_ARITHMETIC = ("Add", "Sub", "Rsub", "Mul", "Div", "Neg", "Clone", "ToCopy")
_ELEMENTWISE = (
    *_ARITHMETIC,
    *("Where", "Lerp", "Addcmul", "Addcdiv", "Copy", "Alias", "MaskedFill", "Pow", "Exp", "Abs"),
    *("Relu", "LeakyRelu", "Clamp", "ClampMin", "ClampMax", "Hardtanh", "Threshold", "Sigmoid"),
    *("Tanh", "Maximum", "Minimum", "View", "UnsafeView", "ReshapeAlias", "Unsqueeze", "Squeeze"),
    *("Select", "Slice", "Unbind", "Stack", "Cat", "Split", "SplitWithSizes", "Expand", "Permute"),
    *("Transpose", "T"),
)
"""Names of nodes that keep neurons apart, as a membrane does; weights end the search."""


LONGEST = 4
"""Most nodes between a membrane and its distance to the threshold, with both."""


class Resets:
    """The spikes of a gradient pass, whose resets are cut."""

    def __init__(self) -> None:
        self.layers: dict[Any, Hashable] = {}
        self.distances: list[tuple[Hashable, Any]] = []
        self.membranes: defaultdict[Any, set[Any]] = defaultdict(set)

    def spiked(self, layer: Hashable, distance: Any, spike: Any) -> None:
        """Note a spike: its layer, and the nodes of its z and of itself."""
        self.layers[spike] = layer
        self.distances.append((layer, distance))
        for node in _membrane(distance):
            self.membranes[node].add(spike)

    def cut(self) -> None:
        """Stop the gradient from each membrane to the last spike of the same neurons.

        That is a spike of the layer whose own membrane the later one has grown from.
        """
        for layer, distance in self.distances:
            mine = self.membranes[distance]
            seen, waiting = {distance}, [distance]
            grown: set[Any] = set()
            uses: list[tuple[Any, int, Any]] = []
            while waiting:
                node = waiting.pop()
                earlier = self.membranes.get(node, set()) - mine
                if earlier:  # what lies behind was looked at from its own distance
                    grown |= earlier
                    continue
                for number, (parent, _) in enumerate(node.next_functions):
                    if parent in self.layers:
                        uses.append((node, number, parent))
                    elif parent not in seen and _is(parent, _ELEMENTWISE):
                        seen.add(parent)
                        waiting.append(parent)
            resets = defaultdict(set)
            for node, number, spike in uses:
                if spike in grown and self.layers[spike] == layer:
                    resets[node].add(number)
            for node, numbers in resets.items():
                node.register_hook(_without(frozenset(numbers)))


def _membrane(distance: Any) -> Iterator[Any]:
    """The nodes from the distance to the threshold back to the membrane."""
    node = distance
    for _ in range(LONGEST):
        yield node
        parents = [parent for parent, _ in node.next_functions if parent is not None]
        if len(parents) != 1 or not _is(parents[0], _ARITHMETIC):
            return
        (node,) = parents


def _is(node: Any, names: tuple[str, ...]) -> bool:
    return node is not None and type(node).__name__.rstrip("0123456789")[:-8] in names


def _without(inputs: frozenset[int]) -> Any:
    def hook(gradients: tuple[Any, ...], _: Any) -> tuple[Any, ...]:
        return tuple(None if n in inputs else gradient for n, gradient in enumerate(gradients))

    return hook
