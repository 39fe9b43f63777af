"""The encoder and the compiler of the small language, against wasmtime's validator and its arithmetic."""

from __future__ import annotations

import math
import struct

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from jit_synth.wasm.compiler import DATA_AT, CompileError, compile_module, functions_of
from jit_synth.wasm.encoder import MAGIC, Body, Module, signed, unsigned
from jit_synth.wasm.routines import ROUTINES

I64 = st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.sampled_from([0, 1, -1, 63, 64, 127, 128, -128, -129, (1 << 63) - 1, -(1 << 63)]))
RESULT = 4096


def run(source: str) -> bytes:
    """Compile a `run`, run it, and give 64 bytes from RESULT on."""
    store = wasmtime.Store()
    module = wasmtime.Module(store.engine, compile_module(functions_of(source), {}))
    exports = wasmtime.Instance(store, module, []).exports(store)
    entry, memory = exports["run"], exports["memory"]
    assert isinstance(entry, wasmtime.Func) and isinstance(memory, wasmtime.Memory)
    entry(store)
    return bytes(memory.read(store, RESULT, RESULT + 64))


def i64(expression: str) -> int:
    return int(struct.unpack_from("<q", run(f"def run():\n    store64({RESULT}, {expression})"))[0])


def f64(expression: str) -> float:
    return float(struct.unpack_from("<d", run(f"def run():\n    storef({RESULT}, {expression})"))[0])


def wrapped(number: int) -> int:
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


@given(st.integers(0, (1 << 64) - 1))
def test_unsigned_leb128_is_read_back(number: int) -> None:
    data = unsigned(number)
    assert sum((byte & 0x7F) << 7 * index for index, byte in enumerate(data)) == number and all(byte & 0x80 for byte in data[:-1]) and data[-1] < 0x80


@given(I64)
def test_signed_leb128_is_read_back_and_shortest(number: int) -> None:
    data = signed(number)
    value = sum((byte & 0x7F) << 7 * index for index, byte in enumerate(data))
    assert (value - (1 << 7 * len(data)) if data[-1] & 0x40 else value) == number
    assert len(data) == max(1, math.ceil(((number if number >= 0 else ~number).bit_length() + 1) / 7))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(I64, I64)
def test_integer_arithmetic(a: int, b: int) -> None:
    shift = b & 63
    expected = {"+": wrapped(a + b), "-": wrapped(a - b), "*": wrapped(a * b), "&": a & b, "|": a | b, "^": a ^ b, "<<": wrapped(a << shift), ">>": a >> shift}
    lines = [f"    store64({RESULT + 8 * index}, x {sign} y)" for index, sign in enumerate(expected)]
    found = struct.unpack("<8q", run("\n".join([f"def run():\n    x = wide(0) + {a}\n    y = wide(0) + {b}", *lines])))
    assert dict(zip(expected, found, strict=True)) == expected


@settings(max_examples=40, deadline=None, derandomize=True)
@given(I64, I64.filter(lambda number: number not in (0, -1)))
def test_division_is_towards_zero_and_unsigned_division_is_unsigned(a: int, b: int) -> None:
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    expected = [quotient, a - quotient * b, wrapped((a % (1 << 64)) // (b % (1 << 64))), wrapped((a % (1 << 64)) % (b % (1 << 64)))]
    lines = "".join(f"    store64({RESULT + 8 * index}, {text})\n" for index, text in enumerate(["x // y", "x % y", "divu(x, y)", "remu(x, y)"]))
    assert list(struct.unpack("<4q", run(f"def run():\n    x = wide(0) + {a}\n    y = wide(0) + {b}\n{lines}")[:32])) == expected


@settings(max_examples=40, deadline=None, derandomize=True)
@given(I64, I64)
def test_comparisons_and_conditionals(a: int, b: int) -> None:
    sum_ = "wide(x < y or x == y) + wide(not x >= y) * 2 + wide(ltu(x, y)) * 4 + (8 if x != y and 1 else wide(0))"
    source = f"def run():\n    x = wide(0) + {a}\n    y = wide(0) + {b}\n    store64({RESULT}, {sum_})"
    expected = (a <= b) + (a < b) * 2 + (a % (1 << 64) < b % (1 << 64)) * 4 + (a != b) * 8
    assert struct.unpack_from("<q", run(source))[0] == expected


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(min_value=1e-300, max_value=1e300))
def test_reals(a: float, b: float) -> None:
    assert struct.pack("<d", f64(f"({a!r} + {b!r}) * 0.5 - magnitude({a!r}) / {b!r}")) == struct.pack("<d", (a + b) * 0.5 - abs(a) / b)


def test_loops_leave_by_break_and_by_test() -> None:
    assert i64("0") == 0
    source = f"""
def triangle(n: i64) -> i64:
    total = wide(0)
    while 1:
        if n == 0:
            break
        inner = wide(0)
        while inner < n:
            inner += 1
            total += 1
        n -= 1
    return total

def run():
    store64({RESULT}, triangle(10))
"""
    assert struct.unpack_from("<q", run(source))[0] == 55


def test_literals_are_shared_and_lie_behind_address_zero() -> None:
    source = f"def run():\n    store32({RESULT}, at(\"size\"))\n    store32({RESULT + 4}, at(\"iz\"))\n    store64({RESULT + 8}, cell(\"größe\"))"
    first, second, cell = struct.unpack_from("<IIQ", run(source))
    assert first == DATA_AT and second == first + 1 and cell >> 32 == len("größe".encode())


def test_a_module_has_only_what_run_reaches() -> None:
    small = compile_module(functions_of(ROUTINES + "\ndef run():\n    add(1, 2)\n"), {})
    assert len(small) <= 128 and small[:8] == MAGIC


def test_every_routine_compiles_and_validates() -> None:
    functions = functions_of(ROUTINES)
    for name, function in functions.items():
        arguments = ", ".join({"i32": "0", "i64": "0",
                               "f64": "0.0"}[ast_name] for ast_name in [argument.annotation.id for argument in function.args.args])  # type: ignore[union-attr]
        wasm = compile_module({**functions, **functions_of(f"def run():\n    {name}({arguments})\n")}, {})
        wasmtime.Module.validate(wasmtime.Engine(), wasm)


@pytest.mark.parametrize("body",
                         ["x", "store64(0, 1.0)", "f()", "for_ever = nothing", "store64(0)", "y = 'text'", "return 1", "a = 1\n    a = 1.0", "del_ = [1]"])
def test_mistakes_in_generated_source_are_compile_errors(body: str) -> None:
    with pytest.raises((CompileError, KeyError)):
        compile_module(functions_of(f"def run():\n    {body}\n"), {})


def test_an_empty_module_is_valid() -> None:
    wasmtime.Module.validate(wasmtime.Engine(), Module(bodies=[Body(((), ""), [], b"")]).encode())
