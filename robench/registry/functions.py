"""Models that a function makes: of a module, of a file, or of a plug-in."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from robench.errors import PluginError, RobenchError, UsageError
from robench.isolation import isolated
from robench.plugins import Plugin
from robench.registry.model import Model
from robench.text import one_line


def from_plugin(plugin: Plugin) -> Model:
    """The model that a plug-in makes.

    Raises:
        PluginError: it cannot be imported, fails, or makes something else.
    """
    with isolated():
        model = _call(plugin.load(), plugin.error)
    if model.id != plugin.name:
        raise plugin.error(f"returned a model with the id {model.id!r}")
    model.origin, model.registered = plugin.origin, True
    return model


def from_function(text: str, dataset: str | None = None) -> Model:
    """The model of ``package.module:function`` or ``path/to/file.py:function``.

    Args:
        text: names the function.
        dataset: of a function that returns a plain network.

    Raises:
        PluginError: the function cannot be imported, fails, or returns something else.
    """
    place, _, attribute = text.rpartition(":")
    file = Path(place) if place.endswith(".py") else None
    if file is not None and not _is_file(file):
        raise PluginError(f"cannot import {text}: there is no file {file}")
    folder = Path.cwd() if file is None else file.resolve().parent
    module_name = place if file is None else file.stem
    with isolated(), _importable(folder):  # the function may import its neighbours when called
        try:
            make = getattr(importlib.import_module(module_name), attribute)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            what = one_line(f"{type(error).__name__}: {error}")
            raise PluginError(f"cannot import {text}: {what}") from error
        if file is not None and not _is_from(module_name, file):
            raise PluginError(f"cannot import {text}: another module is called {module_name}")
        model = _call(make, lambda what: PluginError(f"{text} {what}"), dataset)
    model.registered = False
    return model


def _is_file(path: Path) -> bool:
    """Whether there is such a file; also where the text cannot be a path."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _call(make: Any, fail: Callable[[str], RobenchError], dataset: str | None = None) -> Model:
    try:
        made = make()
        if isinstance(made, nn.Module) and dataset is not None:
            made = Model(made, dataset=dataset)
    except UsageError as error:  # raised by the model's code: it must not stop other models
        raise fail(f"failed: {error}") from error
    except RobenchError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # foreign code may raise anything
        text = one_line(error)
        raise fail(f"failed: {type(error).__name__}: {text}") from error
    if isinstance(made, Model):
        return made
    what = "a network without its data set" if isinstance(made, nn.Module) else type(made).__name__
    raise fail(
        f"returned {what}, not a robench.Model; wrap a network like "
        "robench.Model(net, dataset='digits'), or name its data set with --dataset"
    )


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let modules of a folder be imported; ``sys.path`` is as before at the end."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before


def _is_from(module_name: str, file: Path) -> bool:
    """Whether an imported module is that of a file."""
    found = getattr(sys.modules[module_name], "__file__", None)
    return found is not None and Path(found).resolve() == file.resolve()
