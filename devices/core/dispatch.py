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
                if register.name in done:
                    raise RegisterError(f"{chip.__name__} has two registers {register.name}")
                done.add(register.name)
                self._check_register(register)
                for index in range(register.count):
                    self._register(register, index)
            table += [self._place(layout, place) for place in places(layout)]
        bound = [f"    {name} = {expression}" for name, expression in sorted(self._bound.items())]
        head = ["def bind(chip, state, log, touched):", "    note, unmodelled, name = log.note, log.unmodelled, chip.name"]
        self.source = "\n".join([*head, *bound, *self._lines, "    return {", *(f"        {line}" for line in table), "    }", ""])

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
    def _register(self, register: Register, index: int) -> None:
        tag = register.title(index)
        slot = f"state.{register.name.lower()}" + (f"[{index}]" if register.array else "")
        self._reading(register, index, tag, slot)
        if register.writable:
            self._writing(register, index, tag, slot)

    def _reading(self, register: Register, index: int, tag: str, slot: str) -> None:
        call = f"({index})" if register.array else "()"
        stored = self._keeps(register)
        raw = slot if stored else f"{register.reset:#x}"
        if self._has("peek_", register):
            raw = self._hook("peek_", register) + call
        value = self._hook("read_", register) + call if self._has("read_", register) else raw
        self._emit(f"def raw_{tag}():", f"    return {raw}")
        hidden = register.mask(WO)
        shown = f" & {register.bits & ~hidden:#x}" if hidden else ""
        if hidden:
            self._emit(f"def peek_of_{tag}():", f"    return {raw}{shown}")
        else:
            self._emit(f"peek_of_{tag} = raw_{tag}")
        clears = register.mask(RC) if stored else 0
        if clears:
            self._emit(f"def read_of_{tag}():", f"    value = {value}{shown}", f"    {slot} &= {~clears}", "    return value")
        elif value.endswith("()") and not shown:
            self._emit(f"read_of_{tag} = {value[:-2]}")
        else:
            self._emit(f"def read_of_{tag}():", f"    return {value}{shown}")

    def _writing(self, register: Register, index: int, tag: str, slot: str) -> None:
        bits, reset = register.bits, register.reset
        kept, cleared, left_out, reserved = register.mask(RW, WO, TODO), register.mask(W1C), register.mask(TODO), register.mask(RSVD)
        body: list[str] = []
        if left_out:
            self._constants[f"fields_of_{register.name}"] = register.field_names
            body += [f"if (value ^ {reset:#x}) & {left_out:#x}:",
                     f"    unmodelled(name, {tag!r}, fields_of_{register.name}((value ^ {reset:#x}) & {left_out:#x}), value)"]
        if reserved:
            body += [f"if (value ^ {reset:#x}) & {reserved:#x}:", f"    note(name, {tag!r}, 'reserved bits written', value=value)"]
        hook = self._hook("on_", register) if self._has("on_", register) else ""
        wants_old = bool(hook) and self._arguments(hook) - register.array == 2
        first = f"{index}, " if register.array else ""
        if not self._keeps(register):
            if hook:
                body.append(f"{hook}({first}value & {kept | cleared:#x}{', 0' if wants_old else ''})")
        else:
            constant = register.mask(RSVD) | kept == bits
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
        self._emit(f"def write_of_{tag}(value):", *(f"    {line}" for line in body or ["pass"]))
        self._emit(f"def merge_of_{tag}(value, bits):",
                   f"    write_of_{tag}(value & bits | raw_{tag}() & ~bits & {bits & ~cleared:#x})")

    # --- one place -----------------------------------------------------------------------------------------------------------------
    def _place(self, layout: Layout, place: Place) -> str:
        """Functions for a place, and its line of the table."""
        tag = f"{layout.name}_{place.offset:x}"
        title, hole = place.name, int.from_bytes(bytes([layout.hole]) * place.width, "little")
        banked = any(register.when for register, _ in (*place.readers, *place.writers))
        everything = [*place.readers, *(item for item in place.writers if item not in place.readers)]
        self._choose(f"read_at_{tag}", "", place.readers, "read_of_", "read", f"{title!r}, 'read, nothing to be read there'", hole)
        self._choose(f"peek_at_{tag}", "", place.readers or everything, "peek_of_", "", "", hole)
        refused = "'written, read-only'"
        self._choose(f"write_at_{tag}", "value", place.writers, "write_of_", "written", f"{title!r}, {refused}, value=value", None)
        self._choose(f"merge_at_{tag}", "value, bits", place.writers, "merge_of_", "written", f"{title!r}, {refused}, value=value & bits", None)
        return f"({layout.name!r}, {place.offset:#x}): (read_at_{tag}, peek_at_{tag}, write_at_{tag}, merge_at_{tag}, {banked}),"

    def _choose(self, function: str, parameters: str, candidates: list[tuple[Register, int]], prefix: str, touch: str, complaint: str,
                answer: int | None) -> None:
        """The function of a place: that of its one register, or a choice among several; a note where there is none."""
        if len(candidates) == 1 and not candidates[0][0].when:
            register, index = candidates[0]
            self._emit(f"{function} = {prefix}{register.title(index)}")
            return
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
                return
        if complaint:
            self._emit(f"    note(name, {complaint})")
        self._emit(f"    return {answer}")

    def _emit(self, *lines: str) -> None:
        self._lines += [f"    {line}" for line in lines]
