"""A compiler from a small language to WebAssembly functions.

The language has the syntax of Python, so that `ast` parses it, and the semantics of WebAssembly. Types are i32, i64 and f64; a variable has the type of
its first assignment; an integer literal takes the type of what stands beside it, i32 if nothing tells. There are `def` with annotated parameters,
assignments, `while`, `if`, `return`, `break`, calls, and:

    + - * & | ^ << >> == != < <= > >=    signed; `//` and `%` are signed towards zero; `/` is for f64
    and or not                           on i32, short-circuit
    a if test else b
    divu remu shru ltu geu               unsigned
    load8 load32 load64 loadf            memory, by address; store8 store32 store64 storef (address, value)
    copy(to, source, length)             memory.copy; fill(to, byte, length)
    grow(pages) pages() trap()           memory.grow, memory.size, unreachable
    wide(i32) narrow(i64) real(i64)      i64.extend_i32_u, i32.wrap_i64, f64.convert_i64_s
    whole(f64) sqrt(f64) magnitude(f64)  i64.trunc_f64_s (traps if it does not fit), f64.sqrt, f64.abs
    put("literal")                       calls put_text(address, length) with the literal in the module's data
    at("literal") cell("literal")        its address, i32; its address and length as a text cell, i64
    heap                                 the one global, i32: where free memory begins

Only functions that `run` reaches are in the module.
"""

from __future__ import annotations

import ast
import struct
from collections.abc import Mapping

from jit_synth.wasm.encoder import EMPTY_BLOCK, PAGE, VALUE_TYPES, Body, Module, Signature, signed, unsigned

DATA_AT = 8                          # address 0 stays unused, so that no text begins there
HEAP_ALIGNMENT = 16

CONST = {"i32": 0x41, "i64": 0x42, "f64": 0x44}
BINARY: dict[type[ast.operator], tuple[int, int, int]] = {          # opcodes for i32, i64, f64; 0 = none (5.4.6)
    ast.Add: (0x6A, 0x7C, 0xA0), ast.Sub: (0x6B, 0x7D, 0xA1), ast.Mult: (0x6C, 0x7E, 0xA2), ast.Div: (0, 0, 0xA3),
    ast.FloorDiv: (0x6D, 0x7F, 0), ast.Mod: (0x6F, 0x81, 0), ast.BitAnd: (0x71, 0x83, 0), ast.BitOr: (0x72, 0x84, 0),
    ast.BitXor: (0x73, 0x85, 0), ast.LShift: (0x74, 0x86, 0), ast.RShift: (0x75, 0x87, 0)}
COMPARE: dict[type[ast.cmpop], tuple[int, int, int]] = {
    ast.Eq: (0x46, 0x51, 0x61), ast.NotEq: (0x47, 0x52, 0x62), ast.Lt: (0x48, 0x53, 0x63), ast.Gt: (0x4A, 0x55, 0x64),
    ast.LtE: (0x4C, 0x57, 0x65), ast.GtE: (0x4E, 0x59, 0x66)}
UNSIGNED = {"divu": (0x6E, 0x80), "remu": (0x70, 0x82), "shru": (0x76, 0x88), "ltu": (0x49, 0x54), "geu": (0x4F, 0x5A)}
INTRINSICS: dict[str, tuple[tuple[str, ...], str, bytes]] = {
    "load8": (("i32",), "i32", b"\x2d\x00\x00"), "load32": (("i32",), "i32", b"\x28\x02\x00"),
    "load64": (("i32",), "i64", b"\x29\x03\x00"), "loadf": (("i32",), "f64", b"\x2b\x03\x00"),
    "store8": (("i32", "i32"), "", b"\x3a\x00\x00"), "store32": (("i32", "i32"), "", b"\x36\x02\x00"),
    "store64": (("i32", "i64"), "", b"\x37\x03\x00"), "storef": (("i32", "f64"), "", b"\x39\x03\x00"),
    "copy": (("i32", "i32", "i32"), "", b"\xfc\x0a\x00\x00"), "fill": (("i32", "i32", "i32"), "", b"\xfc\x0b\x00"),
    "grow": (("i32",), "i32", b"\x40\x00"), "pages": ((), "i32", b"\x3f\x00"), "trap": ((), "", b"\x00"),
    "wide": (("i32",), "i64", b"\xad"), "narrow": (("i64",), "i32", b"\xa7"), "real": (("i64",), "f64", b"\xb9"),
    "whole": (("f64",), "i64", b"\xb0"), "sqrt": (("f64",), "f64", b"\x9f"), "magnitude": (("f64",), "f64", b"\x99")}
