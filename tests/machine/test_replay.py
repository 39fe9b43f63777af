"""What was typed comes again at the same instruction, and everything else follows from it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from machine import Configuration, ExitReason, Firmware, Machine
from machine.checkpoint import board_of, digest
from machine.debug.history import History
from machine.debug.target import Target
from machine.recording import LARGEST_LINE, Recorder, Recording, read
from machine.replay import CUT, Event, Journal, Player, ReplayError, moment_of
from machine.outcome import Outcome
from machine.scenario.scenario import Scenario
from tests.machine.rom import EIGHT_BITS, rom
from tests.machine.scenario.test_scenario import asm
from tests.machine.test_checkpoint import HANDLER

Build = Callable[..., Machine]
PATIENCE = 20.0
# Answers each character on COM1 with itself, mixed with a count of its own loops, of PIT interrupts and of what the other processors do: an answer is right
# only if the character came at the very instruction. `!` ends it.
ECHO = (EIGHT_BITS + "xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 0x7000; mov word ptr [0x80], 0x7c00; mov word ptr [0x82], 0;"
        "mov al, 0x11; out 0x20, al; mov al, 0x20; out 0x21, al; mov al, 4; out 0x21, al; mov al, 1; out 0x21, al; mov al, 0xfe; out 0x21, al;"
        "mov al, 0x34; out 0x43, al; mov al, 0; out 0x40, al; mov al, 2; out 0x40, al; sti;"
        "again: inc ebx; mov dx, 0x3fd; in al, dx; test al, 1; jz again; mov dx, 0x3f8; in al, dx; cmp al, 0x21; je done;"
        "xor al, bl; add al, byte ptr [0x604]; xor al, byte ptr [0x700]; out dx, al; jmp again; done: mov al, 0; out 0xf4, al; hlt")
OTHERS = bytes.fromhex("31c0" "8ed8" "f0ff060007" "ebf9")        # at 0x10000: xor ax, ax; mov ds, ax; again: lock inc word [0x700]; jmp again
IDLE = ("xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 0x7000; mov word ptr [0x80], 0x7c00; mov word ptr [0x82], 0; mov al, 0x11; out 0x20, al; mov al, 0x20;"
        "out 0x21, al; mov al, 4; out 0x21, al; mov al, 1; out 0x21, al; mov al, 0xfe; out 0x21, al; mov al, 0x34; out 0x43, al; mov al, 0; out 0x40, al;"
        "out 0x40, al; sti; again: hlt; jmp again")
TYPED = bytes(range(0x40, 0x5F))
# The same with the bytes of keyboard and mouse, whose reports it turns on; Escape ends it.
HANDS = (ECHO[:ECHO.index("again:")].replace("sti;", "mov al, 0xd4; out 0x64, al; mov al, 0xf4; out 0x60, al; sti;")
         + "again: inc ebx; in al, 0x64; test al, 1; jz again; in al, 0x60; cmp al, 0x01; je done;"
         "xor al, bl; add al, byte ptr [0x604]; xor al, byte ptr [0x700]; mov dx, 0x3f8; out dx, al; jmp again; done: mov al, 0; out 0xf4, al; hlt")


class Typist:
    """Host input in pieces of any length, at moments that only the host knows; then what ends the guest."""

    def __init__(self, machine: Machine, seed: int, last: bytes = b"!") -> None:
        self._machine, self._random, self._left = machine, random.Random(seed), TYPED + last
        machine.inputs.append(self)

    def fileno(self) -> None:
        return None

    def pump(self) -> bool:
        self._machine._polled = 0                       # look again after the next slice
        count = min(self._random.choice((0, 0, 0, 1, 1, 2)), len(self._left), self._machine.board.serial.space())
        if count:
            self._machine.board.serial.receive(self._left[:count])
            self._left = self._left[count:]
        return False


@pytest.fixture
def build() -> Iterator[Build]:
    machines: list[Machine] = []

    def make(cpus: int = 4, seed: int | None = None, clock: str = "instructions", text: str = ECHO) -> Machine:
        machine = Machine(Firmware(rom(text)), Configuration(4 << 20, cpus, clock, seed))
        machine.board.as_firmware_leaves_it()
        machine.memory.write(0x7C00, HANDLER)
        machine.memory.write(0x10000, OTHERS)
        for vcpu in machine.engine.vcpus[1:]:
            vcpu.startup(0x10)
        machines.append(machine)
        return machine

    yield make
    for machine in machines:
        machine.close()


def listen(machine: Machine) -> bytearray:
    output = bytearray()
    machine.board.serial_out = output.extend
    return output


def ended(machine: Machine) -> tuple[bytes, tuple[int, int], str]:
    """Output, moment and digest at the guest's own end."""
    output = listen(machine)
    assert machine.run(timeout=PATIENCE).reason is ExitReason.DEBUG_EXIT
    return bytes(output), moment_of(machine), digest(machine)


