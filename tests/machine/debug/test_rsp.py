"""GDB's protocol without GDB: packets, a client that behaves and many that do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machine import Configuration, ExitReason, Firmware, Machine
from machine.debug.history import History
from machine.debug.packets import AGAIN as AGAIN_PLEASE
from machine.debug.packets import INTERRUPT, PacketReader, escape, packet, unescape
from machine.debug.registers import REGISTERS, description
from machine.debug.rsp import GdbServer, Motion
from machine.recording import Recorder, read
from machine.replay import Event, Player, ReplayError
from tests.machine.debug.test_commands import ticking_machine as ticking
from tests.machine.rom import EIGHT_BITS, rom
from tests.machine.test_replay import GO, quarrel

LOOP = EIGHT_BITS + "xor ax, ax; mov ds, ax; again: inc word ptr [0x600]; cmp word ptr [0x600], 5; jb again; mov al, 4; out 0xf4, al; hlt"
AGAIN = 0xFFFFF000 + 10                          # behind the prologue: the INC


class Client:
    """Stands for the connection: what the client sends, in turn, each when it is waited for, and what it got. It ends by killing the machine."""

    def __init__(self, *packets: bytes, raw: bytes = b"") -> None:
        self.waiting = [packet(body) for body in packets] + ([raw] if raw else []) + [packet(b"k")]
        self.got = bytearray()
        self.connected = True
        self.asked = False

    def fileno(self) -> int | None:
        return None

    def wait(self, _seconds: float | None = None) -> None:
        self.asked = True

    def read(self) -> bytes:
        asked, self.asked = self.asked, False
        return self.waiting.pop(0) if asked and self.waiting else b""

    def write(self, data: bytes) -> None:
        self.got += data

    def hang_up(self) -> None:
        self.connected = False

    def close(self) -> None:
        return

    @property
    def answers(self) -> list[bytes]:
        reader = PacketReader()
        reader.feed(bytes(self.got))
        found = []
        while (one := reader.next()) is not None:
            assert isinstance(one, tuple) and one[1]
            found.append(one[0])
        return found


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine(Firmware(rom(LOOP)), Configuration(memory=4 << 20, clock="instructions"))
    yield made
    made.close()


def talk(machine: Machine, *packets: bytes, raw: bytes = b"") -> list[bytes]:
    client = Client(*packets, raw=raw)
    server = GdbServer(machine, client, wait=True)  # type: ignore[arg-type]
    server.run(timeout=5.0)
    return client.answers


def test_each_resume_is_answered_by_one_stop_reply(machine: Machine) -> None:
    answers = talk(machine, b"qSupported:multiprocess+;swbreak+", b"QStartNoAckMode", b"?", b"Z0,%x,1" % AGAIN, b"vCont;c", b"vCont;s:1", b"vCont;c",
                   b"z0,%x,1" % AGAIN, b"vCont;c")[1:]
    assert answers[:3] == [b"OK", b"T05thread:1;", b"OK"]
    assert answers[3:6] == [b"T05thread:1;swbreak:;", b"T05thread:1;", b"T05thread:1;swbreak:;"]
    assert answers[6:8] == [b"OK", b"W04"], "and then the guest ended with what it wrote to the exit port"


def test_registers_are_those_of_the_description(machine: Machine) -> None:
    answers = talk(machine, b"g", b"p10", b"P3=1122000000000000", b"p3", b"pfff", b"p")
    assert len(answers[0]) == 2 * sum(register.bits // 8 for register in REGISTERS)
    assert answers[1] == bytes.fromhex("f0ffffff00000000").hex().encode(), "RIP is linear"
    assert answers[2:6] == [b"OK", b"1122000000000000", b"E02", b"E02"]
    names = ["mxcsr", "fs_base", "gs_base", "k_gs_base", "cr0", "cr2", "cr3", "cr4", "cr8", "efer"]
    assert [register.name for register in REGISTERS][24 + 8 + 8 + 16:] == names
    assert [f'name="{register.name}"' in description() for register in REGISTERS] == [True] * len(REGISTERS)


def test_memory_in_both_directions(machine: Machine) -> None:
    answers = talk(machine, b"M500,3:010203", b"X503,2:" + escape(b"}#"), b"m500,5", b"Mfffff000,1:00", b"m500", b"m500,zz", b"M500,2:01")
    assert answers[:6] == [b"OK", b"OK", b"0102037d23", b"E01", b"E02", b"E02"] and answers[6] == b"E02"


def test_backwards(machine: Machine) -> None:
    where = b"Z0,%x,1" % AGAIN
    answers = talk(machine, where, b"vCont;c", b"vCont;s:1", b"vCont;c", b"m600,1", b"bc", b"m600,1", b"bs", b"bs", b"bs", b"bs", b"bs", b"bs", b"bs")
    assert answers[4] == b"01" and answers[6] == b"00"
    assert answers[-1] == b"T05thread:1;replaylog:begin;"


def test_what_is_not_known_gets_an_empty_answer(machine: Machine) -> None:
    unknown = (b"vMustReplyEmpty", b"qTStatus", b"!", b"Z9,0,1", b"", b"R00", b"qCRC:0,4", b"vContinue", b"QNonStop:1", b"qXfer:memory-map:read::0,100",
               b"qXfer:features:write:target.xml:0:", b"vRun;", b"bsx", b"vFile:open:2f")
    assert talk(machine, *unknown) == [b""] * len(unknown)


def test_the_reason_of_a_break_is_told_to_those_who_asked_for_it(machine: Machine) -> None:
    where = b"1,%x,1" % AGAIN
    assert talk(machine, b"Z" + where, b"vCont;c")[1] == b"T05thread:1;"
    assert talk(machine, b"qSupported:hwbreak+;swbreak-", b"Z" + where, b"vCont;s", b"vCont;c")[-1] == b"T05thread:1;hwbreak:;"


def test_the_description_in_pieces_and_beyond_its_end(machine: Machine) -> None:
    length = len(description())
    answers = talk(machine, *(b"qXfer:features:read:%b" % rest for rest in (
        b"target.xml:0,40", b"target.xml:%x,40" % (length - 1), b"target.xml:%x,40" % length, b"target.xml:%x,40" % (length + 1), b"other.xml:0,40",
        b"target.xml:0", b"target.xml:-1,40", b"target.xml:0,ffffffffffffffff")))
    assert answers[0] == b"m" + description()[:0x40].encode() and answers[1] == b"l>" and answers[2] == b"l"
    assert answers[3:7] == [b"E00", b"E00", b"E02", b"E02"] and answers[7] == b"l" + description().encode()


def test_numbers_are_hexadecimal_digits_and_nothing_else(machine: Machine) -> None:
    nonsense = (b"m0x10,4", b"m-5,4", b"m+5,4", b"m1_0,4", b"m 5,4", b"m5", b"m5,4,3", b"m11112222333344445,4", b"p-1", b"P1=00", b"P1=" + b"00" * 9, b"P1",
                b"Hz1", b"Z0,5", b"Z2,5,4,3", b"vCont", b"vCont;", b"vCont;t", b"vCont;c1", b"vCont;r5", b"vCont;C", b"vCont;S0g:1", b"s0x5", b"Xzz,1:a",
                b"X5,1")
    answers = talk(machine, *nonsense)
    assert [answer for answer, sent in zip(answers, nonsense, strict=True) if answer != (b"" if sent == b"vCont" else b"E02")] == []


def test_threads_and_addresses_that_do_not_exist_are_named(machine: Machine) -> None:
    answers = talk(machine, b"Hg9", b"T2", b"vCont;s:5", b"Z2,500,ffffffff", b"Z2,500,0", b"m500,ffffffffffffffff")
    assert answers[:3] == [b"E.there is no processor %d; they are 0 to 0" % cpu for cpu in (8, 1, 4)]
    assert answers[3:5] == [b"E.a watchpoint of %d bytes: 1 to 4096 are possible" % size for size in (0xFFFFFFFF, 0)]
    assert len(answers[5]) == 2 * (0x4000 // 2 - 8), "as much as fits a packet"


def test_a_range_is_stepped_through_in_one_resume(machine: Machine) -> None:
    inc, compare, jump, behind = AGAIN, AGAIN + 4, AGAIN + 9, AGAIN + 11
    here = b"Z1,%x,1" % AGAIN
    words = (here, b"vCont;c", b"z" + here[1:], b"vCont;r%x,%x:1" % (inc, behind), b"p10", b"m600,1", b"vCont;r%x,%x:1" % (behind, behind + 1), b"p10",
             b"vCont;r0,0:1")
    answers = talk(machine, *words)
    assert answers[3:6] == [b"T05thread:1;", behind.to_bytes(8, "little").hex().encode(), b"05"]
    assert answers[7] == (behind + 2).to_bytes(8, "little").hex().encode()
    machine.close()
    other = Machine(Firmware(rom(LOOP)), Configuration(memory=4 << 20, clock="instructions"))
    stop = b"Z0,%x,1" % jump
    answers = talk(other, here, b"vCont;c", stop, b"vCont;r%x,%x:1" % (inc, behind), b"p10", b"vCont;r%x,%x" % (inc, behind), b"p10", b"m600,1")
    assert [answers[4], answers[6], answers[7]] == [jump.to_bytes(8, "little").hex().encode(), AGAIN.to_bytes(8, "little").hex().encode(), b"01"], \
        f"a breakpoint at {compare:#x} or elsewhere in the range ends the steps"


def test_a_range_with_a_hlt_waits_for_its_interrupt() -> None:
    """As a debugger's `next` over a line that idles does: the timer's interrupt wakes the processor, whose handler runs, and the range is left behind."""
    machine = ticking()
    hlt = 0xFF022
    words = (b"Z0,%x,1" % hlt, b"vCont;c", b"z0,%x,1" % hlt, b"m600,1", b"vCont;r%x,%x:1" % (hlt, hlt + 2), b"p10", b"m600,1")
    answers = talk(machine, *words)
    assert answers[5] == (hlt + 2).to_bytes(8, "little").hex().encode(), "behind HLT and INC BX"
    assert int(answers[6], 16) == int(answers[3], 16) + 1, "one tick"
    machine.close()


def test_going_on_with_a_signal_or_from_elsewhere(machine: Machine) -> None:
    behind = AGAIN + 11
    answers = talk(machine, b"S05;%x" % behind, b"p10", b"p0", b"C05")
    assert answers[0] == b"T05thread:1;" and answers[1] == (behind + 2).to_bytes(8, "little").hex().encode() and answers[2].startswith(b"04")
    assert answers[3] == b"W04"


def test_the_monitor_looks_at_the_processor_that_stopped_whichever_gdb_has_asked_about() -> None:
    machine = Machine(Firmware(rom(LOOP)), Configuration(memory=4 << 20, cpus=2, clock="instructions"))

    def ask(text: bytes) -> bytes:
        return b"qRcmd," + text.hex().encode()

    answers = talk(machine, b"vCont;s:1", b"Hg2", b"p10", ask(b"registers rip"), ask(b"cpu 1"), ask(b"registers rip"), b"vCont;s:1", ask(b"r rip"),
                   ask(b"no"), ask(b""))
    said = [bytes.fromhex(answer[1:].decode()).decode() for answer in answers if answer.startswith(b"O") and answer != b"OK"]
    assert "0xfffff000" in said[0] and "wait-for-sipi" in said[1] and "0xfffffff0" in said[2] and "0xfffff000" not in said[3] and "0xfffffff0" not in said[3]
    assert "there is no command no" in said[4] and "walk" in said[5]
    machine.close()


def test_an_answer_that_was_lost_is_sent_again(machine: Machine) -> None:
    client = Client(raw=packet(b"?") + b"-" + b"+")
    GdbServer(machine, client, wait=True).run(timeout=5.0)  # type: ignore[arg-type]
    assert client.got.startswith(b"+" + packet(b"T05thread:1;") * 2)


def test_an_acknowledgement_does_not_stop_a_machine(machine: Machine) -> None:
    client = Client()
    server = GdbServer(machine, client)  # type: ignore[arg-type]
    client.read = lambda: b"+"  # type: ignore[method-assign]
    server._stream.connected = server._pause = True
    server._pause = False
    assert not server.pump()
    client.read = lambda: b"\x03"  # type: ignore[method-assign]
    assert server.pump()


def test_detach_and_kill_in_their_longer_forms() -> None:
    for words, answer in ((b"vKill;1", [b"OK"]), (b"k", [])):
        machine = Machine(Firmware(rom(LOOP)), Configuration(memory=4 << 20, clock="instructions"))
        client = Client(words)
        assert GdbServer(machine, client, wait=True).run(timeout=5.0).reason is ExitReason.STOPPED  # type: ignore[arg-type]
        assert client.answers == answer and machine.stats.retired == 0
        machine.close()
    machine = Machine(Firmware(rom(LOOP)), Configuration(memory=4 << 20, clock="instructions"))
    client = Client(b"Z0,%x,1" % AGAIN, b"D;1")
    assert GdbServer(machine, client, wait=True).run(timeout=5.0).reason is ExitReason.DEBUG_EXIT  # type: ignore[arg-type]
    assert client.answers == [b"OK", b"OK"] and not client.connected
    machine.close()


def test_what_a_debugger_writes_survives_going_back_to_behind_it_and_no_further(machine: Machine) -> None:
    """A run that is repeated knows nothing of what was poked into it."""
    where = b"Z0,%x,1" % AGAIN
    answers = talk(machine, where, b"vCont;c", b"M600,1:02", b"P3=7700000000000000", b"vCont;c", b"vCont;s:1", b"vCont;s:1", b"bs", b"bs", b"m600,1", b"p3",
                   b"bc", b"m600,1", b"bc", b"m600,1", b"p3")
    assert answers[9:11] == [b"03", b"7700000000000000"], "one round on from the poked 2"
    assert answers[12] == b"02", "where it was poked"
    assert answers[14:16] == [b"00", b"6306000000000000"], "before: EDX holds the processor's signature"


def test_a_damaged_packet_is_asked_for_again(machine: Machine) -> None:
    client = Client(raw=b"$g#00$?#3f")
    GdbServer(machine, client, wait=True).run(timeout=5.0)  # type: ignore[arg-type]
    assert client.got.startswith(b"-+$T05thread:1;#")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(
    st.binary(max_size=40),
    st.sampled_from([
        b"g", b"G00", b"m", b"m0,ffffffffffff", b"M0,1:", b"X0,1:", b"Z0", b"Z2,0,8", b"Z2,ffffffffffffffff,8", b"z2,0,8", b"P0=", b"p-1", b"Hg", b"Hgff",
        b"T", b"qRcmd,zz", b"qRcmd,77616c6b", b"qXfer:features:read:target.xml:zz,1", b"vCont;", b"vCont;s:9", b"vCont;x", b"qThreadExtraInfo,9", b"s0"]),
), max_size=8))
def test_no_packet_hurts_the_host(packets: list[bytes]) -> None:
    machine = Machine(Firmware(rom(LOOP)), Configuration(memory=4 << 20, clock="instructions"))
    try:
        client = Client(*[escape(body) for body in packets])
        client.waiting += [packet(b"k")] * 4
        outcome = GdbServer(machine, client, wait=True).run(until=lambda: not client.waiting, timeout=5.0)  # type: ignore[arg-type]
        assert outcome.reason in (ExitReason.STOPPED, ExitReason.DEBUG_EXIT, ExitReason.CONDITION, ExitReason.DEAD, ExitReason.SHUTDOWN)
    finally:
        machine.close()


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_packets_come_out_as_they_went_in(body: bytes, noise: bytes) -> None:
    assert unescape(escape(body)) == body
    reader = PacketReader()
    reader.feed(bytes(byte for byte in noise if byte not in (INTERRUPT, AGAIN_PLEASE, ord("$"))) + packet(escape(body)) + bytes((INTERRUPT,)))
    assert reader.next() == (body, True)
    assert reader.next() == INTERRUPT and reader.next() is None


def test_a_packet_in_pieces_and_one_without_an_end() -> None:
    reader = PacketReader()
    for byte in packet(b"vCont;c"):
        assert reader.next() is None
        reader.feed(bytes((byte,)))
    assert reader.next() == (b"vCont;c", True)
    for _ in range(40):
        reader.feed(b"$" + b"x" * 65536)
    assert reader.next() is None and len(reader._data) <= 1 << 20


def test_a_client_that_vanishes_while_the_machine_runs_leaves_nothing_to_the_next(machine: Machine) -> None:
    client = Client()
    server = GdbServer(machine, client)  # type: ignore[arg-type]
    server._acknowledge, server._owes_reply = False, True                # as in the middle of a resume, without acknowledgements
    server._reader.feed(b"$half a pack")
    client.read = lambda: (client.hang_up(), b"")[1]  # type: ignore[method-assign]
    assert not server.pump()
    client.connected, client.read = True, lambda: packet(b"?")  # type: ignore[method-assign]
    server._stand(Motion.CONTINUE, None)
    assert not client.got, "a stop reply that the next client has not asked for"
    assert server.pump(), "an idle machine must look up"
    client.read = lambda: packet(b"k")  # type: ignore[method-assign]
    server._converse()
    assert client.got.startswith(b"+$T02")


def test_a_step_after_going_back_reports_no_breakpoint_of_the_way(machine: Machine) -> None:
    where = b"Z0,%x,1" % AGAIN
    assert talk(machine, where, b"vCont;c", b"vCont;s:1", b"vCont;c", b"bc", b"vCont;s:1", b"vCont;s:1")[-2:] == [b"T05thread:1;"] * 2


def test_backwards_on_four_processors_is_what_was_although_breakpoints_have_changed() -> None:
    """Each stop ended a processor's turn; going back must repeat that, without the breakpoints that made them."""
    start = "mov ax, 0xfee0; xor bx, bx; again: inc bx; jmp again"
    machine = Machine(Firmware(rom(start)), Configuration(memory=4 << 20, cpus=4, clock="instructions"))
    vcpus = machine.engine.vcpus
    for vcpu in vcpus[1:]:
        vcpu.init()
        vcpu.startup(0x10)
    machine.memory.write(0x10000, b"\x43\xeb\xfd")                       # inc bx; jmp
    history = History(machine)
    moments = []
    machine.engine.breakpoints.add(0x10000)
    for turn in range(12):
        history.note_run()
        machine.run(limit=machine.stats.retired + 1000)
        if turn == 6:
            machine.engine.breakpoints.clear()
        moments.append((history.now, [(vcpu.rip, vcpu.regs[3]) for vcpu in vcpus]))
        history.note_step(turn % 4)
        machine.step(turn % 4)
    machine.engine.breakpoints.add(0xFFFFF005)
    for count, state in reversed(moments):
        assert history.go_to(count)
        assert (history.now, [(vcpu.rip, vcpu.regs[3]) for vcpu in vcpus]) == (count, state)
    machine.close()


