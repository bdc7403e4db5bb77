"""A hook for every operation of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class EachOperation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, a hook is called after each operation, with it, its arguments and its result.

    The operations of the hook call no hook.
    """

    def __init__(self, hook: Callable[[Any, Any, object], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.hook = hook

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.hook(func, args, out)
        return out