@pytest.mark.parametrize(("cpus", "seed"), [(1, None), (4, None), (4, 11)])
def test_a_played_journal_gives_the_same_run(build: Build, cpus: int, seed: int | None) -> None:
    machine = build(cpus, seed)
    journal = Journal(machine)
    Typist(machine, 1)
    first = ended(machine)
    assert len(first[0]) == len(TYPED) and machine.engine.vcpus[0].delivered > 5
    again = build(cpus, seed)
    Player(again, journal.events)
    assert ended(again) == first
    other = build(cpus, seed)
    Typist(other, 2)
    assert ended(other) != first, "or the moments would not matter"


def test_cuts_from_outside_are_played_too(build: Build) -> None:
    machine = build()
    journal = Journal(machine)
    Typist(machine, 3)
    output, cuts = listen(machine), random.Random(5)
    while (outcome := machine.run(limit=machine.stats.retired + cuts.randrange(1, 30_000))).reason is ExitReason.CONDITION:
        pass
    assert outcome.reason is ExitReason.DEBUG_EXIT and sum(event.inlet == CUT for event in journal.events) > 50
    again = build()
    Player(again, journal.events)
    assert ended(again) == (bytes(output), moment_of(machine), digest(machine))


def quarrel(machine: Machine) -> None:
    """All processors set their timers anew all the time, interrupt each other and themselves, in the middle of blocks, pause and wait."""
    code = asm("""
        xor ax, ax; mov ds, ax; mov ss, ax; lgdt [0x5f8]; mov eax, cr0; or al, 1; mov cr0, eax;
        mov cx, 8; mov ds, cx; and al, 0xfe; mov cr0, eax; xor cx, cx; mov ds, cx;
        mov edi, 0xfee00000; mov eax, [edi + 0x20]; shr eax, 24; mov ecx, eax; shl ax, 8; add ax, 0x6000; mov sp, ax;
        mov dword ptr [edi + 0xf0], 0x1ff; mov dword ptr [edi + 0x3e0], 0xb; mov dword ptr [edi + 0x320], 0x30;
        imul eax, ecx, 1717; add eax, 9000; mov [edi + 0x380], eax; sti; inc dword ptr [0x710];
    again: imul ebx, ebx, 0x343fd; add ebx, 0x269ec3; inc dword ptr [0x700 + ecx * 4]; test ebx, 0x70000; jnz quiet;
        mov eax, ebx; shr eax, 24; and eax, 3; shl eax, 24; mov [edi + 0x310], eax;
        mov eax, ebx; shr eax, 20; and eax, 0x10; or eax, 0x40; mov [edi + 0x300], eax;
        """ + "inc ebx; " * 20 + """
    quiet: test ebx, 0x180000; jnz loud; pause; pause; pause;
    loud: test ebx, 0x3000; jnz idle; mov eax, ebx; shr eax, 20; inc eax; mov [edi + 0x380], eax;
        """ + "inc ebx; " * 20 + """
    idle: test ebx, 0xf000000; jnz again; mov dword ptr [edi + 0x380], 5000; hlt; jmp again""", 0x7C00)
    handler = asm("push ax; xor ax, ax; mov ds, ax; lock inc dword ptr [0x720]; add bx, [0x720]; sti; nop; mov dword ptr [edi + 0xb0], 0; pop ax; iret", 0x5C00)
    memory = machine.memory
    memory.write(0x7C00, code)
    memory.write(0x5C00, handler)
    memory.write(0x5F8, (15).to_bytes(2, "little") + (0x5E0).to_bytes(4, "little"))
    memory.write(0x5E0, bytes(8) + (0x00CF93000000FFFF).to_bytes(8, "little"))
    for vector in (0x30, 0x40, 0x50):
        memory.write(4 * vector, (0x5C00).to_bytes(4, "little"))
    memory.write(0x10000, b"\xea\x00\x7c\x00\x00")             # where the others begin


