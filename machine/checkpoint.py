"""A whole machine at one moment, in memory: take one, go back to it, or begin another machine from it.

RAM is a `RamImage` that is mapped copy-on-write, so going back costs the same whatever its size. Everything else is plain values: the vCPUs' contexts, each
chip's state, the clock, whose turn it is. Host input and output (terminals, files) do not belong to it. Between slices only.

Deadlines are not kept: each chip sets its own anew when its state comes back.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devices.core.state import StateError
from machine.engine import abi, tsc
from machine.engine.vcpu import VcpuState
from machine.errors import MachineError

if TYPE_CHECKING:
    from devices.core.registers import Chip
    from machine.machine import Machine
    from machine.memory import RamImage
    from machine.schedule import Saved

BOARD, BOARD_VERSION = "folkering-q35", 2     # the version grows whenever a chip's state changes its shape
Kind = tuple[str, int, int, int, str, tuple[str, ...]]         # name and version of a board, CPUs, bytes of memory, clock, cards
COUNTERS = ("idle_ns", "slices", "retired", "resets", "triple_faults")


class CheckpointError(MachineError):
    """A checkpoint does not fit the machine; one line says what differs."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One moment of a machine.

    Attributes:
        board: what machine it fits: name and version of the board, CPUs, bytes of memory, clock, the names of the cards in its slots.
        time: of the clock's source, as that saves it.
        tsc: what the guest's time-stamp counter showed.
        vcpus: in order.
        chips: state by chip.
        turns: whose turn it is, as `Schedule.save` says.
        counters: of `Machine.stats`, and stores to ROM.
        ram: all of it.
        rom: which firmware there was, as `memory.rom_digest` says.
    """

    board: Kind
    time: int
    tsc: int
    vcpus: tuple[VcpuState, ...]
    chips: dict[str, dict[str, Any]]
    turns: Saved
    counters: dict[str, int]
    ram: RamImage
    rom: str


def board_of(machine: Machine) -> Kind:
    """What a checkpoint of this machine fits."""
    configuration = machine.configuration
    return (BOARD, BOARD_VERSION, configuration.cpus, configuration.memory, configuration.clock,
            tuple(card.name for card in configuration.cards))


def take(machine: Machine) -> Checkpoint:
    """The machine as it is now. Raises CheckpointError in the middle of a slice."""
    engine = machine.engine
    if engine.running:
        raise CheckpointError("a machine cannot be copied in the middle of a slice")
    for lapic in machine.board.lapics:
        lapic.settle()
    engine.park()
    counters = {name: getattr(machine.stats, name) for name in COUNTERS} | {"rom_writes": machine.memory.rom_writes}
    chips = {chip.name: chip.save() for chip in machine.board.chips}
    assert len(chips) == len(machine.board.chips), "two chips have one name"
    return Checkpoint(board_of(machine), machine.time.save(), _guest_tsc(machine), tuple(vcpu.save() for vcpu in engine.vcpus), chips,
                      machine.turns(), counters, machine.memory.freeze(), machine.memory.rom_digest)


def digest(machine: Machine) -> str:
    """SHA-256 of all that a guest could tell by: RAM, ROM, the processors' registers, chips, clock. Between slices."""
    engine = machine.engine
    for lapic in machine.board.lapics:
        lapic.settle()
    whole = hashlib.sha256(repr((machine.time.save(), [(chip.name, chip.save()) for chip in machine.board.chips])).encode())
    for vcpu in engine.vcpus:
        whole.update(vcpu.fingerprint())
    for mapping in machine.memory.mappings:
        if not mapping.writable:
            whole.update(mapping.view)
    for offset, piece in machine.memory.pieces():
        whole.update(offset.to_bytes(8, "little") + piece)
    return whole.hexdigest()


def put_back(machine: Machine, checkpoint: Checkpoint) -> None:
    """Make the machine what it was.

    Raises:
        CheckpointError: it is of another board, or damaged; the machine is then not fit for anything but another checkpoint.
    """
    if checkpoint.board != board_of(machine):
        raise CheckpointError(f"a checkpoint of {describe(checkpoint.board)} does not fit {describe(board_of(machine))}")
    if checkpoint.rom != machine.memory.rom_digest:
        raise CheckpointError("the checkpoint is of a machine with another firmware")
    if machine.engine.running:
        raise CheckpointError("a machine cannot be replaced in the middle of a slice")
    machine.engine.start_over(machine.memory.adopt(checkpoint.ram))
    machine.clock.clear()
    machine.time.restore(checkpoint.time)
    shift = _tsc_shift(machine, checkpoint)
    try:
        for vcpu, state in zip(machine.engine.vcpus, checkpoint.vcpus, strict=True):
            vcpu.restore(state, shift)
        machine.board.withdraw()
        for chip in _in_restore_order(machine):
            chip.restore(checkpoint.chips[chip.name])
        machine.take_turns(checkpoint.turns)
    except (StateError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"the checkpoint is damaged: {error}") from None
    for name in COUNTERS:
        setattr(machine.stats, name, checkpoint.counters.get(name, 0))
    machine.memory.rom_writes = checkpoint.counters.get("rom_writes", 0)


def _in_restore_order(machine: Machine) -> list[Chip[Any]]:
    """Those that drive lines first, then the interrupt controllers towards the processors, which look at what the others drive."""
    board = machine.board
    controllers: list[Chip[Any]] = [*board.pic.chips, board.ioapic, *board.lapics]
    return [chip for chip in board.chips if chip not in controllers] + controllers


def describe(board: Kind) -> str:
    """A board in words."""
    name, version, cpus, memory, clock, cards = board
    return f"{name} {version} with {cpus} CPUs, {memory >> 20} MiB and the {clock} clock" + (f", and the cards {', '.join(cards)}" if cards else "")


def _guest_tsc(machine: Machine) -> int:
    """The counter as boot processor sees it; virtual where the clock is."""
    return machine.clock.now() if machine.engine.counted else tsc.host_tsc() + machine.engine.vcpus[0].tsc_offset


def _tsc_shift(machine: Machine, checkpoint: Checkpoint) -> int:
    """What the processors must add to the host's counter now, beside what they added then, for theirs to go on."""
    if machine.engine.counted:
        return 0
    context = checkpoint.vcpus[0].context[abi.ENV_TSC_OFFSET:abi.ENV_TSC_OFFSET + 8]
    return checkpoint.tsc - tsc.host_tsc() - int.from_bytes(context, "little")
