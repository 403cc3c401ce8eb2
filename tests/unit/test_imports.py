"""No module and no folder imports itself by way of others. Imports inside functions and for the type checker count."""

import ast
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pipeline


def imports_of(root: Path) -> Mapping[str, set[str]]:
    """By module of the package at ``root``, the modules of it that it imports."""
    files = {".".join(file.relative_to(root.parent).with_suffix("").parts): file for file in root.rglob("*.py")}
    modules = {name.removesuffix(".__init__"): file for name, file in files.items()}
    found: dict[str, set[str]] = {}
    for module, file in modules.items():
        names = [_known(name, modules) for name in _imported(ast.parse(file.read_text(encoding="utf-8")))]
        found[module] = {name for name in names if name and name != module}
    return found


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _known(name: str, modules: Mapping[str, Path]) -> str:
    """The module that ``name`` is, or is of; empty for one of another package."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def folders(imports: Mapping[str, set[str]], packages: Collection[str]) -> Mapping[str, set[str]]:
    """The same by folder: the package that a module lies in; a package's own __init__ lies in it."""
    found: dict[str, set[str]] = {}
    for module, imported in imports.items():
        here = _folder(module, packages)
        found.setdefault(here, set()).update(_folder(name, packages) for name in imported)
        found[here].discard(here)
    return found


def _folder(module: str, packages: Collection[str]) -> str:
    return module if module in packages else module.rpartition(".")[0]


def _packages(root: Path) -> set[str]:
    return {".".join(file.parent.relative_to(root.parent).parts) for file in root.rglob("__init__.py")}


def circle(imports: Mapping[str, set[str]]) -> list[str]:
    """One that there is; empty: there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_there_is_no_circle() -> None:
    root = Path(pipeline.__path__[0])
    imports = imports_of(root)
    assert len(imports) > 200
    assert circle(imports) == []
    assert circle(folders(imports, _packages(root))) == []


def test_a_circle_is_found(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    (room / "__init__.py").touch()
    (room / "one.py").write_text("def run():\n    from room.two import act\n    act()\n")
    (room / "two.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import room.one\n")
    assert set(circle(imports_of(room))) == {"room.one", "room.two"}


def test_a_circle_of_folders_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "room" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "__init__.py").touch()
    (inner.parent / "registry.py").write_text("from room.inner.one import act\n")
    (inner.parent / "value.py").touch()
    (inner / "one.py").write_text("import room.value\n")
    imports = imports_of(tmp_path / "room")
    assert circle(imports) == []
    assert set(circle(folders(imports, _packages(tmp_path / "room")))) == {"room", "room.inner"}
