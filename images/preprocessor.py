"""From readable assembly sources to lines that keystone accepts.

Keystone assembles one text and tells neither lines nor symbols; it has no include files, no structures, and its own macros lose the line of an
error. So the sources are written in Intel syntax with these few directives, all handled here, one a line:

    ; text                          comment
    .include "file"                 relative to this file; a file is read once, a second mention is ignored
    .section NAME                   text, rodata, data, bss (or what the unit's builder lays out); lines go there until the next one
    .const NAME = EXPRESSION        a number, used wherever the name stands; an operand of numbers only is worked out here
    .struct NAME [= OFFSET] ... .endstruct        inside it `.field NAME, BYTES`: constants NAME.FIELD (offset) and NAME.size
    .macro NAME [A, B] ... .endmacro              `NAME x, y` pastes the body with \\A, \\B replaced and \\@ a number unique to the use
    .repeat COUNT, I ... .endrepeat               pastes the body COUNT times with \\I counting from 0
    .if EXPRESSION ... [.else ...] .endif         on numbers and constants
    .NAME: / .NAME                  a label local to the last label without a dot, as in NASM; elsewhere it is `label.NAME`


Every other directive (.byte, .quad, .asciz, .zero, .balign, .code16...) is keystone's own. Three of its traps are closed here: `gs:[NUMBER]`, which
it would make relative to RIP, becomes an absolute address; a .byte or .word that does not fit is an error instead of nothing at all; and decimal
numbers are handed on in hexadecimal, because it may take them for that once the process has seen an error.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from images.errors import ImageError

DEFAULT_SECTION = "text"
MAX_DEPTH = 32                      # of macros in macros: a macro that pastes itself ends here
MAX_LINES = 200_000                 # of output: a runaway .repeat ends here
KEYSTONE_DIRECTIVES = frozenset(".byte .word .short .long .quad .ascii .asciz .zero .fill .balign .code16 .code32 .code64".split())

_STRING = re.compile(r'"(?:\\.|[^"\\])*"')
_NAME = r"[A-Za-z_]\w*"
_LABEL = re.compile(rf"\s*(\.?{_NAME})\s*:\s*")
_WORD = re.compile(rf"(?<![\w.$\\])(?:\.?{_NAME}(?:\.{_NAME})*)")
_OPERAND = re.compile(r"(^[\w.]+ |[,\[] ?)([-~(0-9][0-9a-fA-Fx()|&^<>~*/% +-]*)(?=[,\]]|$)")
_OPERATOR = re.compile(r"[|&^<>*/%+]|[0-9a-fA-F)]\s*-|~")
_SEGMENT_ABSOLUTE = re.compile(r"\b([fg]s):\[ ?(0x[0-9a-f]+)\]")
_DATA = re.compile(r"(\.byte|\.word|\.short|\.long|\.quad) (.+)")
_WIDTH = {".byte": 8, ".word": 16, ".short": 16, ".long": 32, ".quad": 64}
_NUMBER = re.compile(r"-?(?:0x[0-9a-fA-F]+|\d+)")
_DECIMAL = re.compile(r"(?<![\w.$'])\d{2,}(?![\w.'])")      # one digit is the same in both
_PARAMETER = re.compile(rf"\\({_NAME}|@)")
_CONST = re.compile(rf"({_NAME}(?:\.{_NAME})*)\s*=\s*(.+)")
_STRUCT = re.compile(rf"({_NAME})(?:\s*=\s*(.+))?")
_FIELD = re.compile(rf"({_NAME})\s*,\s*(.+)")


@dataclass(frozen=True, slots=True)
class Line:
    """One line, and where a person finds it."""

    text: str
    file: Path
    number: int
    via: str = ""                   # the macro or repetition that pasted it

    def error(self, message: str) -> ImageError:
        """An error that names this line."""
        return ImageError(f"{self.file}:{self.number}: {message}{f' (pasted by {self.via})' if self.via else ''}")


@dataclass(frozen=True, slots=True)
class Label:
    """A label's full name and its line."""

    name: str
    line: Line


@dataclass(slots=True)
class Unit:
    """What one main file and its includes say.

    Attributes:
        sections: lines for keystone by section, in order of first mention.
        labels: every label by its full name.
        constants: every constant at the end of the file.
        files: what was read.
    """

    sections: dict[str, list[Line]] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Macro:
    parameters: tuple[str, ...]
    body: tuple[Line, ...]


