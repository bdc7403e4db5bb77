"""The operations of torch that matter for steps, by function or method, and their arguments."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def named(*names: str) -> dict[Any, str]:
    """The functions and methods of torch of some names, with the first of the names."""
    homes = torch, Tensor, torch.special, nn.functional
    found = {(getattr(home, name, None), names[0]) for home in homes for name in names}
    return {function: name for function, name in found if function is not None}


COMPARISONS = {
    **named("gt", "greater", "__gt__"),
    **named("ge", "greater_equal", "__ge__"),
    **named("lt", "less", "__lt__"),
    **named("le", "less_equal", "__le__"),
}
IN_PLACE = {
    **named("gt_", "greater_"),
    **named("ge_", "greater_equal_"),
    **named("lt_", "less_"),
    **named("le_", "less_equal_"),
}
CASTS = named("float", "to", "type", "type_as", "double", "half", "bfloat16")
INTEGERS = named("int", "long", "bool", "byte", "short", "char")
COPIES = named("clone", "contiguous", "detach")
MOVES = named("reshape", "view", "flatten", "unflatten", "squeeze", "unsqueeze", "cpu", "cuda")
MOVES |= named("transpose", "swapaxes", "permute", "movedim", "t", "expand", "expand_as", "select")
MOVES |= named("__getitem__", "narrow", "repeat", "repeat_interleave", "tile", "flip", "roll")
MOVES |= named("unbind", "split", "chunk", "tensor_split", "index_select", "broadcast_to")
"""What moves, repeats or selects the neurons of a mask, its first argument."""
NEGATIONS = named("bitwise_not", "__invert__")
LOGIC = named("logical_not") | named("logical_xor", "bitwise_xor", "__xor__", "__rxor__")
LOGIC |= named("eq", "__eq__") | named("ne", "not_equal", "__ne__")
LOGIC |= named("neg", "negative", "__neg__") | named("abs", "__abs__")
CONJUNCTIONS = named("logical_and", "bitwise_and", "__and__", "__rand__", "__iand__")
CONJUNCTIONS |= named("logical_or", "bitwise_or", "__or__", "__ror__", "__ior__")
PRODUCTS = named("mul", "multiply", "__mul__", "__rmul__")
ARITHMETIC = named("mul", "multiply", "__mul__", "__rmul__", "add", "__add__", "__radd__")
ARITHMETIC |= named("sub", "subtract", "__sub__", "__rsub__", "rsub", "true_divide")
ARITHMETIC |= named("__truediv__", "copy_", "add_", "__iadd__", "mul_", "__imul__")
OVERWRITING = named("add_", "__iadd__", "mul_", "__imul__")
"""Arithmetic that writes its first argument."""
CHOICES = named("where")
FILLS = {**named("masked_fill", "masked_fill_"), **named("__setitem__")}
SIGNS = {**named("sign", "sgn"), **named("heaviside")}
SIGNS_IN_PLACE = named("sign_", "sgn_")
RECTIFIERS = named("relu") | named("relu6") | named("clamp", "clip") | named("clamp_min")
RECTIFIERS |= named("clamp_max") | named("hardtanh") | named("threshold") | named("maximum")
ROUNDINGS = {
    **named("round"), **named("floor"), **named("ceil"), **named("trunc", "fix"),
    **named("bernoulli"),
}  # fmt: skip
ROUNDINGS_IN_PLACE = {
    **named("round_"), **named("floor_"), **named("ceil_"), **named("trunc_", "fix_"),
}  # fmt: skip
SLOPES = named("sigmoid", "expit") | named("hardsigmoid") | named("tanh") | named("erf")
"""Smooth functions between two limits, which may be as steep as a step."""
LIMITS = {"sigmoid": (0.0, 1.0), "hardsigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "erf": (-1.0, 1.0)}
DIVISIONS = {**named("floor_divide", "__floordiv__"), **named("div", "divide")}
HARMLESS = frozenset({"__getitem__", "masked_select"})
"""What may be done with a mask as an index without making numbers of it."""


def positional(args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Arguments with those first that a network gave by the names of torch."""
    kwargs = dict(kwargs)
    names = ("condition", "input", "self", "other", "mask", "value")
    found = [kwargs.pop(name) for name in names if name in kwargs]
    return (*args, *found), kwargs


def is_flat(value: object) -> bool:
    """Whether all values of a tensor are one constant; a number is."""
    if not isinstance(value, Tensor):
        return True
    flat = value.detach().flatten()
    return bool((flat == flat[:1]).all())


def has_graph(value: object) -> bool:
    """Whether it is a tensor with a graph."""
    return isinstance(value, Tensor) and value.requires_grad
