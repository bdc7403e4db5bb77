"""Resets without gradient: a backward pass does not follow a spike into its own membrane.

A spike resets its neuron, so the membrane of the next step depends on it. With a surrogate this
connection carries a gradient that largely cancels that of the spike, and attacks are weaker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from typing import Any

_ELEMENTWISE = (
    *("Add", "Sub", "Rsub", "Mul", "Div", "Neg", "Where", "Lerp", "Addcmul", "Addcdiv", "Clone"),
    *("Copy", "ToCopy", "Alias", "View", "UnsafeView", "Unsqueeze", "Squeeze", "Select", "Stack"),
    *("Unbind", "Slice", "Expand", "MaskedFill", "Pow", "Exp", "Clamp"),
)
"""Names of nodes that keep neurons apart, as a membrane does; weights end the search."""


class Resets:
    """The spikes of a gradient pass, whose resets are cut."""

    def __init__(self) -> None:
        self.spikes: dict[Any, Hashable] = {}
        self.membranes: defaultdict[Hashable, list[Any]] = defaultdict(list)

    def spiked(self, layer: Hashable, membrane: Any, spike: Any) -> None:
        """Note a spike: its layer, and the nodes of its membrane and of itself."""
        self.spikes[spike] = layer
        self.membranes[layer].append(membrane)

    def cut(self) -> None:
        """Stop the gradient from each membrane to earlier spikes of its layer."""
        for layer, membranes in self.membranes.items():
            seen, waiting = set(membranes), list(membranes)
            while waiting:
                node = waiting.pop()
                edges = [parent for parent, _ in node.next_functions]
                own = [number for number, parent in enumerate(edges) if self._is(parent, layer)]
                if own:
                    node.register_hook(_without(frozenset(own)))
                for parent in edges:
                    if parent not in seen and parent not in self.spikes and _elementwise(parent):
                        seen.add(parent)
                        waiting.append(parent)

    def _is(self, node: Any, layer: Hashable) -> bool:
        return node is not None and self.spikes.get(node) == layer


def _elementwise(node: Any) -> bool:
    return node is not None and type(node).__name__.rstrip("0123456789")[:-8] in _ELEMENTWISE


def _without(inputs: frozenset[int]) -> Any:
    def hook(gradients: tuple[Any, ...], _: Any) -> tuple[Any, ...]:
        return tuple(None if n in inputs else gradient for n, gradient in enumerate(gradients))

    return hook
