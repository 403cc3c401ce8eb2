"""Each noun once: no two public classes of the pipeline have one name, whatever package they are in."""

import ast
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pipeline


def public_classes(root: Path) -> Mapping[str, list[str]]:
    """By name of a public class at the top of a module, the modules under ``root`` that have one."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted(root.rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(file.relative_to(root).as_posix())
    return found


def homonyms(root: Path) -> Mapping[str, list[str]]:
    """Those of more than one module."""
    return {name: modules for name, modules in public_classes(root).items() if len(modules) > 1}


def test_each_public_class_has_a_name_of_its_own() -> None:
    root = Path(pipeline.__path__[0])
    assert len(public_classes(root)) > 300
    assert homonyms(root) == {}


def test_homonyms_are_found(tmp_path: Path) -> None:
    for module, name in (("one", "Node"), ("two", "Node"), ("three", "_Node"), ("four", "Block")):
        (tmp_path / f"{module}.py").write_text(f"class {name}:\n    pass\n")
    assert homonyms(tmp_path) == {"Node": ["one.py", "two.py"]}
