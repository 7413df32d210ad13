"""Code fingerprints: what a stage's code is, so that a changed rule redoes its stage and a changed comment does not."""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
# How a stage is run, shown or reported cannot change what it makes (engines are tested to give equal bytes).
INFRASTRUCTURE = {
    "cli",
    "download",
    "engine",
    "fetch",
    "hub",
    "launch",
    "lineage",
    "pipeline",
    "progress",
    "recipe",
    "remote",
    "report",
    "serve",
    "stage",
    "stages",
    "workspace",
}


@cache
def _module_file(name: str) -> Path | None:
    path = PACKAGE.joinpath(*name.split(".")[1:])
    if path.with_suffix(".py").is_file() and path != PACKAGE:
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


@cache
def _parse(path: Path) -> tuple[str, frozenset[str]]:
    """The hash of a module's AST without docstrings, and the names of our modules that it imports anywhere."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports.add(node.module)
            imports.update(f"{node.module}.{alias.name}" for alias in node.names)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # A bare string is a docstring or a field's description: it says, it does not do.
            node.body = [n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]  # type: ignore[attr-defined]
    ours = frozenset(name for name in imports if name.split(".")[0] == "aquilamed" and _module_file(name))
    return hashlib.blake2b(ast.dump(tree).encode(), digest_size=16).hexdigest(), ours


def _data_files(folder: Path) -> list[Path]:
    """Lexicons, rubrics and templates of a package: they decide results as code does."""
    files = [f for f in folder.iterdir() if f.is_file() and f.suffix not in {".py", ".pyc"}]
    if folder != PACKAGE:
        plain = [
            d for d in folder.iterdir() if d.is_dir() and d.name != "__pycache__" and not (d / "__init__.py").exists()
        ]
        files += [f for d in plain for f in d.rglob("*") if f.is_file()]
    return sorted(files)


@cache
def code_hash(module: str) -> str:
    """32 hex digits for a module, all of our modules that it reaches by import, and their packages' data files."""
    seen: dict[str, str] = {}
    folders: set[Path] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _module_file(name)
        if path is None or name in seen or (name.split(".")[1:2] and name.split(".")[1] in INFRASTRUCTURE):
            continue
        seen[name], imports = _parse(path)
        folders.add(path.parent)
        waiting.extend(imports)
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(seen):
        digest.update(f"{name}={seen[name]}\n".encode())
    for file in sorted({f for folder in folders for f in _data_files(folder)}):
        digest.update(f"{file.relative_to(PACKAGE).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()
