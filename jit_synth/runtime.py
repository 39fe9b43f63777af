"""Running modules: wasmtime with limits on fuel, memory, stack and time, and with nothing imported that was not granted.

Fuel bounds the instructions, and so nearly always the time; the engine's epoch bounds what fuel does not see (bulk memory operations).
wasmtime is loaded at the first use; `import jit_synth.runtime` costs nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jit_synth.abi import (
    LARGEST_INPUT, READ_SIGNATURE, SOURCE_PREFIX, STREAM_READ, STREAM_WRITE, WRITE_SIGNATURE, PackedRows, capability_of, is_granted, unpack)
from jit_synth.refusals import CommandStopped, LinkError, StopKind, SynthesisError, ToolchainMissing
from jit_synth.values import Row, Type
from kernel.telemetry import Column

Rows = tuple[Sequence[Column], Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use: instructions, bytes of memory, bytes of result, seconds of the host."""

    fuel: int = 50_000_000
    memory: int = 32 << 20
    output: int = 8 << 20
    seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Run:
    """What a run gave and what it cost."""

    rows: list[Row]
    output: bytes
    fuel: int


@cache
def _wasmtime() -> Any:
    try:
        import wasmtime
    except (ImportError, OSError) as trouble:
        raise ToolchainMissing(f"the WebAssembly runtime does not load: {trouble}") from None
    return wasmtime


@cache
def _engine() -> Any:
    """One engine for all modules: deterministic, with fuel and epochs, without the proposals that we do not emit."""
    config = _wasmtime().Config()
    config.consume_fuel = True
    config.epoch_interruption = True
    config.cranelift_nan_canonicalization = True
    config.cranelift_opt_level = "none"             # modules are small and run once: compiling is what costs
    config.parallel_compilation = False
    config.wasm_threads = False
    config.wasm_relaxed_simd = False
    config.wasm_simd = False
    config.wasm_memory64 = False
    config.wasm_multi_memory = False
    config.memory_reservation = 64 << 20
    config.memory_guard_size = 64 << 10
    config.max_wasm_stack = 256 << 10
    return _wasmtime().Engine(config)


_under_way: set[_Instance] = set()
_under_way_lock = threading.Lock()


def interrupt() -> None:
    """Stop the modules that run now, from any thread: their runs end with StopKind.INTERRUPTED. Does nothing if none runs."""
    with _under_way_lock:
        for one in _under_way:
            one.stop = CommandStopped(StopKind.INTERRUPTED)
        if _under_way:
            _engine().increment_epoch()


class Program:
    """A module, compiled and checked against its grants; `run` may be called any number of times.

    Raises:
        LinkError: it imports what was not granted.
        SynthesisError: it is not valid WebAssembly, or does not export `memory` and `run: () -> ()`.
        ToolchainMissing: there is no wasmtime.
    """

    def __init__(self, wasm: bytes, grants: Iterable[str], limits: Limits | None = None) -> None:
        wasmtime = _wasmtime()
        self.limits = limits or Limits()
        try:
            self._module = wasmtime.Module(_engine(), wasm)
        except wasmtime.WasmtimeError as trouble:
            raise SynthesisError(f"the module is not valid WebAssembly: {str(trouble).splitlines()[0]}") from None
        self.imports = tuple(f"{one.module}.{one.name}" for one in self._module.imports)
        grants = frozenset(grants)
        for one in self._module.imports:
            capability = capability_of(one.name) if one.module == "env" else f"{one.module}.{one.name}"
            if not is_granted(capability, grants):
                raise LinkError(f"the module imports {one.module}.{one.name}, but {capability} was not granted", capability)
            expected = _function_type(wasmtime, _signature(one.name))
            if not isinstance(one.type, wasmtime.FuncType) or _shape(one.type) != _shape(expected):
                raise LinkError(f"the module imports {one.module}.{one.name} with another type than it has", capability)
        exports = {one.name: one.type for one in self._module.exports}
        entry = exports.get("run")
        if not isinstance(exports.get("memory"), wasmtime.MemoryType) or not isinstance(entry, wasmtime.FuncType) or _shape(entry) != ([], []):
            raise SynthesisError("the module does not export memory and run: () -> ()")

    def run(self, result: Type, sources: Callable[[str], Rows], upstream: Rows | None) -> Run:
        """Run once, in a fresh instance.

        Args:
            result: the type of the result, which says how to read its bytes.
            sources: the live rows of a source; asked at most once a run for each.
            upstream: the value in the pipe, as checked rows.

        Raises:
            CommandStopped: the module did not end well; says which limit or trap.
        """
        return _Instance(self._module, self.limits, sources, upstream).run(result)


def _signature(name: str) -> tuple[tuple[str, ...], str]:
    return WRITE_SIGNATURE if name == STREAM_WRITE else READ_SIGNATURE


def _function_type(wasmtime: Any, signature: tuple[tuple[str, ...], str]) -> Any:
    kinds = {"i32": wasmtime.ValType.i32(), "i64": wasmtime.ValType.i64(), "f64": wasmtime.ValType.f64()}
    parameters, result = signature
    return wasmtime.FuncType([kinds[one] for one in parameters], [kinds[result]] if result else [])


def _shape(kind: Any) -> tuple[list[str], list[str]]:
    return [str(one) for one in kind.params], [str(one) for one in kind.results]


