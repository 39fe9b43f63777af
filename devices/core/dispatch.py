"""Declared registers as straight-line functions: the source of one module per chip class, compiled when the class is created.

For each register there is a function that reads it, one that writes it, one that peeks at it and one that writes some of its bytes, with all masks as
constants and the chip's hooks called directly; `bind` ties them to one chip. What a guest's access costs is then what the register itself has to do.
"""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from devices.core.declare import RC, RSVD, RW, TODO, W1C, WO, Layout, Place, Register, RegisterError, places

HOOKS = ("on_", "read_", "peek_")
HEAD = """\
def bind(chip, state, log, touched):
    note, unmodelled, name = log.note, log.unmodelled, chip.name
    def unreadable(title, answer):
        def read():
            note(name, title, 'read, nothing to be read there')
            return answer
        def peek():
            return answer
        return read, peek
    def unwritable(title):
        def write(value):
            note(name, title, 'written, read-only', value=value)
        def merge(value, bits):
            note(name, title, 'written, read-only', value=value & bits)
        return write, merge"""


@dataclass(frozen=True, slots=True)
class Entry:
    """What can be done at one place of one chip.

    Attributes:
        read, peek: the value as the guest reads it, with and without side effects.
        write: all bytes of it.
        merge: (value, bits): some bytes of it; 1s in `bits` say which.
        banked: several registers share the place, so they note by themselves who was touched.
    """

    place: Place
    read: Callable[[], int]
    peek: Callable[[], int]
    write: Callable[[int], None]
    merge: Callable[[int, int], None]
    banked: bool