GO = ".byte 0xea, 0x00, 0x7c, 0x00, 0x00"


@pytest.mark.parametrize(("cpus", "seed"), [(1, None), (4, None), (4, 5)])
def test_where_a_slice_is_cut_changes_nothing(build: Build, cpus: int, seed: int | None) -> None:
    """Limits at random, and breakpoints and watchpoints that stop a hundred times: with interrupts pending at any of them, the course is the one without."""
    goal = 1_500_000

    def start() -> Machine:
        machine = build(cpus, seed, text=GO)
        quarrel(machine)
        return machine

    undisturbed = start()
    assert undisturbed.run(limit=goal, timeout=PATIENCE).reason is ExitReason.CONDITION
    assert undisturbed.engine.vcpus[0].delivered > 100 and int.from_bytes(undisturbed.memory.read(0x710, 4), "little") == cpus
    expected = digest(undisturbed)
    for attempt in range(2):
        machine, cuts = start(), random.Random(attempt)
        while machine.stats.retired < goal:
            limit = min(goal, machine.stats.retired + int(10 ** cuts.uniform(0, 4.5)))
            assert machine.run(limit=limit).reason is ExitReason.CONDITION
        assert digest(machine) == expected
    machine = start()
    target = Target(machine)
    target.add_breakpoint(0x5C00)
    target.add_watchpoint(0, 0x720, 4, False, True)
    stops = {"breakpoint": 0, "write": 0}
    while sum(stops.values()) < 200:
        assert target.resume(lambda: False).reason is ExitReason.BREAK
        hit = machine.engine.breakpoints.hit
        assert hit is not None
        stops[hit.kind] += 1
    target.detach()
    machine.run(limit=goal)
    assert digest(machine) == expected and min(stops.values()) > 90


def test_a_checkpoint_in_a_cut_turn_goes_on_with_it(build: Build, tmp_path: Path) -> None:
    machine = build(seed=4)
    machine.run(limit=400_001)
    checkpoint = machine.checkpoint()
    machine.save(tmp_path / "saved")
    machine.run(limit=1_500_000)
    expected = digest(machine)
    fork = machine.fork(checkpoint)
    loaded = Machine.load(tmp_path / "saved")
    for copy in (fork, loaded):
        copy.run(limit=1_500_000)
        assert digest(copy) == expected
        copy.close()


