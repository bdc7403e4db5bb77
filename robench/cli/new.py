"""The group ``robench new``: a distribution to start from."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from robench.errors import UsageError
from robench.file_names import file_name

new = typer.Typer(help="Start something of your own.", no_args_is_help=True)

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "{module}/__init__.py": "init.py",
    "{module}/model.py": "model.py",
    "{module}/attack.py": "attack.py",
    "{module}/dataset.py": "dataset.py",
    "tests/test_{module}.py": "test.py",
}
"""The template of each file."""


@new.callback()
def group() -> None:
    """Keep ``plugin`` a command of a group."""


@new.command()
def plugin(
    name: Annotated[
        str, typer.Argument(help="Of the folder and the distribution, such as my-plugin.")
    ],
) -> None:
    """Write a plug-in with a model, an attack and a data set, which can be installed."""
    module = module_of(name)
    folder = Path(name)
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{name} exists already: choose another name, or another folder to be in")
    for path, text in plugin_files(name, module).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8", newline="\n")
    print(f"wrote {name}; next:")
    print(f"    pip install -e ./{name}")
    print("    robench list plugins")
    attacks = f"pgd,spgd,{name}-corner"
    print(f"    robench run --models {name}-bars/snn --attacks {attacks} --output out/{name}")


def module_of(name: str) -> str:
    """The name of the Python package of a plug-in.

    Raises:
        UsageError: a plug-in cannot have the name; the text says why.
    """
    if not _NAME.fullmatch(name) or file_name(name) != name:
        words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)
        near = "-".join(words).lower()
        near = near if _NAME.fullmatch(near) and file_name(near) == near else "my-plugin"
        raise UsageError(
            f"plug-in name {name!r}: write it in lower-case letters, digits and single dashes, "
            f"such as {near}"
        )
    module = name.replace("-", "_")
    if keyword.iskeyword(module):
        taken = "is a keyword of Python"
    elif module in sys.stdlib_module_names or module == "tests":
        taken = "is a module of Python itself"
    elif _installed(module):
        taken = "is a module that is installed here"
    else:
        return module
    raise UsageError(f"plug-in name {name!r} {taken}: choose another, such as my-{name}")


def _installed(module: str) -> bool:
    """Whether a module can be imported that is more than a folder."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):  # it is half imported, or refuses to be looked at
        return True
    return spec is not None and spec.origin is not None


def plugin_files(name: str, module: str) -> dict[str, str]:
    """The text of each file of a plug-in, by its path in the folder."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("robench.cli", "templates/plugin"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return {
        path.format(module=module): environment.get_template(f"{template}.j2").render(
            name=name, module=module
        )
        for path, template in FILES.items()
    }
