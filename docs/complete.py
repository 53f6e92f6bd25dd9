"""The reference is complete: the build fails if a public name of a package (one in its ``__all__``) is nowhere in it."""

import importlib
import pkgutil
import types

import minidl


def public_names():
    """The packages for users that say what is public, each with every such name."""
    packages = [found.name for found in pkgutil.walk_packages(minidl.__path__, "minidl.") if found.ispkg]
    for package in ["minidl", *packages]:
        if not package.startswith("minidl.kernels"):
            module = importlib.import_module(package)
            for name in getattr(module, "__all__", ()):
                if not isinstance(getattr(module, name), types.ModuleType):
                    yield module, name


def missing(documented):
    """The public names that are not among the documented ones, nor is the same thing under another public name."""
    whole = [(module, name, f"{module.__name__}.{name}") for module, name in public_names()]
    things = {id(getattr(module, name)) for module, name, full in whole if full in documented}
    return [full for module, name, full in whole if full not in documented and id(getattr(module, name)) not in things]
