"""What a survey cannot look into: TorchScript with steps, and compiled networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_STEPS = (
    *("gt", "ge", "lt", "le", "eq", "ne", "sign", "heaviside", "round", "floor", "ceil", "trunc"),
    *("floor_divide", "bernoulli", "Bool", "Int"),
)
"""Operations of TorchScript that make steps."""


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