class _Instance:
    """One run."""

    def __init__(self, module: Any, limits: Limits, sources: Callable[[str], Rows], upstream: Rows | None) -> None:
        wasmtime = _wasmtime()
        self.limits, self.sources, self.upstream = limits, sources, upstream
        self.packed: dict[str, PackedRows] = {}
        self.output = bytearray()
        self.stop: CommandStopped | None = None              # raised inside a host function
        self.store = wasmtime.Store(_engine())
        self.store.set_limits(memory_size=limits.memory, instances=1, memories=1, tables=1, table_elements=1024)
        self.store.set_fuel(limits.fuel)
        self.module = module
        self.memory: Any = None                              # until the module is instantiated; its start function may call before

    def host_function(self, name: str) -> Callable[..., object]:
        if name == STREAM_WRITE:
            return self.write
        return lambda at, size: self.read(name, at & 0xFFFF_FFFF, size & 0xFFFF_FFFF)

    def run(self, result: Type) -> Run:
        """Instantiate and call `run`; both count against the limits."""
        wasmtime = _wasmtime()
        timer = threading.Timer(self.limits.seconds, _engine().increment_epoch)
        timer.daemon = True
        timer.start()
        with _under_way_lock:
            self.store.set_epoch_deadline(1)                 # from now on: an earlier interrupt was another run's
            _under_way.add(self)
        try:
            self.start()
            if self.stop is not None:                        # interrupted in its last instructions
                raise self.stop
        except (wasmtime.Trap, wasmtime.WasmtimeError) as trouble:
            raise self.stopped(trouble) from None
        except CommandStopped as stop:
            raise stop from None
        finally:
            timer.cancel()
            with _under_way_lock:
                _under_way.discard(self)
        rows = unpack(result, bytes(self.output), self.bytes_at)
        return Run(rows, bytes(self.output), self.limits.fuel - self.store.get_fuel())

    def start(self) -> None:
        wasmtime = _wasmtime()
        functions = [wasmtime.Func(self.store, _function_type(wasmtime, _signature(one.name)), self.host_function(one.name)) for one in self.module.imports]
        try:
            exports = wasmtime.Instance(self.store, self.module, functions).exports(self.store)
        except wasmtime.WasmtimeError as trouble:
            if "memory" in str(trouble):
                raise self.fail(StopKind.MEMORY, f"at most {self.limits.memory >> 20} MiB") from None
            raise
        self.memory = exports["memory"]
        exports["run"](self.store)

    def stopped(self, trouble: Any) -> CommandStopped:
        if self.stop is not None:
            return self.stop
        codes = _wasmtime().TrapCode
        code = getattr(trouble, "trap_code", None)
        kind = {codes.OUT_OF_FUEL: StopKind.FUEL, codes.INTERRUPT: StopKind.TIME, codes.STACK_OVERFLOW: StopKind.STACK,
                codes.INTEGER_OVERFLOW: StopKind.OVERFLOW, codes.INTEGER_DIVISION_BY_ZERO: StopKind.NO_ROWS,
                codes.BAD_CONVERSION_TO_INTEGER: StopKind.NOT_FINITE, codes.MEMORY_OUT_OF_BOUNDS: StopKind.BAD_ACCESS,
                codes.ALLOCATION_TOO_LARGE: StopKind.MEMORY}.get(code)
        if kind is None and "fuel" in str(trouble):
            kind = StopKind.FUEL
        if kind is StopKind.FUEL:
            return CommandStopped(kind, f"{self.limits.fuel} units")
        if kind is StopKind.TIME:
            return CommandStopped(kind, f"{self.limits.seconds:g} s")
        if code is codes.UNREACHABLE and self.size() * 2 > self.limits.memory:
            return CommandStopped(StopKind.MEMORY, f"at most {self.limits.memory >> 20} MiB")     # our allocator gives up so
        return CommandStopped(kind or StopKind.TRAP)

    # --- what the module may call -----------------------------------------------------------------------------------

    def read(self, name: str, at: int, size: int) -> int:
        if name not in self.packed:
            if name == STREAM_READ:
                if self.upstream is None:
                    raise self.fail(StopKind.BAD_INPUT, "there is no value in the pipe")
                columns, rows = self.upstream
            else:
                columns, rows = self.sources(name.removeprefix(SOURCE_PREFIX))
            self.packed[name] = PackedRows(columns, rows)
            if self.packed[name].size > LARGEST_INPUT:
                raise self.fail(StopKind.BAD_INPUT, f"{self.packed[name].size} bytes are more than the {LARGEST_INPUT} that a command may read")
        packed = self.packed[name]
        if size >= packed.size:
            if at + packed.size > self.size():
                raise self.fail(StopKind.BAD_ACCESS, name)
            self.memory.write(self.store, packed.at(at), at)
        return packed.size

    def write(self, at: int, length: int) -> None:
        if len(self.output) + (length & 0xFFFF_FFFF) > self.limits.output:
            raise self.fail(StopKind.MEMORY, f"a result of more than {self.limits.output >> 20} MiB")
        self.output += self.bytes_at(at & 0xFFFF_FFFF, length & 0xFFFF_FFFF)

    def bytes_at(self, address: int, length: int) -> bytes:
        if address + length > self.size():
            raise self.fail(StopKind.BAD_ACCESS, "a text or a result outside its memory")
        return b"" if not length else bytes(self.memory.read(self.store, address, address + length))

    def size(self) -> int:
        """Bytes of memory that the module has now."""
        return 0 if self.memory is None else int(self.memory.data_len(self.store))

    def fail(self, kind: StopKind, detail: str) -> CommandStopped:
        self.stop = CommandStopped(kind, detail)
        return self.stop
