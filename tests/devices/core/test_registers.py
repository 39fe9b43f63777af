"""Declared registers: access modes, lanes, banks, hooks, views, state, and what is refused when a class is created."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from devices.core.log import AccessLog, UnmodelledAccess
from devices.core.registers import (
    RC,
    RO,
    RSVD,
    RW,
    TODO,
    W1C,
    WO,
    Chip,
    Field,
    Layout,
    Partial,
    Register,
    RegisterError,
    StateError,
    Touch,
)
from devices.core.views import reference


class Speed(enum.IntEnum):
    SLOW = 0
    FAST = 1


CONTROL = Register("CONTROL", 0x00, 4, RW, 0x100, (
    Field("RUN", 0, doc="counts"),
    Field("SPEED", (2, 1), enum=Speed),
    Field("LATER", (4, 3), TODO),
    Field("READY", 8, RO),
    Field("GO", 16, WO),
))


@dataclass
class Inner:
    level: int = 0


@dataclass
class State:
    control: int = 0x100
    status: int = 0
    events: int = 0
    lane: list[int] = field(default_factory=lambda: [7] * 4)
    latch: int = 0
    wide: int = 0
    fifo: list[int] = field(default_factory=list)
    maybe: int | None = None
    inner: Inner = field(default_factory=Inner)
    heard: list[tuple[str, int, int]] = field(default_factory=list)


class Sample(Chip[State]):
    NAME = "sample"
    BLOCKS = (
        Layout("lanes", 0x40, (
            CONTROL,
            Register("STATUS", 0x04, 2, W1C),
            Register("EVENTS", 0x06, 2, RC),
            Register("LANE", 0x08, 1, RW, 7, count=4, stride=1),
            Register("LATCH", 0x0C, 1, when="banked"),
            Register("RECEIVE", 0x0C, 1, RO),
            Register("TRANSMIT", 0x0C, 1, WO),
            Register("WIDE", 0x10, 8),
            Register("CLOCK", 0x18, 8, RO),
            Register("RESERVED", 0x20, 4, RSVD, 0xABCD),
            Register("IDENTITY", 0x24, 4, RO, 0x1234),
        )),
        Layout("whole", 0x20, (Register("WORD", 0x00, 4), Register("COMMAND", 0x10, 4, WO)), Partial.WHOLE, hole=0xFF),
    )
    word = 0

    def banked(self) -> bool:
        return bool(self.state.control & 1)

    def on_CONTROL(self, value: int, old: int) -> None:
        self.state.heard.append(("CONTROL", value, old))

    def on_LANE(self, index: int, value: int) -> None:
        self.state.heard.append(("LANE", index, value))

    def read_RECEIVE(self) -> int:
        return self.state.fifo.pop(0) if self.state.fifo else 0

    def peek_RECEIVE(self) -> int:
        return self.state.fifo[0] if self.state.fifo else 0

    def on_TRANSMIT(self, value: int) -> None:
        self.state.fifo.append(value)

    def peek_CLOCK(self) -> int:
        return 0x1122334455667788

    def peek_WORD(self) -> int:
        return self.word

    def on_WORD(self, value: int) -> None:
        self.word = value

    def on_COMMAND(self, value: int) -> None:
        self.state.heard.append(("COMMAND", value, 0))


@pytest.fixture
def chip() -> Sample:
    return Sample(AccessLog())


def test_read_write_fields_keep_read_only_and_reserved_bits(chip: Sample) -> None:
    chip.blocks["lanes"].write(0, 4, 0xFFFFFEE7)
    assert chip.state.control == 0x10107                       # RUN, SPEED, GO as written; READY kept; reserved bits dropped
    assert chip.log.counts == {("sample", "CONTROL", "reserved bits written"): 1}


def test_write_only_bits_are_kept_but_read_as_zero(chip: Sample) -> None:
    chip.blocks["lanes"].write(0, 4, 0x10001)
    assert chip.state.control == 0x10101
    assert chip.blocks["lanes"].read(0, 4) == chip.blocks["lanes"].peek(0, 4) == 0x101


def test_hooks_hear_the_new_and_the_old_value(chip: Sample) -> None:
    chip.blocks["lanes"].write(0, 4, 3)
    chip.blocks["lanes"].write(0, 4, 2)
    assert chip.state.heard == [("CONTROL", 0x103, 0x100), ("CONTROL", 0x102, 0x103)]


def test_write_one_to_clear_leaves_lanes_that_are_not_written(chip: Sample) -> None:
    chip.state.status = 0xFFFF
    chip.blocks["lanes"].write(4, 1, 0x0F)
    assert chip.state.status == 0xFFF0
    chip.blocks["lanes"].write(5, 1, 0x80)
    assert chip.state.status == 0x7FF0


def test_read_to_clear_but_not_by_peeking(chip: Sample) -> None:
    chip.state.events = 0x31
    lanes = chip.blocks["lanes"]
    assert [lanes.peek(6, 2), lanes.read(6, 2), lanes.read(6, 2)] == [0x31, 0x31, 0]


def test_a_wide_access_reaches_each_register_in_order(chip: Sample) -> None:
    chip.blocks["lanes"].write(8, 4, 0x44332211)
    assert chip.state.heard == [("LANE", 0, 0x11), ("LANE", 1, 0x22), ("LANE", 2, 0x33), ("LANE", 3, 0x44)]
    assert chip.blocks["lanes"].read(9, 2) == 0x3322


def test_eight_bytes_as_two_halves(chip: Sample) -> None:
    lanes = chip.blocks["lanes"]
    lanes.write(0x10, 4, 0x89ABCDEF)
    lanes.write(0x14, 4, 0x01234567)
    assert chip.state.wide == 0x0123456789ABCDEF
    assert (lanes.read(0x18, 4), lanes.read(0x1C, 4), lanes.read(0x1F, 1)) == (0x55667788, 0x11223344, 0x11)


def test_banks_and_registers_for_one_direction_share_an_offset(chip: Sample) -> None:
    lanes = chip.blocks["lanes"]
    lanes.write(0x0C, 1, 0x41)
    assert (lanes.peek(0x0C, 1), lanes.read(0x0C, 1), lanes.read(0x0C, 1)) == (0x41, 0x41, 0)
    lanes.write(0, 4, 1)
    lanes.write(0x0C, 1, 0x99)
    assert (chip.state.latch, chip.state.fifo, lanes.read(0x0C, 1)) == (0x99, [], 0x99)
    assert {"LATCH", "RECEIVE"} <= chip.coverage().read and {"LATCH", "TRANSMIT"} <= chip.coverage().written


def test_read_only_reserved_and_empty_places_are_noted(chip: Sample) -> None:
    lanes = chip.blocks["lanes"]
    lanes.write(0x24, 4, 1)
    lanes.write(0x20, 4, 1)
    lanes.write(0x3F, 8, 1)
    assert (lanes.read(0x24, 4), lanes.read(0x20, 4), lanes.read(-4, 4)) == (0x1234, 0xABCD, 0)
    assert set(chip.log.counts) == {("sample", "IDENTITY", "written, read-only"), ("sample", "RESERVED", "reserved bits written"),
                                    ("sample", "lanes+0x3f", "written, no register there"), ("sample", "lanes+-0x4", "read, no register there")}


def test_whole_registers_only(chip: Sample) -> None:
    whole = chip.blocks["whole"]
    whole.write(0, 4, 0x11223344)
    whole.write(1, 1, 0xFF)
    whole.write(0, 8, 0x55)                                    # the register and the hole behind it
    assert (whole.read(0, 2), whole.read(0, 8), whole.read(0x10, 4)) == (0x55, 0xFFFFFFFF00000055, 0xFFFFFFFF)
    assert ("sample", "WORD", "written in part, dropped") in chip.log.counts
    assert ("sample", "COMMAND", "read, nothing to be read there") in chip.log.counts


def test_fields_that_are_not_modelled_announce_themselves(chip: Sample) -> None:
    chip.blocks["lanes"].write(0, 4, 0x118)
    assert chip.log.lines == ["sample: CONTROL LATER not modelled value=0x118"]
    assert chip.state.control == 0x118
    strict = Sample(AccessLog(strict=True))
    strict.blocks["lanes"].write(0, 4, 0x101)
    with pytest.raises(UnmodelledAccess, match="LATER"):
        strict.blocks["lanes"].write(0, 1, 0x08)


def test_views_decode_without_side_effects(chip: Sample) -> None:
    chip.blocks["lanes"].write(0x0C, 1, 5)
    chip.blocks["lanes"].write(0, 4, 2)
    before = chip.save()
    views = {view.name: view for view in chip.describe()}
    assert views["CONTROL"].fields["SPEED"] == "FAST"
    assert (views["RECEIVE"].value, views["LANE3"].value, views["CLOCK"].value) == (5, 7, 0x1122334455667788)
    assert chip.save() == before


def test_traces_see_every_access_and_cost_nothing_when_gone(chip: Sample) -> None:
    seen: list[Touch] = []
    lanes = chip.blocks["lanes"]
    lanes.read(8, 1)
    chip.trace = seen.append
    lanes.read(8, 1)
    lanes.write(8, 2, 0x102)
    chip.trace = None
    lanes.read(8, 1)
    assert seen == [Touch("sample", "lanes", "LANE0", 8, 1, False, 7), Touch("sample", "lanes", "LANE0 LANE1", 8, 2, True, 0x102)]


def test_an_access_of_a_trace_as_a_line_for_people(chip: Sample) -> None:
    seen: list[Touch] = []
    chip.trace = seen.append
    chip.blocks["lanes"].write(0, 4, 0x103)
    chip.blocks["lanes"].read(0x0C, 1)
    chip.blocks["lanes"].read(0x08, 2)
    assert [chip.explain(touch) for touch in seen] == [
        "sample: CONTROL <- 0x103 (RUN 1, SPEED FAST, LATER 0x0, READY 1, GO 0)",
        "sample: LATCH/RECEIVE/TRANSMIT -> 0x0",
        "sample: LANE0 LANE1 -> 0x707"]


def test_the_declaration_as_documentation() -> None:
    text = reference(Sample)
    assert "| 0x4 | 2 | STATUS | write 1 to clear | 0x0 |  |" in text
    assert "| 0x8 | 1 | LANE0..3, every 0x1 | read, write | 0x7 |  |" in text
    assert "| | 4:3 | LATER | not modelled | 0x0 |  |" in text and "LATCH (while banked)" in text


def test_snapshot_round_trip_and_reset(chip: Sample) -> None:
    fresh = chip.save()
    chip.blocks["lanes"].write(8, 4, 0x01020304)
    chip.state.maybe, chip.state.inner.level = 5, 3
    saved = chip.save()
    chip.reset()
    assert chip.save() == fresh
    chip.restore(saved)
    assert chip.save() == saved and chip.blocks["lanes"].read(8, 4) == 0x01020304
    saved["lane"][0] = 99
    assert chip.state.lane[0] == 4                             # a snapshot is a copy


@pytest.mark.parametrize(("change", "message"), [
    ({"lane": [1]}, "sample.lane: 1 values instead of 4"),
    ({"lane": [1, 2, 3, "x"]}, r"sample.lane\[3\]: str instead of int"),
    ({"status": True}, "sample.status: bool instead of int"),
    ({"maybe": "x"}, "sample.maybe: str instead of"),
    ({"inner": {}}, "sample.inner.level is missing"),
    ({"extra": 1}, "sample.extra is unknown"),
])
def test_a_snapshot_of_another_shape_is_refused_by_name(chip: Sample, change: dict[str, object], message: str) -> None:
    before = chip.save()
    with pytest.raises(StateError, match=message):
        chip.restore({**before, "latch": 3, **change})
    assert chip.save() == before


@dataclass
class One:
    a: int = 0


def declare(*registers: Register, length: int = 16, state: type = One, **members: Callable[..., object]) -> None:
    """Create a chip class with these registers."""
    type("Bad", (Chip,), {"STATE": state, "BLOCKS": (Layout("block", length, registers),), **members})


@pytest.mark.parametrize(("registers", "message"), [
    ((Register("A", 0, 3),), "width 3"),
    ((Register("A", 15, 2),), "not within"),
    ((Register("a", 0, 1),), "capitals"),
    ((Register("A", 0, 1, reset=0x100),), "does not fit"),
    ((Register("A", 0, 1, reset=1),), "the state begins with 0"),
    ((Register("A", 0, 1, fields=(Field("X", 8),)),), "are not in 8 bits"),
    ((Register("A", 0, 1, fields=(Field("X", (1, 2)),)),), "are not in 8 bits"),
    ((Register("A", 0, 1, fields=(Field("X", (2, 0)), Field("Y", 2))),), "overlaps"),
    ((Register("A", 0, 1, fields=(Field("X", 0, W1C), Field("Y", 2, RC))),), "cleared by reads and by writes"),
    ((Register("A", 0, 4), Register("B", 2, 1, RO)), "overlap"),
    ((Register("A", 0, 1), Register("B", 0, 1, RO)), "cannot be told apart"),
    ((Register("A", 0, 1), Register("B", 0, 2, RO, when="bank")), "different widths"),
    ((Register("A", 0, 1), Register("A", 1, 1)), "two registers A"),
    ((Register("A", 0, 1), Register("B", 1, 1)), "what is read"),
    ((Register("A", 0, 1), Register("B", 1, 1, WO)), "takes what is written"),
    ((Register("A", 0, 1, when="mode"),), r"there when mode\(\)"),
    ((Register("A", 0, 1, count=2, stride=1),), "the state begins with 0"),
])
def test_impossible_declarations_raise_when_the_class_is_created(registers: tuple[Register, ...], message: str) -> None:
    with pytest.raises(RegisterError, match=message):
        declare(*registers, bank=lambda self: False)


def test_impossible_hooks_raise_when_the_class_is_created() -> None:
    with pytest.raises(RegisterError, match="hook for no register"):
        declare(Register("A", 0, 1), on_B=lambda self, value: None)
    with pytest.raises(RegisterError, match="read_B without peek_B"):
        declare(Register("A", 0, 1), Register("B", 1, 1, RO), read_B=lambda self: 0)
    with pytest.raises(RegisterError, match="which dataclass"):
        declare(Register("A", 0, 1), state=int)