def test_a_session_that_is_recorded_comes_again_without_the_debugger(tmp_path: Path) -> None:
    """Breakpoints and watchpoints, steps of one processor and another, changed registers and memory, and what is typed between: the same digest."""
    def start() -> Machine:
        machine = Machine(Firmware(rom(GO)), Configuration(4 << 20, 4, "instructions"))
        machine.board.as_firmware_leaves_it()
        for vcpu in machine.engine.vcpus[1:]:
            vcpu.startup(0x10)
        quarrel(machine)
        return machine

    with closing(start()) as machine, (tmp_path / "session").open("wb") as file:
        recorder = Recorder(machine, file.write)
        client = Client(b"qSupported:swbreak+", b"Z0,5c00,1", *[b"vCont;c"] * 40,
                        b"z0,5c00,1", b"Z2,720,4", *[b"vCont;c"] * 20, *[b"vCont;s:1", b"vCont;s:3"] * 20,
                        b"vCont;r7c00,7d00:2", b"z2,720,4", b"Hg3", b"p3", b"P3=7777000000000000", b"M100000,4:01020304", b"X100008,2:ab", b"Z0,5c00,1",
                        *[b"vCont;c", b"vCont;s", b"P3=0100000000000000"] * 20, b"bs", b"D")
        GdbServer(machine, client, wait=True, backwards=False).run(until=lambda: machine.stats.retired > 500_000, timeout=30.0)  # type: ignore[arg-type]
        machine.board.serial.receive(b"typed")
        machine.run(limit=700_000)
        recorder.finish()
        assert client.answers[0].count(b"Reverse") == 0 and client.answers[-2:] == [b"", b"OK"], "there is no way back in a run that is recorded"
        assert sum(answer.startswith(b"T05") for answer in client.answers) >= 100
    recording = read(tmp_path / "session")
    inlets = [event.inlet for event in recording.events]
    assert inlets.count("step") > 40 and inlets.count("memory") == 2 and inlets.count("register") == 21 and inlets.count("turn") > 5 and "com1" in inlets
    with closing(start()) as machine:
        player = recording.player(machine)
        assert machine.run(timeout=30.0).reason is ExitReason.CONDITION
        assert player.arrived and recording.difference(machine, True) is None
    with closing(start()) as machine:                 # and with a debugger, whose breakpoints and steps in step with the recorded ones change nothing
        player = recording.player(machine)
        client = Client(b"Z0,5c00,1", *[b"vCont;c"] * 200, b"z0,5c00,1", b"D")
        GdbServer(machine, client, wait=True).run(until=lambda: player.arrived, timeout=30.0)  # type: ignore[arg-type]
        assert player.arrived and recording.difference(machine, True) is None


@pytest.mark.parametrize(("inlet", "data"), [("step", b"4"), ("step", b"-1"), ("step", b"x"), ("memory", b"0"), ("memory", b"fffffff0 00"), ("memory", b"x 00"),
                                             ("register", b"0 rbx"), ("register", b"9 rbx 0000000000000000"), ("register", b"0 rbx 00"),
                                             ("register", b"0 r99 00")])
def test_a_debugger_that_makes_no_sense_in_a_recording(machine: Machine, inlet: str, data: bytes) -> None:
    Player(machine, [Event(5, 40_000, inlet, data)])
    with pytest.raises(ReplayError, match="what was recorded at instruction 5 makes no sense: ") as caught:
        machine.run(timeout=5.0)
    assert "\n" not in str(caught.value)