class Compiler:
    """Turns the layouts of one chip class into its `bind` function.

    Args:
        chip: the class, for its hooks.
        layouts: its blocks.
        stored: the attributes of its state with their values at reset.

    Raises:
        RegisterError: register and chip do not fit: a register nobody keeps, a hook for no register, a state with another reset value.
    """

    def __init__(self, chip: type, layouts: Sequence[Layout], stored: Mapping[str, object]) -> None:
        self._chip = chip
        self._stored = stored
        self._lines: list[str] = []
        self._bound: dict[str, str] = {}
        self._constants: dict[str, object] = {}
        self._names = {register.name for layout in layouts for register in layout.registers}
        self._check_hooks()
        done: set[str] = set()
        table: list[str] = []
        for layout in layouts:
            for register in layout.registers:
                titles = {register.name} | {register.title(index) for index in range(register.count)}
                if titles & done:
                    raise RegisterError(f"{chip.__name__} has two registers {min(titles & done)}")
                done |= titles
                self._check_register(register)
                self._register(register)
            table += [self._place(layout, place) for place in places(layout)]
        bound = [f"    {name} = {expression}" for name, expression in sorted(self._bound.items())]
        self.source = "\n".join([HEAD, *bound, *self._lines, "    return {", *(f"        {line}" for line in table), "    }", ""])

    def compile(self) -> Callable[..., dict[tuple[str, int], tuple[Callable[..., int], ...]]]:
        """The `bind` function. Its source is shown in tracebacks."""
        filename = f"<registers of {self._chip.__module__}.{self._chip.__qualname__}>"
        linecache.cache[filename] = (len(self.source), None, self.source.splitlines(keepends=True), filename)
        namespace: dict[str, object] = dict(self._constants)
        exec(compile(self.source, filename, "exec"), namespace)  # noqa: S102 -- our own declarations, not a guest's data
        bind = namespace["bind"]
        assert callable(bind)
        return bind

    # --- checks --------------------------------------------------------------------------------------------------------------------
    def _check_hooks(self) -> None:
        for name in dir(self._chip):
            for prefix in HOOKS:
                register = name.removeprefix(prefix)
                if register != name and register == register.upper() and register not in self._names:
                    raise RegisterError(f"{self._chip.__name__}.{name} is a hook for no register")

    def _check_register(self, register: Register) -> None:
        register.check()
        what = f"{self._chip.__name__}.{register.name}"
        stored = self._keeps(register)
        if register.when and not callable(getattr(self._chip, register.when, None)):
            raise RegisterError(f"{what} is there when {register.when}(), which the chip does not have")
        if stored:
            default = self._stored[register.name.lower()]
            wanted: object = [register.reset] * register.count if register.array else register.reset
            if default != wanted:
                raise RegisterError(f"{what}: the state begins with {default!r}, the register with {wanted!r}")
            return
        if self._has("read_", register) and not self._has("peek_", register):
            raise RegisterError(f"{what}: read_{register.name} without peek_{register.name}, and the state does not keep it")
        if not self._has("peek_", register) and register.mask(RW, W1C, RC) and register.readable:
            raise RegisterError(f"{what}: neither the state nor a hook says what is read")
        if register.mask(RW, W1C, WO) and not self._has("on_", register):
            raise RegisterError(f"{what}: neither the state nor a hook takes what is written")

    def _keeps(self, register: Register) -> bool:
        return register.name.lower() in self._stored

    def _has(self, prefix: str, register: Register) -> bool:
        return hasattr(self._chip, prefix + register.name)

    def _hook(self, prefix: str, register: Register) -> str:
        """The name under which a hook is bound."""
        name = prefix + register.name
        self._bound[name] = f"chip.{name}"
        return name

    def _arguments(self, name: str) -> int:
        return len(inspect.signature(getattr(self._chip, name)).parameters) - 1

    # --- one register --------------------------------------------------------------------------------------------------------------
    def _register(self, register: Register) -> None:
        """Its functions; for an array one function that makes those of each element, because there may be hundreds."""
        name = register.name
        made = [f"{how}_of_{name}" for how in ("raw", "peek", "read", *(("write", "merge") if register.writable else ()))]
        body = [*self._reading(register), *(self._writing(register) if register.writable else ())]
        if not register.array:
            self._emit(*body)
            return
        self._emit(f"def element_of_{name}(index, title):", *(f"    {line}" for line in body), f"    return {', '.join(made)}")
        for index in range(register.count):
            self._emit(f"{', '.join(f'{function}{index}' for function in made)} = element_of_{name}({index}, {register.title(index)!r})")

    def _slot(self, register: Register) -> str:
        return f"state.{register.name.lower()}" + ("[index]" if register.array else "")

    def _reading(self, register: Register) -> list[str]:
        name, call, slot = register.name, "(index)" if register.array else "()", self._slot(register)
        stored = self._keeps(register)
        raw = slot if stored else f"{register.reset:#x}"
        if self._has("peek_", register):
            raw = self._hook("peek_", register) + call
        value = self._hook("read_", register) + call if self._has("read_", register) else raw
        lines = [f"def raw_of_{name}():", f"    return {raw}"]
        hidden = register.mask(WO)
        shown = f" & {register.bits & ~hidden:#x}" if hidden else ""
        lines += [f"def peek_of_{name}():", f"    return {raw}{shown}"] if hidden else [f"peek_of_{name} = raw_of_{name}"]
        clears = register.mask(RC) if stored else 0
        if clears:
            return [*lines, f"def read_of_{name}():", f"    value = {value}{shown}", f"    {slot} &= {~clears}", "    return value"]
        if value.endswith("()") and not shown:
            return [*lines, f"read_of_{name} = {value[:-2]}"]
        return [*lines, f"def read_of_{name}():", f"    return {value}{shown}"]

    def _writing(self, register: Register) -> list[str]:
        name, slot, bits, reset = register.name, self._slot(register), register.bits, register.reset
        title = "title" if register.array else repr(name)
        kept, cleared, left_out, reserved = register.mask(RW, WO, TODO), register.mask(W1C), register.mask(TODO), register.mask(RSVD)
        body: list[str] = []
        if left_out:
            self._constants[f"fields_of_{name}"] = register.field_names
            body += [f"if (value ^ {reset:#x}) & {left_out:#x}:",
                     f"    unmodelled(name, {title}, fields_of_{name}((value ^ {reset:#x}) & {left_out:#x}), value)"]
        if reserved:
            body += [f"if (value ^ {reset:#x}) & {reserved:#x}:", f"    note(name, {title}, 'reserved bits written', value=value)"]
        hook = self._hook("on_", register) if self._has("on_", register) else ""
        wants_old = bool(hook) and self._arguments(hook) - register.array == 2
        first = "index, " if register.array else ""
        if not self._keeps(register):
            if hook:
                body.append(f"{hook}({first}value & {kept | cleared:#x}{', 0' if wants_old else ''})")
        else:
            constant = reserved | kept == bits
            if constant:
                fixed = reset & reserved
                new = f"value & {kept:#x}" + (f" | {fixed:#x}" if fixed else "")
            elif cleared:
                new = f"value & {kept:#x} | old & ~(value & {cleared:#x}) & {bits & ~kept:#x}"
            else:
                new = f"value & {kept:#x} | old & {bits & ~kept:#x}"
            if wants_old or not constant:
                body.append(f"old = {slot}")
            if hook:
                body += [f"{slot} = value = {new}", f"{hook}({first}value{', old' if wants_old else ''})"]
            else:
                body.append(f"{slot} = {new}")
        return [f"def write_of_{name}(value):", *(f"    {line}" for line in body or ["pass"]),
                f"def merge_of_{name}(value, bits):", f"    write_of_{name}(value & bits | raw_of_{name}() & ~bits & {bits & ~cleared:#x})"]

    # --- one place -----------------------------------------------------------------------------------------------------------------
    def _place(self, layout: Layout, place: Place) -> str:
        """Functions for a place, and its line of the table."""
        tag = f"{layout.name}_{place.offset:x}"
        title, hole = place.name, int.from_bytes(bytes([layout.hole]) * place.width, "little")
        banked = any(register.when for register, _ in (*place.readers, *place.writers))
        read, peek, write, merge = (f"{how}_at_{tag}" for how in ("read", "peek", "write", "merge"))
        if place.readers:
            read = self._choose(read, "", place.readers, "read_of_", "read", f"{title!r}, 'read, nothing to be read there'", hole)
            peek = self._choose(peek, "", place.readers, "peek_of_", "", "", hole)
        else:
            self._emit(f"{read}, {peek} = unreadable({title!r}, {hole:#x})")
        if place.writers:
            write = self._choose(write, "value", place.writers, "write_of_", "written", f"{title!r}, 'written, read-only', value=value", None)
            merge = self._choose(merge, "value, bits", place.writers, "merge_of_", "written", f"{title!r}, 'written, read-only', value=value & bits", None)
        else:
            self._emit(f"{write}, {merge} = unwritable({title!r})")
        return f"({layout.name!r}, {place.offset:#x}): ({read}, {peek}, {write}, {merge}, {banked}),"

    def _choose(self, function: str, parameters: str, candidates: list[tuple[Register, int]], prefix: str, touch: str, complaint: str,
                answer: int | None) -> str:
        """The name of a place's function: that of its one register, or `function`, a choice among several with a note where none is there now."""
        if len(candidates) == 1 and not candidates[0][0].when:
            register, index = candidates[0]
            return prefix + register.title(index)
        self._emit(f"def {function}({parameters}):")
        for register, index in candidates:
            indent = "    "
            if register.when:
                self._bound[f"when_{register.when}"] = f"chip.{register.when}"
                self._emit(f"    if when_{register.when}():")
                indent = "        "
            if touch:
                self._emit(f"{indent}touched.add(({register.title(index)!r}, {touch!r}))")
            self._emit(f"{indent}return {prefix}{register.title(index)}({parameters})")
            if not register.when:
                return function
        if complaint:
            self._emit(f"    note(name, {complaint})")
        self._emit(f"    return {answer}")
        return function

    def _emit(self, *lines: str) -> None:
        self._lines += [f"    {line}" for line in lines]
