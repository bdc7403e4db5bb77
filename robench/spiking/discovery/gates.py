"""What a comparison is used for: a spike, or a gate as in a hand-written ReLU ``x * (x > 0)``."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

DEPTH = 12
"""Most nodes between a product and what is compared."""


GATE, DETACHED = "it gates what it compares", "its result is detached"
SILENT, IDLE = "it never changes", "it never changes, and no logit depends on it"


def use_of(end: Any, nodes: list[Any], compared: list[Any]) -> str:
    """Why a comparison is no spike that can be replaced; empty if it is one.

    It is a gate if every use is a product with something that leads to what is compared. A spike
    that resets a membrane is such a product too, but it also goes on to the next layer.

    Args:
        end: the last node of the graph.
        nodes: the nodes of the comparison's results.
        compared: the node of what each compares; None if it is a leaf.
    """
    uses = _uses(end, set(nodes))
    if not any(uses.values()):
        return DETACHED
    for node, origin in zip(nodes, compared, strict=True):
        for use in uses[node]:
            others = [parent for parent, _ in use.next_functions if parent is not node]
            product = type(use).__name__.startswith("MulBackward")
            if not product or not any(_leads_to(other, origin) for other in others):
                return ""
    return GATE


def _uses(end: Any, nodes: set[Any]) -> defaultdict[Any, list[Any]]:
    """The nodes that use each of some nodes."""
    uses: defaultdict[Any, list[Any]] = defaultdict(list)
    seen, waiting = {end}, [end]
    while waiting:
        node = waiting.pop()
        for parent, _ in node.next_functions if node is not None else ():
            if parent in nodes:
                uses[parent].append(node)
            if parent is not None and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return uses


def _leads_to(node: Any, origin: Any) -> bool:
    """Whether a node is, or was made from, what is compared, within some nodes."""
    waiting = [node]
    for _ in range(DEPTH):
        if any(_same(one, origin) for one in waiting):
            return True
        waiting = [parent for one in waiting if one is not None for parent, _ in one.next_functions]
    return False


def _same(node: Any, origin: Any) -> bool:
    """Whether the comparison's difference was made from a node, or is one itself."""
    if node is None or origin is None:
        return False
    return node is origin or any(node is parent for parent, _ in origin.next_functions)
