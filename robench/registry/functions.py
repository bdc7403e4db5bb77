"""Models and counterparts that a function makes: of a module, of a file, or of a plug-in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from robench.datasets import find_dataset
from robench.errors import PluginError, RobenchError, UsageError
from robench.isolation import isolated
from robench.model_id import ModelId, dashed
from robench.plugins import Plugin
from robench.registry.fingerprint import network_sha256
from robench.registry.fingerprint.libraries import library_class
from robench.registry.model import Model
from robench.spiking import Wrapped
from robench.user_code import SILENT, called, imported


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
    """The model of ``package.module:name`` or ``path/to/file.py:name``.

    Args:
        text: names a function or a class that makes a network without arguments, or a network.
        dataset: of a plain network.

    Raises:
        PluginError: it cannot be imported, fails, or makes something else.
    """
    with imported(text) as made:  # it may import its neighbours when it is called
        name = text.rpartition(":")[2]
        model = _call(made, lambda what: PluginError(f"{text} {what}"), dataset, name)
    model.registered = False
    return model


def counterpart_sha256(model: Model) -> str:
    """SHA-256 of the state and code of a network's ANN counterpart, which is built for it.

    It is empty without one, and where a version or a weight file stands for the network.

    Raises:
        PluginError: it cannot be built.
        UsageError: it cannot be hashed.
    """
    if model.make_counterpart is None or model.version or model.sha256:
        return ""

    def fail(what: str) -> PluginError:
        return PluginError(f"model {model.id}: make_counterpart {what}")

    with isolated():
        made = called(model.built_counterpart, fail)
    if not isinstance(made, nn.Module):
        raise fail(f"returned {type(made).__name__}, not a torch.nn.Module")
    return network_sha256(made)


def _call(
    make: Any, fail: Callable[[str], RobenchError], dataset: str | None = None, name: str = ""
) -> Model:
    made = make if isinstance(make, nn.Module | Model) else called(make, fail)
    if isinstance(made, nn.Module) and dataset is not None:
        made = called(_of_network, fail, made, dataset, name)
    if isinstance(made, Model):
        return made
    what = "a network without its data set" if isinstance(made, nn.Module) else type(made).__name__
    raise fail(
        f"returned {what}, not a robench.Model; wrap a network like "
        "robench.Model(net, dataset='digits'), or name its data set with --dataset"
    )


def _of_network(network: nn.Module, dataset: str, name: str) -> Model:
    """A plain network as a model, whose labels fit it.

    A network of a library's class, such as ``nn.Sequential`` or ``ResNet``, is called as the
    function, if that has a name that describes it.
    """
    inner = network.net if isinstance(network, Wrapped) else network
    named = ""
    if name not in SILENT and library_class(type(inner)):
        named = dashed(name.replace("_", "-"))
    model_id = ModelId(f"{dataset}/{named}" if named else "")
    model = Model(network, model_id, dataset=dataset)
    found = find_dataset(dataset)
    if found.derived and (reason := found.read("test").misfit(model.classes)):
        raise UsageError(f"{model.id}: {reason}")
    return model
