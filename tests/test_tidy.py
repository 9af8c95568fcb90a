"""The house rules, checked on the source: sizes, names, purity, docstrings, what must be documented."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE_FOLDERS = ("schemas", "streams", "agents", "syncline", "console", "tests", "benchmarks", "deploy")
PURE_FOLDERS = ("schemas", "streams")

LINES_IN_STREAMS = 40
LINES_ELSEWHERE = 60

VAGUE = ("manager", "handler", "processor", "helper", "util", "misc")
VAGUE_WORDS = {*VAGUE, *(f"{word}s" for word in VAGUE)}
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

# Whatever differs from one run to the next.
IMPURE_MODULES = {"time", "random", "secrets"}
IMPURE_NAMES = {"now", "utcnow", "today", "uuid1", "uuid4", "urandom"}
IMPURE_OWNERS = {"datetime", "date", "uuid", "os"}

SKIPS = {"skip", "skipif", "importorskip"}
INDEX_OPTION = re.compile(r"--(extra-)?index-url|--trusted[-]host|--find[-]links|<(repositor|mirror)[a-z]*>")
INDEX_VARIABLES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
PUBLIC_HOSTS = {"pypi.org"}


@cache
def files() -> tuple[Path, ...]:
    """Every file of the project that is not ignored by git, as a path below ROOT."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return tuple(sorted(Path(name) for name in listed if name and (ROOT / name).is_file()))


@cache
def modules() -> dict[Path, ast.Module]:
    """Every Python module of the project, parsed."""
    sources = [path for path in files() if path.suffix == ".py" and path.parts[0] in SOURCE_FOLDERS]
    return {path: ast.parse((ROOT / path).read_text(), str(path)) for path in sources}


def pure_modules() -> dict[Path, ast.Module]:
    """The modules that must depend on their arguments alone."""
    return {path: tree for path, tree in modules().items() if path.parts[0] in PURE_FOLDERS}


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions and methods of a module, nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def given_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Names that the module gives itself, with their lines; what others named is not ours to judge."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def vague(name: str) -> bool:
    """Whether one of the words of a snake_case or CamelCase name says nothing."""
    return any(word.lower() in VAGUE_WORDS for word in WORD.findall(name))


def impurities(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Uses of a clock or of chance, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] in IMPURE_MODULES]
            yield from ((node.lineno, name) for name in names)
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names if alias.name in IMPURE_NAMES]
            names += [node.module] if node.module in IMPURE_MODULES else []
            yield from ((node.lineno, name) for name in names)
        elif isinstance(node, ast.Attribute) and node.attr in IMPURE_NAMES:
            owner = ast.unparse(node.value).split(".")[-1]
            if owner in IMPURE_OWNERS:
                yield node.lineno, f"{owner}.{node.attr}"


def documentation() -> str:
    """README and everything in docs/."""
    pages = [ROOT / path for path in files() if path.name == "README.md" or path.parts[0] == "docs"]
    return "\n".join(page.read_text() for page in pages if page.suffix == ".md")


def test_functions_are_short() -> None:
    """No function body is longer than 40 lines in streams/ or 60 elsewhere."""
    too_long = [
        f"{path}:{function.lineno} {function.name} has {body_lines(function)} lines"
        for path, tree in modules().items()
        for function in functions(tree)
        if body_lines(function) > (LINES_IN_STREAMS if path.parts[0] == "streams" else LINES_ELSEWHERE)
    ]
    assert too_long == []


def test_names_say_something() -> None:
    """No name that we give, of a file or in it, has a word that would fit anything."""
    named_files = [str(path) for path in files() if any(vague(part) for part in path.parts)]
    names = [
        f"{path}:{line} {name}" for path, tree in modules().items() for line, name in given_names(tree) if vague(name)
    ]
    assert named_files + names == []


def test_schemas_and_streams_know_no_clock_and_no_chance() -> None:
    """What is said and what is decided depends on its arguments alone."""
    found = [f"{path}:{line} {what}" for path, tree in pure_modules().items() for line, what in impurities(tree)]
    assert found == []


