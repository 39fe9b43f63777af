"""The runtime's limits, its linking by capability, and hostile modules. The modules are written as text (WAT), so that our own emitter has no part in it."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator

import pytest
import wasmtime

from jit_synth.abi import PackedRows, capability_of, is_granted, unpack
from jit_synth.refusals import CommandStopped, LinkError, StopKind, SynthesisError
from jit_synth.runtime import Limits, Program, Rows, Run, interrupt
from jit_synth.values import Shape, Type
from kernel.telemetry import Column, Kind

NUMBER = Type(Shape.SCALAR, (Column("n", Kind.INTEGER, ""),))
TEXT = Type(Shape.SCALAR, (Column("t", Kind.TEXT, ""),))
CPUS: Rows = ((Column("id", Kind.INTEGER, ""), Column("name", Kind.TEXT, "")), [(7, "größe"), (8, "")])
WRITE = '(import "env" "folk_stream_write" (func $write (param i32 i32)))'
READ = '(import "env" "folk_stream_read" (func $read (param i32 i32) (result i32)))'
SMALL = Limits(fuel=100_000, memory=1 << 20, output=4096, seconds=30.0)         # time enough for a busy host: other limits are met first


def program(body: str, imports: str = WRITE, grants: frozenset[str] = frozenset(), limits: Limits = SMALL, extra: str = "") -> Program:
    return Program(wasmtime.wat2wasm(f'(module {imports} (memory (export "memory") 1) {extra} (func (export "run") {body}))'), grants, limits)


def run(one: Program, kind: Type = NUMBER, upstream: Rows | None = None) -> Run:
    return one.run(kind, lambda name: CPUS, upstream)


def stop(one: Program, kind: Type = NUMBER, upstream: Rows | None = None) -> CommandStopped:
    with pytest.raises(CommandStopped) as caught:
        run(one, kind, upstream)
    return caught.value


# --- limits ---------------------------------------------------------------------------------------------------------------

def test_an_endless_loop_runs_out_of_fuel() -> None:
    trouble = stop(program("(loop (br 0))"))
    assert trouble.kind is StopKind.FUEL and "fuel" in str(trouble) and "100000" in str(trouble)


def test_a_memory_bomb_is_refused_its_pages() -> None:
    assert stop(program("(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable")).kind is StopKind.MEMORY


def test_a_module_that_wants_too_much_memory_at_once() -> None:
    wasm = wasmtime.wat2wasm('(module (memory (export "memory") 60000) (func (export "run")))')
    trouble = stop(Program(wasm, frozenset(), SMALL))
    assert trouble.kind is StopKind.MEMORY and "1 MiB" in str(trouble)


def test_bulk_memory_that_fuel_does_not_see_is_stopped_by_time() -> None:
    limits = Limits(fuel=1 << 60, memory=16 << 20, seconds=0.05)
    assert stop(program("(drop (memory.grow (i32.const 200))) (loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 13000000)) (br 0))",
                        limits=limits)).kind is StopKind.TIME


def test_another_thread_can_interrupt_a_run_and_only_that() -> None:
    interrupt()                                            # nothing runs: nothing happens
    began = threading.Event()
    body = "(drop (call $read (i32.const 0) (i32.const 0))) (loop (br 0))"
    endless = program(body, READ, frozenset({"stream"}), Limits(fuel=1 << 60, seconds=60.0))

    def interrupted() -> None:
        assert began.wait(30)
        interrupt()

    class Rowful(list[tuple[object, ...]]):
        def __iter__(self) -> Iterator[tuple[object, ...]]:
            began.set()                                    # the module runs, and asks for its input
            return super().__iter__()

    other = threading.Thread(target=interrupted)
    other.start()
    assert stop(endless, upstream=(CPUS[0], Rowful(CPUS[1]))).kind is StopKind.INTERRUPTED
    other.join()
    assert run(program("(i64.store (i32.const 0) (i64.const 7)) (call $write (i32.const 0) (i32.const 8))"), NUMBER).rows, "the next run is not touched"


def test_endless_recursion_ends_in_the_stack_limit() -> None:
    limits = Limits(fuel=1 << 40)
    assert stop(program("(call $f)", extra="(func $f (local i64 i64 i64 i64) (call $f))", limits=limits)).kind is StopKind.STACK


def test_a_start_function_is_limited_like_run() -> None:
    for body, kind in (("(loop (br 0))", StopKind.FUEL), ("unreachable", StopKind.TRAP), ("(call $f)", StopKind.STACK)):
        limits = Limits(fuel=1 << 30) if kind is StopKind.STACK else SMALL
        assert stop(program("", extra=f"(func $f {body}) (start $f)", limits=limits)).kind is kind


def test_a_start_function_that_calls_the_host_before_there_is_a_memory() -> None:
    assert stop(program("", extra="(func $f (call $write (i32.const 0) (i32.const 8))) (start $f)")).kind is StopKind.BAD_ACCESS


def test_bulk_memory_in_a_start_function_is_stopped_by_time() -> None:
    limits = Limits(fuel=1 << 60, memory=16 << 20, seconds=0.05)
    body = "(drop (memory.grow (i32.const 200))) (loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 13000000)) (br 0))"
    assert stop(program("", extra=f"(func $f {body}) (start $f)", limits=limits)).kind is StopKind.TIME


def test_a_result_without_end_is_cut() -> None:
    assert stop(program("(loop (call $write (i32.const 0) (i32.const 1024)) (br 0))")).kind is StopKind.MEMORY


@pytest.mark.parametrize(("body", "kind"), [
    ("unreachable", StopKind.TRAP), ("(drop (i32.load (i32.const -4)))", StopKind.BAD_ACCESS),
    ("(drop (i64.div_s (i64.const 1) (i64.const 0)))", StopKind.NO_ROWS),
    ("(drop (i64.div_s (i64.const 0x8000000000000000) (i64.const -1)))", StopKind.OVERFLOW), ("(drop (i64.trunc_f64_s (f64.const nan)))", StopKind.NOT_FINITE)])
def test_traps_have_names(body: str, kind: StopKind) -> None:
    assert stop(program(body)).kind is kind


def test_a_run_leaves_nothing_behind() -> None:
    one = program("(i64.store (i32.const 8) (i64.add (i64.load (i32.const 8)) (i64.const 1))) (call $write (i32.const 8) (i32.const 8))")
    assert [run(one).rows for _ in range(3)] == [[(1,)]] * 3
    assert len({run(one).fuel for _ in range(3)}) == 1


# --- linking --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("imports", "capability"), [
    ('(import "env" "folk_rows_tasks" (func (param i32 i32) (result i32)))', "telemetry.tasks"),
    ('(import "env" "folk_http_get" (func (param i32 i32 i32 i32) (result i32)))', "env.folk_http_get"),
    ('(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))', "wasi_snapshot_preview1.fd_write"),
    ('(import "wasi" "folk_stream_write" (func (param i32 i32)))', "wasi.folk_stream_write")])
def test_an_import_that_was_not_granted_does_not_link_and_is_named(imports: str, capability: str) -> None:
    with pytest.raises(LinkError, match=capability.replace(".", r"\.")) as caught:
        program("", imports, frozenset({"telemetry.cpus"}))
    assert caught.value.capability == capability


@pytest.mark.parametrize("imports", ['(import "env" "folk_stream_write" (func (param i64)))', '(import "env" "folk_stream_write" (global i32))',
                                     '(import "env" "folk_rows_cpus" (func (param i32 i32)))'])
def test_an_import_of_another_type_does_not_link(imports: str) -> None:
    with pytest.raises(LinkError, match="another type"):
        program("", imports, frozenset({"telemetry"}))


def test_granted_imports_link_and_give_live_rows() -> None:
    rows = '(import "env" "folk_rows_cpus" (func $rows (param i32 i32) (result i32)))'
    body = "(drop (call $rows (i32.const 64) (i32.const 60000))) (call $write (i32.const 72) (i32.const 32))"
    kind = Type(Shape.TABLE, tuple(CPUS[0]))
    assert run(program(body, rows + WRITE, frozenset({"telemetry.cpus"})), kind).rows == list(CPUS[1])


@pytest.mark.parametrize("wasm", [b"", b"\0asm", b"\x7fELF", b"\0asm\x01\0\0\0\xff", b"(module)"])
def test_what_is_no_module_is_one_line(wasm: bytes) -> None:
    with pytest.raises(SynthesisError) as caught:
        Program(wasm, frozenset())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text",
                         ['(module (func (export "run")))', '(module (memory (export "memory") 1))',
                          '(module (memory (export "memory") 1) (func (export "run") (param i32)))',
                                  '(module (func (export "memory")) (memory (export "run") 1))'])
def test_a_module_without_memory_and_run_does_not_load(text: str) -> None:
    with pytest.raises(SynthesisError, match="export"):
        Program(wasmtime.wat2wasm(text), frozenset())


def test_capabilities_by_prefix() -> None:
    assert capability_of("folk_rows_cpus") == "telemetry.cpus"
    assert is_granted("telemetry.cpus", {"telemetry"}) and is_granted("telemetry.cpus", {"telemetry.cpus"})
    assert not is_granted("telemetry.cpus", {"telemetry.cpu", "tele"}) and not is_granted("telemetry", {"telemetry.cpus"})
    assert is_granted("pipe.read", ())


# --- what crosses the border ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("body",
                         ["(call $write (i32.const 65530) (i32.const 8))", "(call $write (i32.const -8) (i32.const 16))",
                          "(call $write (i32.const 8) (i32.const -1))"])
def test_results_outside_the_memory(body: str) -> None:
    assert stop(program(body, limits=Limits())).kind in (StopKind.BAD_ACCESS, StopKind.MEMORY)


def test_a_read_to_outside_the_memory() -> None:
    assert stop(program("(drop (call $read (i32.const -4) (i32.const -1)))", READ), upstream=CPUS).kind is StopKind.BAD_ACCESS


def test_a_read_into_too_little_room_tells_what_it_needs_and_writes_nothing() -> None:
    body = ("(i64.store (i32.const 0) (i64.extend_i32_u (call $read (i32.const 16) (i32.const 4))))"
            "(i64.store (i32.const 8) (i64.load (i32.const 16))) (call $write (i32.const 0) (i32.const 16))")
    kind = Type(Shape.TABLE, (Column("n", Kind.INTEGER, ""),))
    assert run(program(body, READ + WRITE), kind, CPUS).rows == [(PackedRows(*CPUS).size,), (0,)]


def test_a_read_without_a_pipe() -> None:
    assert stop(program("(drop (call $read (i32.const 0) (i32.const 0)))", READ)).kind is StopKind.BAD_INPUT


@pytest.mark.parametrize(("length", "kind", "wanted"), [(4, NUMBER, StopKind.BAD_RESULT), (16, NUMBER, StopKind.BAD_RESULT), (0, NUMBER, StopKind.NO_ROWS)])
def test_results_that_are_not_what_the_plan_says(length: int, kind: Type, wanted: StopKind) -> None:
    assert stop(program(f"(call $write (i32.const 0) (i32.const {length}))"), kind).kind is wanted


def test_texts_that_are_not_utf8_or_lie_elsewhere() -> None:
    def cell(address: int, length: int) -> Program:
        return program("(call $write (i32.const 0) (i32.const 8))", extra=f'(data (i32.const 0) "{_escaped(struct.pack("<II", address, length))}\\ff\\fe")')

    assert stop(cell(8, 2), TEXT).kind is StopKind.BAD_RESULT
    assert stop(cell(0xFFFF_FFF0, 0x20), TEXT).kind is StopKind.BAD_ACCESS
    assert run(cell(0, 0), TEXT).rows == [("",)]


def test_a_result_that_is_not_finite() -> None:
    real = Type(Shape.SCALAR, (Column("x", Kind.REAL, ""),))
    assert stop(program("(f64.store (i32.const 0) (f64.const inf)) (call $write (i32.const 0) (i32.const 8))"), real).kind is StopKind.NOT_FINITE


def test_packed_rows_come_back() -> None:
    columns, rows = CPUS
    data = PackedRows(columns, rows).at(1000)

    def read(address: int, length: int) -> bytes:
        return data[address - 1000:address - 1000 + length]

    assert unpack(Type(Shape.TABLE, tuple(columns)), data[8:8 + 32], read) == list(rows)


def _escaped(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)
