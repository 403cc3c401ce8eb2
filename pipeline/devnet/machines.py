"""Which virtual machine runs here."""

from importlib.util import find_spec

from pipeline.devnet.vm import Vm


def new_vm() -> Vm:
    """The faster machine that is installed."""
    if find_spec("pyrevm"):
        from pipeline.devnet.revm import Revm

        return Revm()
    from pipeline.devnet.pyevm import PyEvm

    return PyEvm()
