"""The calls of the parts of a network: how they are followed, and which cannot be.

A record of the steps in them is made here too.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from robench.spiking.discovery.swap import Slope

_STEPS = (
    *("gt", "ge", "lt", "le", "eq", "ne", "sign", "heaviside", "round", "floor", "ceil", "trunc"),
    *("floor_divide", "bernoulli", "Bool", "Int"),
)
"""Operations of TorchScript that make steps."""


class Follower(Protocol):
    """What is done when a part of a network is called."""

    def entered(self, name: str, args: tuple[Any, ...]) -> None:
        """Before the call of the part of that name."""
        ...

    def left(self, name: str, out: Any) -> Any:
        """After it; what the call returns instead of ``out``, or None to leave it."""
        ...


@contextmanager
def following(parts: Iterable[tuple[str, nn.Module]], follower: Follower) -> Iterator[None]:
    """Inside, a follower sees the calls that this thread makes of parts of a network.

    Args:
        parts: names and modules. TorchScript, which takes no hooks of this kind, is left out.
        follower: what is done.
    """
    handles = []
    thread = threading.get_ident()

    def hook(name: str, part: nn.Module) -> None:
        def enter(_: nn.Module, args: tuple[Any, ...]) -> None:
            if threading.get_ident() == thread:
                follower.entered(name, args)

        def leave(_: nn.Module, __: Any, out: Any) -> Any:
            return follower.left(name, out) if threading.get_ident() == thread else None

        handles.append(part.register_forward_pre_hook(enter))
        handles.append(part.register_forward_hook(leave, always_call=True))

    try:
        for name, part in parts:
            if not isinstance(part, torch.jit.ScriptModule):
                hook(name, part)
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(eq=False)
class Jump:
    """A step in a gradient pass.

    Attributes:
        z: with its graph.
        at: the z of the jump.
        height: of the output above the jump, negative if it falls.
        slope: the derivative of the output.
        layer: that of the neurons.
        call: the function and the number of the call; None for an operation.
        place: of an operation; None for a function.
    """

    z: Tensor
    at: Tensor | float
    height: Tensor | float
    slope: Slope
    layer: Hashable
    call: tuple[type, int] | None = None
    place: Hashable = None

    def unit_slope(self) -> Tensor:
        """The derivative of a step of height 1, without a graph."""
        return self.slope(self.z.detach()) / torch.as_tensor(self.height).abs()


@dataclass
class Call:
    """A call of a part of a network."""

    name: str
    x: Tensor | None
    steps: list[Jump] = field(default_factory=list)
    y: Tensor | None = None

    def sequence(self) -> tuple[Tensor, Tensor] | None:
        """Input and output, if they can be those of a layer over time."""
        x, y = self.x, self.y
        if x is None or y is None or x.shape != y.shape or not are_of(self.steps, x):
            return None
        return x, y


def are_of(steps: Sequence[Jump], x: Tensor) -> bool:
    """Whether these are all steps of a sequence ``(T, N, …)``: one for each time step, or one."""
    if x.dim() < 2 or len(x) < 2:
        return False
    sizes = [jump.z.numel() for jump in steps]
    return sizes in ([x[0].numel()] * len(x), [x.numel()])


class Recording:
    """Records the calls of the parts of a network, and the steps that each makes."""

    def __init__(self) -> None:
        self.open: list[Call] = [Call("", None)]
        self.closed: list[Call] = []

    def entered(self, name: str, args: tuple[Any, ...]) -> None:
        """Start a call."""
        x = args[0] if args and isinstance(args[0], Tensor) and args[0].requires_grad else None
        self.open.append(Call(name, x))

    def left(self, name: str, out: Any) -> None:
        """End it."""
        call = self.open.pop()
        first = first_of(out)
        call.y = first if isinstance(first, Tensor) and first.requires_grad else None
        self.closed.append(call)
        self.open[-1].steps += call.steps

    def stepped(self, jump: Jump) -> bool:
        """Record a step."""
        self.open[-1].steps.append(jump)
        return False


def first_of(out: Any) -> Any:
    """The output of a layer that may return its state beside it."""
    return out[0] if isinstance(out, tuple | list) and out else out


def with_output(out: Any, position: int | None, new: Tensor) -> Any:
    """A result with another tensor in one place; None for the whole."""
    if position is None:
        return new
    changed = [new if n == position else part for n, part in enumerate(out)]
    return type(out)(*changed) if hasattr(out, "_fields") else type(out)(changed)


def hides_steps(part: nn.Module) -> bool:
    """Whether a module is TorchScript with an operation that makes steps, or with Python code."""
    if not isinstance(part, torch.jit.ScriptModule):
        return False
    try:
        graph: Any = part.inlined_graph
    except (AttributeError, RuntimeError):  # a container without a forward pass
        return False
    kinds = [*(f"aten::{name}" for name in _STEPS), "prim::PythonOp"]
    return any(graph.findNode(kind) is not None for kind in kinds)


def is_compiled(part: nn.Module) -> bool:
    """Whether a compiler runs a module, which would compile the hooks too."""
    own = getattr(part, "_compiled_call_impl", None) is not None  # of Module.compile
    return own or type(part).__module__ == "torch._dynamo.eval_frame"


def raised_by_compiler(error: Exception) -> bool:
    """Whether a compiled function has met something that it cannot be called under."""
    return type(error).__module__.startswith("torch._dynamo")