LITERALS = {"put": "", "at": "i32", "cell": "i64"}
INDEX = {"i32": 0, "i64": 1, "f64": 2}
BLOCK, LOOP, IF, ELSE, END, BR, BR_IF, RETURN, CALL, DROP = 0x02, 0x03, 0x04, 0x05, 0x0B, 0x0C, 0x0D, 0x0F, 0x10, 0x1A
LOCAL_GET, LOCAL_SET, GLOBAL_GET, GLOBAL_SET, I32_EQZ, F64_NEG = 0x20, 0x21, 0x23, 0x24, 0x45, 0x9A


class CompileError(Exception):
    """A mistake in generated source: ours, never the user's."""


def functions_of(source: str) -> dict[str, ast.FunctionDef]:
    """The functions of a source text, by name."""
    return {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


def compile_module(functions: Mapping[str, ast.FunctionDef], imports: Mapping[str, Signature]) -> bytes:
    """The module whose exported `run` is the function of that name; `imports` are those it may call, and only the called ones are in it."""
    return _Compiler(functions, imports).module().encode()


def signature_of(function: ast.FunctionDef) -> Signature:
    """Parameter types and result type from the annotations."""
    parameters = tuple(_type_name(argument.annotation) for argument in function.args.args)
    return parameters, _type_name(function.returns) if function.returns is not None else ""


def _type_name(annotation: ast.expr | None) -> str:
    if isinstance(annotation, ast.Name) and annotation.id in VALUE_TYPES:
        return annotation.id
    raise CompileError("a parameter or result has no type")


class _Compiler:
    """One module in the making: which functions and imports are reached, and the pool of literals."""

    def __init__(self, functions: Mapping[str, ast.FunctionDef], imports: Mapping[str, Signature]) -> None:
        self.functions = functions
        reached = _reached("run", functions, imports)
        self.imports = [(name, signature) for name, signature in imports.items() if name in reached]
        defined = [name for name in functions if name in reached]
        self.order = defined
        self.index = {name: number for number, name in enumerate([*(name for name, _ in self.imports), *defined])}
        self.signatures: dict[str, Signature] = {**dict(self.imports), **{name: signature_of(functions[name]) for name in defined}}
        self.data = bytearray()

    def module(self) -> Module:
        bodies = [_Function(self, self.functions[name]).body() for name in self.order]
        heap = DATA_AT + len(self.data) + HEAP_ALIGNMENT - 1 & -HEAP_ALIGNMENT
        return Module(self.imports, bodies, self.index["run"], heap // PAGE + 1, heap, bytes(self.data), DATA_AT)

    def literal(self, text: str) -> tuple[int, int]:
        """Address and length of a literal in the data; a text that is there already is shared."""
        data = text.encode()
        at = self.data.find(data)
        if at < 0:
            at = len(self.data)
            self.data += data
        return DATA_AT + at, len(data)


def _reached(start: str, functions: Mapping[str, ast.FunctionDef], imports: Mapping[str, Signature]) -> set[str]:
    reached, todo = set[str](), [start]
    while todo:
        name = todo.pop()
        if name in reached:
            continue
        reached.add(name)
        if name in functions:
            called = {node.func.id for node in ast.walk(functions[name]) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
            todo += [("put_text" if one == "put" else one) for one in called if one == "put" or one in functions or one in imports]
    return reached


class _Function:
    """One function in the making."""

    def __init__(self, compiler: _Compiler, node: ast.FunctionDef) -> None:
        self.compiler, self.node = compiler, node
        self.signature = signature_of(node)
        self.variables: dict[str, tuple[int, str]] = {
            argument.arg: (number, kind) for number, (argument, kind) in enumerate(zip(node.args.args, self.signature[0], strict=True))}
        self.locals: list[str] = []
        self.code = bytearray()
        self.depth = 0
        self.loops: list[int] = []               # for each loop the depth of the block that `break` leaves

    def body(self) -> Body:
        self.statements(self.node.body)
        if self.signature[1] and not isinstance(self.node.body[-1], ast.Return):
            self.code.append(0x00)               # unreachable: the source returns on every path
        return Body(self.signature, self.locals, bytes(self.code))

    # --- statements ---------------------------------------------------------------------------------------------------

    def statements(self, nodes: list[ast.stmt]) -> None:
        for node in nodes:
            self.statement(node)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.assign(name, value)
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                self.assign(name, ast.BinOp(ast.Name(name), op, value))
            case ast.Expr(value=ast.Constant()):
                pass                                          # a docstring
            case ast.Expr(value=value):
                if self.expression(value, None):
                    self.code.append(DROP)
            case ast.If(test=test, body=body, orelse=orelse):
                self.expression(test, "i32")
                self.block(IF, body)
                if orelse:
                    self.code[-1:] = bytes([ELSE])
                    self.depth += 1
                    self.statements(orelse)
                    self.depth -= 1
                    self.code.append(END)
            case ast.While(test=test, body=body):
                self.loop(test, body)
            case ast.Return(value=value):
                if (value is None) != (not self.signature[1]):
                    raise CompileError(f"{self.node.name} returns a value, or none, against its annotation")
                if value is not None:
                    self.expression(value, self.signature[1])
                if node is not self.node.body[-1]:
                    self.code.append(RETURN)
            case ast.Break():
                self.code.append(BR)
                self.code += unsigned(self.depth - self.loops[-1] - 1)
            case _:
                raise CompileError(f"no such statement: {ast.unparse(node)}")

    def assign(self, name: str, value: ast.expr) -> None:
        if name == "heap":
            self.expression(value, "i32")
            self.code += bytes([GLOBAL_SET, 0])
            return
        if name not in self.variables:
            kind = self.type_of(value) or "i32"
            self.variables[name] = (len(self.signature[0]) + len(self.locals), kind)
            self.locals.append(kind)
        index, kind = self.variables[name]
        self.expression(value, kind)
        self.code.append(LOCAL_SET)
        self.code += unsigned(index)

    def block(self, opcode: int, body: list[ast.stmt]) -> None:
        self.code += bytes([opcode, EMPTY_BLOCK])
        self.depth += 1
        self.statements(body)
        self.depth -= 1
        self.code.append(END)

    def loop(self, test: ast.expr, body: list[ast.stmt]) -> None:
        """Emit block { loop { if not test: leave; body; again } }."""
        self.code += bytes([BLOCK, EMPTY_BLOCK, LOOP, EMPTY_BLOCK])
        self.loops.append(self.depth)
        self.depth += 2
        if not (isinstance(test, ast.Constant) and test.value):
            self.expression(test, "i32")
            self.code += bytes([I32_EQZ, BR_IF, 1])
        self.statements(body)
        self.code += bytes([BR, 0, END, END])
        self.depth -= 2
        self.loops.pop()

    # --- expressions: each leaves one value and returns its type, "" for none ----------------------------------------

    def expression(self, node: ast.expr, wanted: str | None) -> str:
        kind = self.type_of(node) or wanted or "i32"
        if wanted and kind != wanted and self.type_of(node) is not None:
            raise CompileError(f"{ast.unparse(node)} is {kind or 'nothing'}, not {wanted}")
        match node:
            case ast.Constant(value=value):
                self.constant(value, kind)
            case ast.Name(id="heap"):
                self.code += bytes([GLOBAL_GET, 0])
            case ast.Name(id=name):
                self.code.append(LOCAL_GET)
                self.code += unsigned(self.variables[name][0])
            case ast.BinOp(left=left, op=op, right=right):
                self.operate(BINARY[type(op)], left, right, kind)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                self.operate(COMPARE[type(op)], left, right, self.type_of(left) or self.type_of(right) or "i32")
            case ast.BoolOp(op=op, values=[first, *rest]):
                self.expression(first, "i32")
                for other in rest:                            # if (result i32)
                    self.code += bytes([IF, VALUE_TYPES["i32"]])
                    if isinstance(op, ast.And):
                        self.branches(other, ast.Constant(0))
                    else:
                        self.branches(ast.Constant(1), other)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self.expression(operand, "i32")
                self.code.append(I32_EQZ)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)) if isinstance(value, (int, float)):
                self.constant(-value, kind)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                if kind == "f64":
                    self.expression(operand, kind)
                    self.code.append(F64_NEG)
                else:
                    self.operate(BINARY[ast.Sub], ast.Constant(0), operand, kind)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                self.expression(test, "i32")
                self.code += bytes([IF, VALUE_TYPES[kind]])
                self.branches(body, orelse, kind)
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self.call(name, arguments)
            case _:
                raise CompileError(f"no such expression: {ast.unparse(node)}")
        return kind

    def branches(self, then: ast.expr, otherwise: ast.expr, kind: str = "i32") -> None:
        self.expression(then, kind)
        self.code.append(ELSE)
        self.expression(otherwise, kind)
        self.code.append(END)

    def constant(self, value: object, kind: str) -> None:
        self.code.append(CONST[kind])
        if kind == "f64" and isinstance(value, (int, float)):
            self.code += struct.pack("<d", value)
        elif isinstance(value, int):
            self.code += signed(value)
        else:
            raise CompileError(f"no such constant: {value!r}")

    def operate(self, opcodes: tuple[int, ...], left: ast.expr, right: ast.expr, kind: str) -> None:
        self.expression(left, kind)
        self.expression(right, kind)
        if not opcodes[INDEX[kind]]:
            raise CompileError(f"no such operation on {kind}: {ast.unparse(left)}, {ast.unparse(right)}")
        self.code.append(opcodes[INDEX[kind]])

    def call(self, name: str, arguments: list[ast.expr]) -> str:
        if name in UNSIGNED:
            kind = self.type_of(arguments[0]) or self.type_of(arguments[1]) or "i32"
            self.operate(UNSIGNED[name], arguments[0], arguments[1], kind)
            return "i32" if name in ("ltu", "geu") else kind
        if name in LITERALS:
            assert isinstance(arguments[0], ast.Constant)
            address, length = self.compiler.literal(str(arguments[0].value))
            if name != "put":
                self.constant(address if name == "at" else address | length << 32, LITERALS[name])
                return LITERALS[name]
            name, arguments = "put_text", [ast.Constant(address), ast.Constant(length)]
        parameters, result = self.signatures(name)
        if len(parameters) != len(arguments):
            raise CompileError(f"{name} takes {len(parameters)} arguments")
        for argument, kind in zip(arguments, parameters, strict=True):
            self.expression(argument, kind)
        if name in INTRINSICS:
            self.code += INTRINSICS[name][2]
        else:
            self.code.append(CALL)
            self.code += unsigned(self.compiler.index[name])
        return result

    def signatures(self, name: str) -> Signature:
        if name in INTRINSICS:
            return INTRINSICS[name][:2]
        if name not in self.compiler.signatures:
            raise CompileError(f"no such function: {name}")
        return self.compiler.signatures[name]

    def type_of(self, node: ast.expr) -> str | None:
        """The type of an expression; None if it is made of integer literals only."""
        match node:
            case ast.Constant(value=value):
                return "f64" if isinstance(value, float) else None
            case ast.Name(id="heap") | ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                return "i32"
            case ast.Name(id=name):
                if name not in self.variables:
                    raise CompileError(f"no such variable: {name}")
                return self.variables[name][1]
            case ast.BinOp(left=left, right=right):
                return self.type_of(left) or self.type_of(right)
            case ast.UnaryOp(operand=operand):
                return self.type_of(operand)
            case ast.IfExp(body=body, orelse=orelse):
                return self.type_of(body) or self.type_of(orelse)
            case ast.Call(func=ast.Name(id=name), args=arguments):
                if name in ("ltu", "geu"):
                    return "i32"
                if name in UNSIGNED:
                    return self.type_of(arguments[0]) or self.type_of(arguments[1])
                return LITERALS[name] if name in LITERALS else self.signatures(name)[1]
            case _:
                raise CompileError(f"no such expression: {ast.unparse(node)}")