def preprocess(path: Path, constants: Mapping[str, int] | None = None) -> Unit:
    """Read `path` and what it includes. `constants` are defined before its first line. Raises: ImageError."""
    reader = _Reader(dict(constants or {}))
    reader.read(path)
    return reader.unit


class _Reader:
    """Turns source lines into a Unit."""

    def __init__(self, constants: dict[str, int]) -> None:
        self.unit = Unit(constants=constants)
        self.section = DEFAULT_SECTION
        self.scope = ""                                 # the label that local labels belong to
        self.macros: dict[str, _Macro] = {}
        self.uses = 0
        self.emitted = 0

    def read(self, path: Path) -> None:
        """Read a whole file."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ImageError(f"{path}: {error}") from None
        self.unit.files.append(path)
        lines = (Line(strip_comment(raw), path, number) for number, raw in enumerate(text.splitlines(), 1))
        self.take(iter([line for line in lines if line.text]), 0)

    def take(self, lines: Iterator[Line], depth: int) -> None:
        """Handle lines one by one."""
        for line in lines:
            word, _, rest = line.text.partition(" ")
            handler = _DIRECTIVES.get(word)
            if handler is not None:
                handler(self, line, rest.strip(), lines, depth)
            elif word in _ENDS:
                raise line.error(f"{word} without its beginning")
            elif word in self.macros:
                self.paste_macro(line, word, rest.strip(), depth)
            else:
                self.emit(line)

    def emit(self, line: Line) -> None:
        """A line for keystone: labels noted, names replaced."""
        text = line.text
        while (found := _LABEL.match(text)) is not None:
            self.define_label(found[1], line)
            text = text[found.end():]
        if not text:
            return
        if text.startswith(".") and text.split(maxsplit=1)[0] not in KEYSTONE_DIRECTIVES:
            raise line.error(f"unknown directive {text.split(maxsplit=1)[0]}")
        text = self.replace_names(text, line)
        if (data := _DATA.fullmatch(text)) is not None:
            check_width(data[1], data[2], line)
        self.put(Line(_SEGMENT_ABSOLUTE.sub(r"\1:[riz*1 + \2]", text), line.file, line.number, line.via))

    def put(self, line: Line) -> None:
        self.emitted += 1
        if self.emitted > MAX_LINES:
            raise line.error(f"more than {MAX_LINES} lines: a repetition does not end")
        self.unit.sections.setdefault(self.section, []).append(line)

    def define_label(self, name: str, line: Line) -> None:
        if name.startswith("."):
            if not self.scope:
                raise line.error(f"the local label {name} has no label before it")
            name = self.scope + name
        else:
            self.scope = name
        if name in self.unit.labels:
            first = self.unit.labels[name].line
            raise line.error(f"the label {name} exists already, at {first.file}:{first.number}")
        if name in self.unit.constants:
            raise line.error(f"{name} is a constant and cannot be a label")
        self.unit.labels[name] = Label(name, line)
        self.put(Line(f"{name}:", line.file, line.number, line.via))

    def replace_names(self, text: str, line: Line) -> str:
        """Constants become numbers and local labels full names, outside strings."""
        if "\\" in _STRING.sub("", text):
            raise line.error("a \\parameter outside a macro or repetition")

        def replace(match: re.Match[str]) -> str:
            word = match[0]
            if word.startswith("."):
                return word if match.start() == 0 else self.scope + word
            value = self.unit.constants.get(word)
            return word if value is None else hex(value)
        pieces, end = [], 0
        for string in _STRING.finditer(text):
            pieces += [_WORD.sub(replace, text[end:string.start()]), string[0]]
            end = string.end()
        pieces.append(_WORD.sub(replace, text[end:]))
        if len(pieces) == 1:
            pieces = [_OPERAND.sub(lambda match: match[1] + self.fold(match[2], line), pieces[0])]
        return "".join(piece if piece.startswith('"') else _DECIMAL.sub(lambda match: hex(int(match[0])), piece) for piece in pieces)

    def fold(self, operand: str, line: Line) -> str:
        """An operand of numbers as one number: keystone knows few operators."""
        return hex(self.value(operand, line)) if _OPERATOR.search(operand) else operand

    def value(self, text: str, line: Line) -> int:
        """The number an expression stands for."""
        try:
            return evaluate(text, self.unit.constants)
        except ValueError as error:
            raise line.error(str(error)) from None

    # --- directives: (line, what stands behind the word, the lines that follow, depth of pasting) ---------------------------------------------
    def on_include(self, line: Line, rest: str, _lines: Iterator[Line], _depth: int) -> None:
        if not _STRING.fullmatch(rest):
            raise line.error('.include wants a "file"')
        path = line.file.parent / rest[1:-1]
        if path.resolve() in (known.resolve() for known in self.unit.files):
            return
        if not path.is_file():
            raise line.error(f"there is no file {path}")
        section = self.section
        self.read(path)
        self.section = section

    def on_section(self, line: Line, rest: str, _lines: Iterator[Line], _depth: int) -> None:
        if not re.fullmatch(_NAME, rest):
            raise line.error(".section wants a name")
        self.section = rest

    def on_const(self, line: Line, rest: str, _lines: Iterator[Line], _depth: int) -> None:
        found = _CONST.fullmatch(rest)
        if found is None:
            raise line.error(".const wants NAME = EXPRESSION")
        self.define_constant(found[1], self.value(found[2], line), line)

    def on_struct(self, line: Line, rest: str, lines: Iterator[Line], _depth: int) -> None:
        found = _STRUCT.fullmatch(rest)
        if found is None:
            raise line.error(".struct wants a NAME")
        offset = self.value(found[2], line) if found[2] else 0
        for inner in self.block(line, lines, ".struct", ".endstruct"):
            word, _, declared = inner.text.partition(" ")
            member = _FIELD.fullmatch(declared.strip())
            if word != ".field" or member is None:
                raise inner.error("a .struct holds lines like `.field NAME, BYTES`")
            self.define_constant(f"{found[1]}.{member[1]}", offset, inner)
            offset += self.value(member[2], inner)
        self.define_constant(f"{found[1]}.size", offset, line)

    def define_constant(self, name: str, value: int, line: Line) -> None:
        if name in self.unit.constants:
            raise line.error(f"the constant {name} exists already")
        if name in self.unit.labels:
            raise line.error(f"{name} is a label and cannot be a constant")
        self.unit.constants[name] = value

    def on_macro(self, line: Line, rest: str, lines: Iterator[Line], _depth: int) -> None:
        name, _, parameters = rest.partition(" ")
        if not re.fullmatch(_NAME, name) or name in self.macros:
            raise line.error(f"the macro {name} exists already" if name in self.macros else ".macro wants a NAME")
        names = tuple(part.strip() for part in parameters.split(",") if part.strip())
        self.macros[name] = _Macro(names, tuple(self.block(line, lines, ".macro", ".endmacro")))

    def paste_macro(self, line: Line, name: str, rest: str, depth: int) -> None:
        macro = self.macros[name]
        given = tuple(part.strip() for part in split_arguments(rest))
        if len(given) != len(macro.parameters):
            raise line.error(f"{name} wants {len(macro.parameters)} arguments ({', '.join(macro.parameters) or 'none'}), not {len(given)}")
        self.uses += 1
        values = dict(zip(macro.parameters, given, strict=True)) | {"@": str(self.uses)}
        self.paste(line, macro.body, values, f"{name} at {line.file.name}:{line.number}", depth)

    def on_repeat(self, line: Line, rest: str, lines: Iterator[Line], depth: int) -> None:
        count, _, name = rest.partition(",")
        body = tuple(self.block(line, lines, ".repeat", ".endrepeat"))
        for index in range(self.value(count, line)):
            self.paste(line, body, {name.strip(): str(index)}, f".repeat at {line.file.name}:{line.number}, pass {index}", depth)

    def on_if(self, line: Line, rest: str, lines: Iterator[Line], depth: int) -> None:
        branches: tuple[list[Line], list[Line]] = ([], [])
        level, branch = 0, 0
        for inner in self.block(line, lines, ".if", ".endif"):
            level += inner.text.startswith(".if ") - (inner.text == ".endif")
            if inner.text == ".else" and level == 0:
                branch += 1
                if branch > 1:
                    raise inner.error("a second .else")
            else:
                branches[branch].append(inner)
        self.take(iter(branches[0] if self.value(rest, line) else branches[1]), depth)

    def paste(self, line: Line, body: Iterable[Line], values: Mapping[str, str], via: str, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise line.error(f"macros are nested {MAX_DEPTH} deep")

        def replace(match: re.Match[str]) -> str:
            return values.get(match[1], match[0])
        self.take(iter([Line(_PARAMETER.sub(replace, inner.text), inner.file, inner.number, via) for inner in body]), depth + 1)

    @staticmethod
    def block(opening: Line, lines: Iterator[Line], begin: str, end: str) -> Iterator[Line]:
        """The lines up to the directive that ends this block, inner blocks of the same kind included."""
        level = 0
        for line in lines:
            word = line.text.split(maxsplit=1)[0]
            level += (word == begin) - (word == end)
            if level < 0:
                return
            yield line
        raise opening.error(f"{begin} without {end}")


_Handler = Callable[[_Reader, Line, str, Iterator[Line], int], None]
_DIRECTIVES: dict[str, _Handler] = {
    ".include": _Reader.on_include, ".section": _Reader.on_section, ".const": _Reader.on_const, ".struct": _Reader.on_struct,
    ".macro": _Reader.on_macro, ".repeat": _Reader.on_repeat, ".if": _Reader.on_if,
}
_ENDS = frozenset((".endstruct", ".endmacro", ".endrepeat", ".endif", ".else", ".field"))


def strip_comment(raw: str) -> str:
    """A source line without its comment and outer blanks; inner runs of blanks outside strings become one."""
    pieces, end = [], 0
    for string in _STRING.finditer(raw):
        if ";" in raw[end:string.start()]:
            break
        pieces += [raw[end:string.start()], string[0]]
        end = string.end()
    pieces.append(raw[end:].partition(";")[0])
    return "".join(piece if piece.startswith('"') else re.sub(r"\s+", " ", piece) for piece in pieces).strip()


def split_arguments(text: str) -> list[str]:
    """Arguments of a macro at commas outside brackets and strings."""
    parts, depth, quoted, start = [], 0, False, 0
    for at, character in enumerate(text):
        if character == '"' and (at == 0 or text[at - 1] != "\\"):
            quoted = not quoted
        elif not quoted and character in "[(":
            depth += 1
        elif not quoted and character in "])":
            depth -= 1
        elif character == "," and depth == 0 and not quoted:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]] if text else []


def check_width(directive: str, operands: str, line: Line) -> None:
    """Numbers of a data directive must fit. Raises: ImageError."""
    width = _WIDTH[directive]
    for operand in operands.split(","):
        if _NUMBER.fullmatch(operand.strip()) and not -1 << width - 1 <= int(operand, 0) < 1 << width:
            raise line.error(f"{int(operand, 0)} does not fit into {directive}")


_BINARY: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv, ast.Div: operator.floordiv,
    ast.Mod: operator.mod, ast.LShift: operator.lshift, ast.RShift: operator.rshift, ast.BitOr: operator.or_, ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}
_COMPARE: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}


def evaluate(text: str, names: Mapping[str, int]) -> int:
    """An expression of integers, constants and the operators + - * / % << >> | & ^ ~ == != < <= > >= ( ). Raises: ValueError."""
    try:
        return _evaluate(ast.parse(text.strip(), mode="eval").body, names)
    except (SyntaxError, ZeroDivisionError) as error:
        raise ValueError(f"{text.strip()!r} is no expression: {error.args[0]}") from None


def _evaluate(node: ast.expr, names: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return number
        case ast.Constant(value=str(character)) if len(character) == 1:
            return ord(character)
        case ast.Name() | ast.Attribute():
            name = ast.unparse(node)
            if name not in names:
                raise ValueError(f"the constant {name} is not known here")
            return names[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, names)
        case ast.UnaryOp(op=ast.Invert(), operand=operand):
            return ~_evaluate(operand, names)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_evaluate(left, names), _evaluate(right, names))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return int(_COMPARE[type(op)](_evaluate(left, names), _evaluate(right, names)))
        case _:
            raise ValueError(f"{ast.unparse(node)!r} is not an expression of numbers and constants")
