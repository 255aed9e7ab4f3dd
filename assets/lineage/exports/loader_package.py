"""The loader that leaves with an export: Sultana's own files, copied, with their imports made relative.

Nothing is written twice: what an exported folder is read with is what Sultana trains with. The files are
`batch_loader.py` and everything of Sultana that it imports.
"""

import ast
import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
ROOMS = ("assets", "resources")
ENTRY = "assets.lineage.exports.batch_loader"
EXAMPLE = "assets.lineage.exports.loader_example"


def loader_files() -> dict[str, str]:
    """File name -> source text of the package `loader`; the same for the same code."""
    waiting, modules = [ENTRY, EXAMPLE], dict[str, str]()
    while waiting:
        module = waiting.pop(0)
        if module not in modules:
            modules[module] = _path(module).read_text(encoding="utf-8")
            waiting += _own_imports(modules[module])
    names = {module: _file_name(module) for module in modules}
    if len(set(names.values())) < len(names):
        raise RuntimeError(f"two modules of the loader have one name: {sorted(names)}")
    return {
        names[module]: _header(module) + _relative(source, names)
        for module, source in sorted(modules.items())
    }


def _path(module: str) -> Path:
    return PROJECT.joinpath(*module.split(".")).with_suffix(".py")


def _file_name(module: str) -> str:
    special = {ENTRY: "__init__.py", EXAMPLE: "example.py"}
    return special.get(module, f"{module.rpartition('.')[2]}.py")


def _header(module: str) -> str:
    return (
        f"# Copied from Sultana (Apache-2.0), {module.replace('.', '/')}.py; only its imports were changed.\n"
    )


def _own_imports(source: str) -> list[str]:
    return [
        node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ROOMS
    ]


def _relative(source: str, names: dict[str, str]) -> str:
    lines = source.split("\n")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in names:
            name = names[node.module].removesuffix(".py").replace("__init__", "")
            line = lines[node.lineno - 1]
            lines[node.lineno - 1] = re.sub(
                rf"\bfrom {re.escape(node.module)} import", f"from .{name} import", line
            )
        elif isinstance(node, ast.Import) and any(one.name.split(".")[0] in ROOMS for one in node.names):
            raise RuntimeError(f"write 'from … import …' in a module of the loader, line {node.lineno}")
    return "\n".join(lines)
