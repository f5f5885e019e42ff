"""The arrow rule of the architecture, no cycles, and what a light start and a small install may import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vivavoce

ROOT = Path(vivavoce.__file__).parent
LAYERS = (
    {"types", "errors", "timing", "flow", "config", "progress"},
    {"media", "features", "losses", "weights"},
    {"video", "splat"},
    {"methods"},
    {"train", "corpus", "evaluation", "studio", "cluster"},
    {"personal"},
    {"cli", "batch"},
)
"""Each imports from itself and from those before it only."""
HEAVY = ("torch", "numba", "mediapipe", "av", "cv2", "scipy", "PIL", "soxr", "numpy")
EXTRAS = ("gsplat", "pocketsphinx", "skimage")


def modules():
    """Dotted name to file, of every module of the package."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("vivavoce", *path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name, *, lazy):
    """The modules of the package that a module imports; `lazy` counts those in functions and for types."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")
                base = ".".join([*above[: len(above) - node.level + 1], base]).rstrip(".")
            whole = {f"{base}.{alias.name}" for alias in node.names}
            found |= {module for module in whole if module in MODULES} or {base}
        skipped = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        )
        if lazy or not skipped:
            waiting.extend(ast.iter_child_nodes(node))
    return {module for module in found if module.split(".")[0] == "vivavoce"}


def layer(name):
    part = name.split(".")[1]
    return next(i for i, parts in enumerate(LAYERS) if part in parts)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "vivavoce"])
def test_arrows_point_down(name):
    for imported in imports(name, lazy=True) - {"vivavoce"}:
        assert layer(imported) <= layer(name), f"{name} imports {imported}"
        families = {name.split(".")[1], imported.split(".")[1]}
        assert families != {"video", "splat"}, f"{name} imports {imported}"


def test_no_module_imports_itself_by_a_way_round():
    arrows = {name: imports(name, lazy=False) - {"vivavoce"} for name in MODULES}
    for name, imported in arrows.items():  # a package runs before its modules
        for module in tuple(imported):
            parts = module.split(".")
            packages = {".".join(parts[:i]) for i in range(2, len(parts))}
            arrows[name] |= {p for p in packages if p in MODULES and not name.startswith(p)}
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for imported in sorted(arrows.get(name, ())):
            visit(imported)
        done.add(path.pop())

    for name in MODULES:
        visit(name)


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "start",
    [
        "import vivavoce; vivavoce.create, vivavoce.generate",
        "from vivavoce.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        *(
            f"from vivavoce.cli import main\ntry: main(['{command}', '--help'])\nexcept SystemExit: pass"
            for command in ("generate", "plan", "weights", "methods")
        ),
    ],
)
def test_a_light_start(start):
    run = python(f"{start}\nimport sys\nprint('loaded', [m for m in {HEAVY!r} if m in sys.modules])")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "loaded []"


def test_every_module_imports_without_the_extras():
    code = f"""
import importlib, sys
for extra in {EXTRAS!r}:
    sys.modules[extra] = None
for name in {sorted(MODULES)!r}:
    importlib.import_module(name)
print("all")
"""
    run = python(code)
    assert run.stdout == "all\n", run.stderr
    assert run.stderr == ""


@pytest.mark.parametrize(
    "command",
    [
        ["methods"],
        ["plan", "a.png", "b.wav", "-o", "c.yaml"],
        ["generate", "b.wav", "-o", "c.mp4", "--method", "apoavatar"],
    ],
)
def test_a_missing_extra_is_named(command):
    run = python(
        f"import sys\nsys.modules['diffusers'] = None\nfrom vivavoce.cli import main\nsys.exit(main({command!r}))"
    )
    assert run.returncode == 2
    assert run.stderr == (
        "vivavoce: This needs packages that are not installed (diffusers): run pip install 'vivavoce[video]'.\n"
    )