def test_every_test_says_what_holds() -> None:
    """Each test function has a docstring."""
    silent = [
        f"{path}:{function.lineno} {function.name}"
        for path, tree in modules().items()
        if path.parts[0] == "tests"
        for function in functions(tree)
        if function.name.startswith("test") and not ast.get_docstring(function)
    ]
    assert silent == []


def test_public_names_of_schemas_and_streams_are_documented() -> None:
    """Each module, public function and public class in schemas/ and streams/ has a docstring."""
    silent = [str(path) for path, tree in pure_modules().items() if not ast.get_docstring(tree)]
    silent += [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in pure_modules().items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert silent == []


def test_every_topic_is_documented() -> None:
    """Each topic of the table in streams/topics.py stands in README or docs/, set as code."""
    from streams.topics import TOPICS

    text = documentation()
    assert [topic.name for topic in TOPICS if not re.search(rf"`[a-z.]*{topic.name}`", text)] == []


def test_every_setting_is_documented() -> None:
    """Each SYNCLINE_* variable that agents/settings.py reads stands in README."""
    from agents.settings import Settings

    prefix = Settings.model_config.get("env_prefix", "")
    names = {f"{prefix}{name}".upper() for name in Settings.model_fields}
    names |= set(re.findall(r"SYNCLINE_[A-Z_]+[A-Z]", (ROOT / "agents" / "settings.py").read_text()))
    text = (ROOT / "README.md").read_text()
    assert sorted(name for name in names if not re.search(rf"\b{name}\b", text)) == []


def test_no_file_names_a_package_index() -> None:
    """Where packages come from is each machine's own affair: no option and no host of it is in a file."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    configured = subprocess.run(command, capture_output=True, text=True).stdout
    urls = re.findall(r"https?://[^\s'\"]+", configured)
    urls += [os.environ[name] for name in INDEX_VARIABLES if name in os.environ]
    hosts = {host for url in urls if (host := urlsplit(url).hostname)} - PUBLIC_HOSTS
    found = []
    for path in files():
        text = (ROOT / path).read_text(errors="replace")
        if INDEX_OPTION.search(text) or any(host in text for host in hosts):
            found.append(str(path))
    # The message names files alone, for a host is what must not be shown.
    assert not found, f"these files name a package index: {', '.join(found)}"


def test_no_test_is_skipped() -> None:
    """A test that cannot run fails or is not there; none is skipped."""
    skipped = [
        f"{path}:{node.lineno} {ast.unparse(node)}"
        for path, tree in modules().items()
        if path.parts[0] == "tests"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        if node.attr in SKIPS and ast.unparse(node.value) in ("pytest", "pytest.mark", "unittest")
    ]
    assert skipped == []


def test_imports_run_one_way() -> None:
    """The import contracts of pyproject.toml hold."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_using_syncline_does_not_load_faust() -> None:
    """A producer or reader that imports syncline gets neither Faust nor mode."""
    program = (
        "import sys, syncline; from syncline import Publisher, SyncPublisher;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'faust', 'mode'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import time", ["time"]),
        ("from random import choice", ["random"]),
        ("from uuid import uuid4", ["uuid4"]),
        ("datetime.now(UTC)", ["datetime.now"]),
        ("datetime.datetime.utcnow()", ["datetime.utcnow"]),
        ("os.urandom(8)", ["os.urandom"]),
        ("limits.now, hashlib.sha256(b''), record.time", []),
    ],
)
def test_impurities_are_found(source: str, expected: list[str]) -> None:
    """The search for clocks and chance finds each form of them and nothing else."""
    assert [what for _, what in impurities(ast.parse(source))] == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("EventHandler", True),
        ("url_utils", True),
        ("HTTPManager", True),
        ("permission", False),
        ("futile", False),
    ],
)
def test_vague_names_are_found(name: str, expected: bool) -> None:
    """The search for vague names looks at whole words of snake_case and CamelCase."""
    assert vague(name) is expected


def test_body_lines_leave_out_the_docstring() -> None:
    """A function's length is that of its statements."""
    tree = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    a = 1\n\n    return a\n')
    assert [body_lines(function) for function in functions(tree)] == [3]
