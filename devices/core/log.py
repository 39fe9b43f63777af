"""What a guest did that no chip makes sense of: counted always, told once per kind and place."""

from __future__ import annotations

from collections.abc import Callable

PLACES = 2048                      # distinct (device, register, kind) kept apart; a guest that sprays addresses cannot fill the host's memory
ELSEWHERE = ("(others)", "", "not kept apart")


class UnmodelledAccess(Exception):
    """Strict mode: the guest touched a register field that is known, but that the chip's model leaves out."""


class AccessLog:
    """Counts and logs a guest's mistakes.

    Args:
        tell: gets one line for the first access of each kind and place; None keeps them in `lines` only.
        strict: `unmodelled` raises instead of logging.
        where: names the vCPU and RIP that run now, e.g. "cpu 1 rip 0xffffffff81000000".

    Attributes:
        counts: how often, by (device, register, kind).
        lines: the lines told so far, at most `PLACES`.
    """

    def __init__(self, tell: Callable[[str], None] | None = None, strict: bool = False, where: Callable[[], str] | None = None) -> None:
        self.tell = tell
        self.strict = strict
        self.where = where
        self.counts: dict[tuple[str, str, str], int] = {}
        self.lines: list[str] = []

    def note(self, device: str, register: str, kind: str, **values: int | str) -> None:
        """Count one more mistake of this kind at this place, and tell of the first.

        Args:
            device: the chip's or bus's name.
            register: the register's name, or an address in hexadecimal.
            kind: what was wrong, as words that end the line.
            values: figures of this first occurrence, told as name=value; integers in hexadecimal.
        """
        key = (device, register, kind)
        count = self.counts.get(key)
        if count is not None:
            self.counts[key] = count + 1
        elif len(self.counts) >= PLACES:
            self.counts[ELSEWHERE] = self.counts.get(ELSEWHERE, 0) + 1
        else:
            self.counts[key] = 1
            self._tell(_line(device, register, kind, values))

    def unmodelled(self, device: str, register: str, fields: str, value: int) -> None:
        """The guest touched fields that the model leaves out.

        Raises:
            UnmodelledAccess: in strict mode.
        """
        kind = f"{fields} not modelled"
        self.note(device, register, kind, value=value)
        if self.strict:
            raise UnmodelledAccess(self._place(_line(device, register, kind, {"value": value})))

    def total(self) -> int:
        """All mistakes so far."""
        return sum(self.counts.values())

    def _tell(self, line: str) -> None:
        line = self._place(line)
        self.lines.append(line)
        if self.tell is not None:
            self.tell(line)

    def _place(self, line: str) -> str:
        return line if self.where is None else f"{line} [{self.where()}]"


def _line(device: str, register: str, kind: str, values: dict[str, int | str]) -> str:
    figures = "".join(f" {name}={value:#x}" if isinstance(value, int) else f" {name}={value}" for name, value in values.items())
    return f"{device}: {register}{' ' if register else ''}{kind}{figures}"