def test_going_back_types_again(build: Build) -> None:
    machine = build()
    history = History(machine)
    Typist(machine, 6, last=b"")
    output = listen(machine)
    history.note_run()
    while len(output) < len(TYPED):
        machine.run(until=lambda: len(output) == len(TYPED), timeout=PATIENCE)
    machine.inputs.clear()
    goal, typed = history.now // 2, list(history._journal.events)
    assert history.go_to(goal) and machine.script is None
    fresh = build()
    Player(fresh, [event for event in typed if event.retired < goal])
    fresh.run(limit=goal)
    assert digest(fresh) == digest(machine)
    assert history.go_to(goal // 2) and digest(fresh) != digest(machine)
    assert all(event.retired < goal // 2 for event in history._journal.events), "the rest is forgotten"


def test_going_back_in_a_recording_keeps_what_is_still_to_come(build: Build, tmp_path: Path) -> None:
    result = record(build, tmp_path / "typed")
    machine = build()
    player = read(tmp_path / "typed").player(machine)
    history = History(machine)
    history.note_run()
    machine.run(limit=result[1][0] * 3 // 4)
    later = player.position
    assert history.go_to(result[1][0] // 2) and 0 < player.position < later
    history.note_run()
    rest = ended(machine)[0]
    assert len(TYPED) // 4 < len(rest) < len(TYPED) and result[0].endswith(rest)


def test_what_is_typed_while_going_back_waits(build: Build) -> None:
    machine = build()
    history = History(machine)
    history.note_run()
    machine.run(limit=900_000)
    typist = Typist(machine, 7)
    history.go_to(500_000)
    assert typist._left == TYPED + b"!" and machine.inputs == [typist]


# --- files -----------------------------------------------------------------------------------------------------------------------------
def record(build: Build, path: Path, **options: int) -> tuple[bytes, tuple[int, int], str]:
    machine = build(**options)
    with path.open("wb") as file:
        recorder = Recorder(machine, file.write)
        Typist(machine, 8)
        result = ended(machine)
        recorder.finish()
    return result


def test_a_recording_is_played_to_its_end(build: Build, tmp_path: Path) -> None:
    result = record(build, tmp_path / "typed")
    recording = read(tmp_path / "typed")
    assert b"".join(event.data for event in recording.events) == TYPED + b"!" and recording.last == result[1] and recording.digest == result[2]
    machine = build()
    player = recording.player(machine)
    assert ended(machine) == result
    assert player.arrived and recording.difference(machine, player.arrived) is None


@pytest.mark.parametrize("cut", ["after a line", "in a line", "before the end", "in the end"])
def test_a_recording_without_an_end_is_played_as_far_as_it_goes(build: Build, tmp_path: Path, cut: str) -> None:
    record(build, tmp_path / "typed")
    lines = (tmp_path / "typed").read_bytes().splitlines(keepends=True)
    keep = {"after a line": len(lines) // 2, "in a line": len(lines) // 2, "before the end": len(lines) - 1, "in the end": len(lines) - 1}[cut]
    (tmp_path / "typed").write_bytes(b"".join(lines[:keep]) + (lines[keep][:-2] if " in " in f" {cut}" else b""))
    recording = read(tmp_path / "typed")
    retired, time = json.loads(lines[keep - 1])[:2]
    assert recording.digest is None and recording.last == (retired, time)
    assert recording.breaks_off == (f"after line {keep}, without an end" if " in " not in f" {cut}" else f"in the middle of line {keep + 1}")
    machine = build()
    player = recording.player(machine)
    outcome = machine.run(timeout=PATIENCE)
    assert outcome == Outcome(ExitReason.CONDITION, detail="the recording goes no further") and player.arrived and moment_of(machine) == recording.last
    assert recording.difference(machine, player.arrived) is None
    machine.run(limit=retired + 1000)
    assert machine.stats.retired == retired + 1000, "it stands once, and can then go on by itself"


def test_a_recording_of_nothing_but_its_head_goes_nowhere(build: Build, tmp_path: Path) -> None:
    record(build, tmp_path / "typed")
    (tmp_path / "typed").write_bytes((tmp_path / "typed").read_bytes().splitlines(keepends=True)[0])
    machine = build()
    player = read(tmp_path / "typed").player(machine)
    assert machine.run(timeout=PATIENCE).detail == "the recording goes no further" and player.arrived and machine.stats.retired == 0


def test_a_recording_shows_now_and_then_that_nothing_came(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it goes almost as far as the process that died; and in an idle machine moments are written down, too."""
    monkeypatch.setattr("machine.recording.SIGN_OF_LIFE", 1_000_000)
    for text in ("spin: jmp spin", IDLE):
        machine, lines = build(1, text=text), list[bytes]()
        recorder = Recorder(machine, lines.append)
        Scenario(machine).run_for(0.020_008 if text != IDLE else 150)
        moments = [line for line in lines[1:] if len(json.loads(line)) == 2]
        assert len(moments) == 2 and len(lines) <= 4, "and the last run's end may be a cut"
        (tmp_path / "died").write_bytes(b"".join([lines[0], *moments]))
        recording = read(tmp_path / "died")
        assert recording.last is not None and recording.events == ()
        again = build(1, text=text)
        player = recording.player(again)
        again.run(timeout=PATIENCE)
        assert player.arrived and moment_of(again) == recording.last
        recorder.finish()
        (tmp_path / "ended").write_bytes(b"".join(lines))
        whole, again = read(tmp_path / "ended"), build(1, text=text)
        player = whole.player(again)
        again.run(timeout=PATIENCE)
        assert whole.difference(again, player.arrived) is None and player.arrived


@pytest.mark.parametrize(("cpus", "seed"), [(1, None), (4, None), (4, 11)])
def test_keys_and_the_mouse_of_a_scenario_come_again(build: Build, tmp_path: Path, cpus: int, seed: int | None) -> None:
    """The recording is played without the script, whose waits and hands leave no trace in the machine's course but what they brought."""
    pc = Scenario(build(cpus, seed, text=HANDS))
    with (tmp_path / "hands").open("wb") as file:
        recorder = Recorder(pc.machine, file.write)
        pc.run_for(0.0123)
        pc.press("ctrl-alt-delete", "A")
        pc.move_mouse(20, -7)
        pc.click("right")
        pc.run_for(0.15)
        pc.press("esc")
        assert pc.wait_for_end(within=1).reason is ExitReason.DEBUG_EXIT
        recorder.finish()
    recording = read(tmp_path / "hands")
    hands = [(event.inlet, event.data) for event in recording.events if event.inlet != CUT]
    assert hands[:4] == [("keyboard", b"+29"), ("keyboard", b"+56"), ("keyboard", b"+111"), ("keyboard", b"-111")]
    assert hands[-4:] == [("mouse", b"20 7 0 0"), ("mouse", b"0 0 0 2"), ("mouse", b"0 0 0 0"), ("keyboard", b"+1")]
    machine = build(cpus, seed, text=HANDS)
    player = recording.player(machine)
    output, moment, found = ended(machine)
    assert (moment, found) == (recording.last, recording.digest) and player.arrived
    assert len(output) >= 18, "scan codes of five keys, and three reports"


def test_going_back_presses_keys_again(build: Build) -> None:
    machine = build(text=HANDS)
    history = History(machine)
    history.note_run()
    pc = Scenario(machine)
    pc.run_for(0.005)
    pc.press(*"go")
    pc.run_for(0.1)
    later, there = history.now, digest(machine)
    assert history.go_to(later // 2) and digest(machine) != there
    assert {event.inlet for event in history._journal.events} == {"keyboard", CUT}, "what came before that is kept"
    machine = build(text=HANDS)
    Player(machine, history._journal.events)
    machine.run(limit=later // 2)
    assert digest(machine) == digest(history._machine)


@pytest.mark.parametrize("event", [Event(1000, 8_000_000, "keyboard", b"30"), Event(1000, 8_000_000, "mouse", b"1 2")])
def test_hands_that_make_no_sense(build: Build, event: Event) -> None:
    machine = build(1)
    Player(machine, [event])
    with pytest.raises(ReplayError, match=f"what was recorded at instruction 1000 makes no sense: {event.inlet}: "):
        machine.run(timeout=PATIENCE)


@pytest.mark.parametrize(("options", "message"), [
    ({"cpus": 2}, "it is of folkering-q35 2 with 4 CPUs, 4 MiB and the instructions clock, not of folkering-q35 2 with 2 CPUs"),
    ({"seed": 3}, "its schedule seed is none, not 3"),
    ({"text": "hlt"}, "it began with something else in memory"),
    ({"clock": "host"}, "not of folkering-q35 2 with 4 CPUs, 4 MiB and the host clock"),
])
def test_a_recording_of_something_else_is_refused(build: Build, tmp_path: Path, options: dict[str, object], message: str) -> None:
    record(build, tmp_path / "typed")
    recording = read(tmp_path / "typed")
    with pytest.raises(ReplayError, match=message):
        recording.player(build(**options))


def test_a_machine_that_comes_elsewhere_is_noticed(build: Build) -> None:
    for event in (Event(1000, 1, "com1", b"a"), Event(0, 5, "com1", b"a")):
        machine = build(1)
        Player(machine, [event])
        with pytest.raises(ReplayError, match=f"what was recorded at instruction {event.retired}, {event.time} ps, finds the machine at"):
            machine.run(timeout=PATIENCE)


def test_another_end_is_noticed(build: Build, tmp_path: Path) -> None:
    record(build, tmp_path / "typed")
    recording = read(tmp_path / "typed")
    machine = build()
    player = recording.player(machine)
    machine.memory.write(0x200000, b"something else")
    ended(machine)
    assert "with something else in memory" in (recording.difference(machine, player.arrived) or "")
    assert "before the recording does" in (recording.difference(machine, False) or "")


GOOD = {"folkering-recording": 3, "board": ["folkering-q35", 1, 1, 4 << 20, "instructions", []], "seed": None, "start": ""}


@pytest.mark.parametrize(("lines", "message"), [
    ([], "the file is empty"), ([""], "this is no recording"), (["x" * LARGEST_LINE], "this is no recording"), (["[" * 100_000], "this is no recording"),
    ([GOOD | {"board": ["x", float("inf"), 1, 1, "x", []]}], "this is no recording"), ([GOOD | {"seed": "x"}], "this is no recording"),
    ([GOOD, "x" * LARGEST_LINE], "line 2 is damaged \\(it is too long"), ([GOOD, [1, 1], "[" * 100_000], "line 3 is damaged"),
    ([GOOD, {"end": [1, 1], "digest": ""}, "x" * LARGEST_LINE], "line 3 is damaged"), ([GOOD, [1, 1, "com1", ""]], "line 2 is damaged"),
    ([GOOD, [2, 2], [1, 2]], "line 3 is damaged"), ([GOOD, [2, 2], [2, 1]], "line 3 is damaged \\(time goes back"), ([GOOD, [1]], "line 2 is damaged"),
    (["\x7fELF"], "this is no recording"), ([[1, 2]], "this is no recording"), ([{"a": 1}], "this is no recording"),
    ([GOOD | {"folkering-recording": 9}], "version 9; this program reads version 3"), ([GOOD | {"board": 1}], "this is no recording"),
    ([GOOD, {"x": 1}], "line 2 is damaged"), ([GOOD, [5, 5, "com1", "a"], [4, 6, ""]], "line 3 is damaged \\(time goes back"),
    ([GOOD, [1, 1, "com1"]], "line 2 is damaged"), ([GOOD, [1, 1, "com1", "\u1234"]], "line 2 is damaged"), ([GOOD, [1, 1, "", "a"]], "line 2 is damaged"),
    ([GOOD, {"end": [1, 1], "digest": ""}, [2, 2, ""]], "line 3 is damaged \\(something follows the end"), ([GOOD, [[[]]]], "line 2 is damaged"),
])
def test_every_damaged_recording_is_refused_with_one_line(tmp_path: Path, lines: list[object], message: str) -> None:
    path = tmp_path / "typed"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    with pytest.raises(ReplayError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_what_cannot_be_recorded(build: Build, tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="with the host's clock no run repeats"):
        Recorder(build(clock="host"), lambda line: None)
    with pytest.raises(ReplayError, match="No such file"):
        read(tmp_path / "none")
    machine = build(1)
    Journal(machine)
    machine.board.serial_out = machine.board.serial.receive            # a cable from COM1 to itself
    machine.board.serial.receive(b"a")
    with pytest.raises(ReplayError, match="input at com1 in the middle of a slice"):
        machine.run(timeout=PATIENCE)


def test_an_inlet_that_is_not_there(build: Build) -> None:
    machine = build(1)
    recording = Recording("it", board_of(machine), None, digest(machine), (Event(1, 1, "com9", b"a"),), (1, 1), None)
    with pytest.raises(ReplayError, match="this board has no inlet 'com9'"):
        recording.player(machine)


def test_what_was_typed_before_single_steps_comes_before_them_again(build: Build) -> None:
    machine = build(1, text=EIGHT_BITS + "again: mov dx, 0x3fd; in al, dx; mov dx, 0x3f8; in al, dx; shl ebx, 1; xor bl, al; jmp again")
    history = History(machine)
    states = []
    for turn in range(40):
        states.append((history.now, digest(machine)))
        if turn % 8 == 3:
            machine.board.serial.receive(bytes((turn,)))
        history.note_step(0)
        machine.step(0)
    assert len({state for _, state in states}) == 40
    for count, state in reversed(states):
        assert history.go_to(count) and digest(machine) == state
    assert not history.go_to(-1) and not history._chapters[0].stops, "the oldest moment, and nothing after it is left"
