"""Resets without gradient: a backward pass does not follow a spike into its own membrane.

A spike resets its neuron, so the membrane of the next step depends on it. With a surrogate this
connection carries a gradient that largely cancels that of the spike, and attacks are weaker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
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
        for node in membrane(distance):
            self.membranes[node].add(spike)

    def cut(self) -> None:
        """Stop the gradient from each membrane to the last spike of the same neurons.

        That is a spike of the layer whose own membrane the later one has grown from.
        """
        for layer, distance in self.distances:
            mine = set().union(*(self.membranes[node] for node in membrane(distance)))
            seen, waiting = {distance}, [distance]
            grown: set[Any] = set()
            uses: list[tuple[Any, int, Any]] = []
            users: defaultdict[Any, list[tuple[Any, int]]] = defaultdict(list)
            while waiting:
                node = waiting.pop()
                earlier = self.membranes.get(node, set()) - mine
                if earlier:  # what lies behind was looked at from its own distance
                    grown |= earlier
                    continue
                for number, (parent, _) in enumerate(node.next_functions):
                    users[parent].append((node, number))
                    if parent in self.layers:
                        uses.append((node, number, parent))
                    elif parent not in seen and _is(parent, _ELEMENTWISE):
                        seen.add(parent)
                        waiting.append(parent)
            before = {spike for spike in grown if self.layers[spike] == layer}
            edges = [(node, number) for node, number, spike in uses if spike in before]
            for node, numbers in _behind(edges, before, users, distance).items():
                node.register_hook(_without(frozenset(numbers)))


def _behind(
    edges: list[tuple[Any, int]], alone: set[Any], users: Mapping[Any, Any], end: Any
) -> Mapping[Any, set[int]]:
    """The inputs of nodes at which to cut, behind what is made of some spikes alone.

    What is made of a spike alone, as ``s * 1.0``, may be the output of the neuron too.

    Args:
        edges: nodes that use the spikes, with the number of the input.
        alone: the spikes; what is made of them is added.
        users: those of each node, in the same form.
        end: the node at which the search has begun.
    """
    cuts: defaultdict[Any, set[int]] = defaultdict(set)
    while edges:
        node, number = edges.pop()
        parents = {parent for parent, _ in node.next_functions if parent is not None}
        if node is end or not parents <= alone:
            cuts[node].add(number)
        elif node not in alone:
            alone.add(node)
            edges += users[node]
    return {node: numbers for node, numbers in cuts.items() if node not in alone}


def membrane(distance: Any) -> Iterator[Any]:
    """The nodes from the distance to the threshold back to the membrane."""
    node = distance
    for _ in range(LONGEST):
        yield node
        parents = [parent for parent, _ in node.next_functions if parent is not None]
        if len(parents) != 1 or not _is(parents[0], _ARITHMETIC):
            return
        (node,) = parents


def is_membrane(node: Any, distance: Any) -> bool:
    """Whether something is a membrane, or that times constants, whose distance is given."""
    if node is None or distance is None:
        return False
    known = {*membrane(distance), *(parent for parent, _ in distance.next_functions)}
    return any(one in known for one in membrane(node))


def _is(node: Any, names: tuple[str, ...]) -> bool:
    return node is not None and type(node).__name__.rstrip("0123456789")[:-8] in names


def _without(inputs: frozenset[int]) -> Any:
    def hook(gradients: tuple[Any, ...], _: Any) -> tuple[Any, ...]:
        return tuple(None if n in inputs else gradient for n, gradient in enumerate(gradients))

    return hook
