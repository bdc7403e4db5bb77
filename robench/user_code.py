"""Code of a user: what ``file.py:name`` stands for, and what went wrong in it, on one line."""

from __future__ import annotations

import importlib
import inspect
import random
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

import numpy as np

from robench.compat.torchvision import prepare
from robench.errors import PluginError, RobenchError, nearest
from robench.text import one_line

LONGEST = 200
"""Most characters of a message: some libraries print whole tensors."""
SILENT = ("load", "make")
"""Names of functions that do not describe what they return."""
_LIBRARIES = (str(Path(__file__).parent), sysconfig.get_path("stdlib"))
_TYPED = ("<stdin>", "<ipython-input")
"""File names of code that a user has typed; others in angle brackets are generated."""


def is_reference(text: str) -> bool:
    """Whether a text is like ``package.module:name`` or ``path/to/file.py:name``."""
    return ".py:" in text or (":" in text and "/" not in text)


@contextmanager
def imported(text: str) -> Iterator[Any]:
    """Import what ``package.module:name`` or ``path/to/file.py:name`` stands for.

    In the block its neighbours can be imported too, and random generators start from the same
    numbers each time, so that an untrained network is the same in each process. What the code
    changes in the process is put back.

    Raises:
        PluginError: it cannot be imported.
    """
    from robench.isolation import isolated, same_numbers  # they import torch

    place, _, attribute = text.rpartition(":")
    file = Path(place) if place.endswith(".py") else None
    if file is not None and not _is_file(file):
        raise PluginError(f"cannot import {text}: there is no file {file}")
    folder = Path.cwd() if file is None else file.resolve().parent
    name = place if file is None else file.stem
    with isolated(), _importable(folder):
        with same_numbers():
            _seed()
            found = _attribute(text, name, attribute, file)
        with same_numbers():
            _seed()
            yield found


def called(
    make: Callable[..., Any], fail: Callable[[str], RobenchError], *given: Any, **named: Any
) -> Any:
    """What a user's function returns for some arguments.

    Raises:
        RobenchError: of ``fail``, if it needs other arguments or raises anything.
    """
    if not callable(make):
        raise fail(f"is of type {type(make).__name__}, which cannot be called; name a function")
    try:
        inspect.signature(make).bind(*given, **named)
    except TypeError as error:
        raise fail(f"cannot be called: {error}; give each parameter a default") from None
    except ValueError:  # compiled code without a signature
        pass
    try:
        return make(*given, **named)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # foreign code may raise anything
        reason = one_line(error) if isinstance(error, RobenchError) else described(error)
        raise fail(f"failed: {reason}") from error


def described(error: BaseException) -> str:
    """Type, message, place and notes of an error, on one line.

    The place is the innermost one in the user's own code, or else the layer of torch that raised.
    """
    text = traceback.TracebackException.from_exception(error)
    text.__notes__ = None
    message = one_line("".join(text.format_exception_only()), LONGEST)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _of_library(frame.filename)]
    if place := _last(own) or _layer(error.__traceback__) or _last(frames):
        message += f" ({place})"
    notes = [one_line(note, LONGEST) for note in getattr(error, "__notes__", ())]
    return "; ".join([message, *notes])


def _last(frames: Sequence[traceback.FrameSummary]) -> str:
    if not frames:
        return ""
    return f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name}"


def _layer(trace: TracebackType | None) -> str:
    """The innermost layer of torch in a traceback, with its name in the network."""
    torch = sys.modules.get("torch")
    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(trace)]
    called = [owner for owner in owners if torch and isinstance(owner, torch.nn.Module)]
    if not called or not type(called[-1]).__module__.startswith("torch.nn."):
        return ""
    name = next((name for name, part in called[0].named_modules() if part is called[-1]), "")
    return f"in layer {name}, {one_line(called[-1], LONGEST)}" if name else ""


def _of_library(filename: str) -> bool:
    if filename.startswith("<"):
        return not filename.startswith(_TYPED)
    parts = PurePath(filename).parts
    installed = "site-packages" in parts or "dist-packages" in parts
    return installed or any(PurePath(filename).is_relative_to(place) for place in _LIBRARIES)


def _attribute(text: str, module_name: str, attribute: str, file: Path | None) -> Any:
    prepare()  # the code may import torchvision
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # foreign code may raise anything
        raise PluginError(f"cannot import {text}: {described(error)}") from error
    found = getattr(module, "__file__", None)
    if file is not None and (found is None or Path(found).resolve() != file.resolve()):
        raise PluginError(
            f"cannot import {text}: another module is called {module_name}; rename the file"
        )
    try:
        return getattr(module, attribute)
    except Exception:  # a module may compute its attributes
        near = nearest(attribute, [name for name in vars(module) if not name.startswith("_")])
        raise PluginError(
            f"cannot import {text}: {module_name} has no attribute {attribute!r}{near}"
        ) from None


def _seed() -> None:
    """The generators of Python and NumPy; that of torch has a seed already."""
    random.seed(0)
    np.random.seed(0)


def _is_file(path: Path) -> bool:
    """Whether there is such a file; also where the text cannot be a path."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let modules of a folder be imported; ``sys.path`` is as before at the end."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()  # a file that was written just now is found too
    try:
        yield
    finally:
        sys.path[:] = before
