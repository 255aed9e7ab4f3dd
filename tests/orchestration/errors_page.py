"""Reads every error of the source, and writes the page that lists them: `orchestration/errors.md`."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[2]
CODES = PROJECT / "orchestration" / "error_codes.yaml"
PAGE = PROJECT / "orchestration" / "errors.md"
ROOMS = ("assets", "orchestration", "resources")
ERRORS = {"SultanaError", "TransientError"}
VALUE = "…"
PASSED_ON = ""
"""The code of an error that hands on the code of another."""

HEAD = """# Errors

<!-- Made from the source and error_codes.yaml: UPDATE_SNAPSHOTS=1 pytest tests/orchestration/test_errors.py -->

Every error that a user can cause or meet says what is wrong and where, what to do, and in brackets the code of its
kind. The command line prints it as one sentence and ends with status 1; in Dagster it is the error of the step. A
code keeps its meaning from release to release; the words may change. `…` stands for what is named in each case.
"""


@dataclass(frozen=True)
class Said:
    """One place that makes an error: where it is, its code (None where it has none that can be read), and its words."""

    where: str
    code: str | None
    problem: str
    remedy: str


def _names(node: ast.expr) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _text(node: ast.expr | None, constants: dict[str, str]) -> str:
    """The words of an expression, with `VALUE` for what is known only as it runs."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, constants) for part in parts)
        case ast.Name(id=name) | ast.FormattedValue(value=ast.Name(id=name)) if name in constants:
            return constants[name]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left, constants) + _text(right, constants)
        case ast.Call(func=ast.Attribute(value=template, attr="format")):
            return re.sub(r"\{\w*\}", VALUE, _text(template, constants))
    return VALUE


def _code(call: ast.Call, constants: dict[str, str]) -> str | None:
    for keyword in call.keywords:
        match keyword:
            case ast.keyword(arg="code", value=ast.Constant(value=str(code))):
                return code
            case ast.keyword(arg="code", value=ast.Name(id=name)) if name in constants:
                return constants[name]
            case ast.keyword(arg="code", value=ast.Attribute(attr="code")) | ast.keyword(arg=None):
                return PASSED_ON
    return None


def _calls(tree: ast.AST, names: set[str]) -> Iterator[ast.Call]:
    for call in ast.walk(tree):
        is_named = isinstance(call, ast.Call) and not isinstance(call.func, ast.Call | ast.Attribute)
        if is_named and _names(call.func) & names:
            yield call


def _makers(tree: ast.Module) -> dict[str, tuple[ast.FunctionDef, ast.Call]]:
    """Functions of a file that make an error with a code that they are given, and how they make it."""
    found = {}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and any(one.arg == "code" for one in function.args.args):
            for call in _calls(function, ERRORS):
                found[function.name] = (function, call)
    return found


def _in_file(path: Path) -> Iterator[Said]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {
        one.targets[0].id: one.value.value
        for one in tree.body
        if isinstance(one, ast.Assign)
        and isinstance(one.targets[0], ast.Name)
        and isinstance(one.value, ast.Constant)
        and isinstance(one.value.value, str)
    }
    makers = _makers(tree)
    made_elsewhere = {id(call) for _, call in makers.values()}

    def said(call: ast.Call, known: dict[str, str], line: int) -> Said:
        problem, remedy, *_ = [_text(one, known) for one in call.args] + [VALUE, VALUE]
        return Said(f"{path.relative_to(PROJECT)}:{line}", _code(call, known), problem, remedy)

    for call in _calls(tree, ERRORS):
        if id(call) not in made_elsewhere:
            yield said(call, constants, call.lineno)
    for call in _calls(tree, set(makers)):
        function, making = makers[next(iter(_names(call.func)))]
        given = dict(zip((one.arg for one in function.args.args), call.args, strict=False))
        given |= {one.arg: one.value for one in call.keywords if one.arg}
        known = {name: _text(value, constants) for name, value in given.items()}
        yield said(making, constants | known, call.lineno)


def errors() -> list[Said]:
    """Every error that the product makes, in the order of files and lines."""
    return [
        said
        for room in ROOMS
        for path in sorted((PROJECT / room).rglob("*.py"))
        for said in sorted(_in_file(path), key=lambda one: int(one.where.rsplit(":", 1)[1]))
    ]


def meanings() -> dict[str, dict[str, str]]:
    """Subject → code → what it means."""
    found: dict[str, dict[str, str]] = yaml.safe_load(CODES.read_text(encoding="utf-8"))
    return found


def _cell(text: str) -> str:
    text = re.sub(rf"{VALUE}(?:{VALUE}|[ ,]{VALUE})*", VALUE, " ".join(text.split()))
    return re.sub(r"([|<>*\[\]\\`])", r"\\\1", text)


def page() -> str:
    """The page, as Markdown."""
    lines = [HEAD]
    said = errors()
    for subject, codes in meanings().items():
        lines.append(f"## {subject}\n")
        for code, meaning in codes.items():
            rows = dict.fromkeys(
                f"| {_cell(one.problem)} | {_cell(one.remedy)} |" for one in said if one.code == code
            )
            lines += [
                f"### `{code}`\n",
                f"{meaning}\n",
                "| what is said | what to do |",
                "|---|---|",
                *rows,
                "",
            ]
    return "\n".join(lines)
