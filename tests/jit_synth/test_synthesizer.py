"""The door: requests in, commands or refusals out; what is kept, what is checked again, what is never run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jit_synth import Command, CommandStopped, Keys, LineageError, Refusal, RefusalKind, Request, StopKind, Store, Synthesizer
from jit_synth.resolver import Resolver
from jit_synth.values import Record, Scalar, Table, Text, Value
from kernel.telemetry import Column, Kind, LiveSource, Source
from tests.jit_synth.fixture import ROWS, columns_of, sources

ORIGINAL_SIZE = 669                     # bytes of the original's Get-SystemStats
NOW = 1_700_000_000
ALL = frozenset({"telemetry"})


def a_synthesizer(folder: Path | None = None, grants: frozenset[str] = ALL, keys: Keys | None = None, **more: Source) -> Synthesizer:
    return Synthesizer({**sources(), **more}, Store(folder), keys or Keys(folder), lambda: NOW * 1_000_000_000, grants)


def ask(synthesizer: Synthesizer, line: str, upstream: Value | None = None, *, what_if: bool = False) -> Command | Refusal:
    return synthesizer.resolve(Request(tuple(line.split()), {}, upstream, what_if))


def command(synthesizer: Synthesizer, line: str, upstream: Value | None = None, *, what_if: bool = False) -> Command:
    resolution = ask(synthesizer, line, upstream, what_if=what_if)
    assert isinstance(resolution, Command), resolution
    return resolution


def refusal(synthesizer: Synthesizer, line: str, upstream: Value | None = None) -> Refusal:
    resolution = ask(synthesizer, line, upstream)
    assert isinstance(resolution, Refusal), str(resolution.plan)
    return resolution


# --- answering ------------------------------------------------------------------------------------------------------------

def test_get_system_stats_piped_to_format_dashboard() -> None:
    synthesizer = a_synthesizer()
    stats = command(synthesizer, "Get-SystemStats")
    assert len(stats.wasm) <= ORIGINAL_SIZE
    value = stats.run(None)
    assert value == Record(columns_of("system"), ROWS["system"][0])
    shown = command(synthesizer, "Format-Dashboard", value).run(value)
    assert isinstance(shown, Text)
    assert "uptime" in shown.text and "memory used" in shown.text and "[" in shown.text and len(shown.text.splitlines()) == 9


def test_answers_are_live() -> None:
    rows: list[tuple[object, ...]] = [(1, 0.5)]
    load = LiveSource("fans", "", (Column("id", Kind.INTEGER, ""), Column("speed", Kind.REAL, "")), lambda: list(rows))
    fastest = command(a_synthesizer(fans=load), "maximum speed of the fans")
    assert fastest.run(None) == Scalar(0.5, Kind.REAL)
    rows.append((2, 7.25))
    assert fastest.run(None) == Scalar(7.25, Kind.REAL)


@pytest.mark.parametrize(("line", "expected"), [
    ("Count-Widgets", [(3,)]), ("widgets with weight above 2.5", [("b", 3.5, "red"), ("c", 9.0, "blue")]), ("Measure-AverageWeight", [(4.5,)]),
    ("sort widgets by weight descending", [("c", 9.0, "blue"), ("b", 3.5, "red"), ("a", 1.0, "red")]), ("count widgets by colour", [("red", 2), ("blue", 1)]),
    ("Get-BlueWidgets", [("c", 9.0, "blue")]), ("widget with the highest weight", [("c", 9.0, "blue")])])
def test_a_source_that_nobody_has_heard_of_is_understood(line: str, expected: list[tuple[object, ...]]) -> None:
    """Nothing is canned: the nouns come from the source's own name, columns and cells."""
    from jit_synth.values import rows_of
    columns = (Column("serial", Kind.TEXT, ""), Column("weight", Kind.REAL, ""), Column("colour", Kind.TEXT, ""))
    widgets = LiveSource("widgets", "", columns, lambda: [("a", 1.0, "red"), ("b", 3.5, "red"), ("c", 9.0, "blue")])
    assert list(rows_of(command(a_synthesizer(widgets=widgets), line).run(None))) == expected


def test_named_arguments() -> None:
    resolution = a_synthesizer().resolve(Request(("Get-TopTasks",), {"Count": Scalar(2, Kind.INTEGER), "By": Text("memory")}))
    assert isinstance(resolution, Command)
    answer = resolution.run(None)
    assert isinstance(answer, Table) and [row[1] for row in answer.rows] == ["gamma", "foxtrot"]


# --- refusing -------------------------------------------------------------------------------------------------------------

def test_a_refusal_says_what_was_understood_and_what_is_near() -> None:
    answer = refusal(a_synthesizer(), "Get-CpuTemperature")
    assert answer.kind is RefusalKind.NO_OPERATOR and "Temperature" in answer.message and answer.understood == ("Get", "Cpu")
    assert "cpus |> select load" in refusal(a_synthesizer(), "Get-CpuLaod").nearest


def test_an_ambiguous_request_shows_an_input_on_which_the_readings_differ() -> None:
    answer = refusal(a_synthesizer(), "tasks by state")
    assert answer.kind is RefusalKind.AMBIGUOUS
    assert "count for each state" in answer.message and "sort by state" in answer.message and "the first gives" in answer.message and answer.hint


def test_a_capability_that_was_not_granted_is_named_and_its_source_not_read() -> None:
    def forbidden() -> list[tuple[object, ...]]:
        pytest.fail("the source was read")

    secret = LiveSource("tasks", "", columns_of("tasks"), forbidden)
    answer = refusal(a_synthesizer(grants=frozenset({"telemetry.cpus"}), tasks=secret), "Count-Tasks")
    assert answer.kind is RefusalKind.NEEDS_CAPABILITY and "telemetry.tasks" in answer.message and "telemetry.tasks" in answer.hint
    assert command(a_synthesizer(grants=frozenset({"telemetry.cpus"}), tasks=secret), "Count-Cpus").run(None) == Scalar(4, Kind.INTEGER)


def test_a_stored_command_does_not_outlive_its_grant(tmp_path: Path) -> None:
    command(a_synthesizer(tmp_path), "Count-Tasks")
    answer = refusal(a_synthesizer(tmp_path, grants=frozenset({"telemetry.cpus"})), "Count-Tasks")
    assert answer.kind is RefusalKind.NEEDS_CAPABILITY and "telemetry.tasks" in answer.message


def test_the_search_gives_up_within_its_budget() -> None:
    resolver = Resolver(sources(), Store(None), Keys(), lambda: 0, ALL, budget=5)
    answer = resolver.resolve(Request(tuple("names of the three busiest sleeping tasks on cpu 3 sorted by memory as csv".split())))
    assert isinstance(answer, Refusal) and answer.kind is RefusalKind.BUDGET and "5 partial plans" in answer.message


@pytest.mark.parametrize("line", ["of the", "?!", "x " * 40, "\x00", "Get-" + "A" * 300, "🦉", "' OR 1=1 --", "-", "Get-", "1 2 3"])
def test_nonsense_is_one_line(line: str) -> None:
    answer = a_synthesizer().resolve(Request((line,)))
    assert isinstance(answer, Refusal) and answer.message and "\n" not in answer.message


def test_one_example_never_runs_by_itself() -> None:
    answer = a_synthesizer().resolve(Request(("Convert-Names",), {"Example": Text("ada => A.")}, Text("ada\n")))
    assert isinstance(answer, Refusal) and answer.kind is RefusalKind.AMBIGUOUS


def test_without_a_runtime_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from jit_synth import runtime
    runtime._wasmtime.cache_clear()
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    try:
        answer = refusal(a_synthesizer(), "Count-Tasks")
    finally:
        runtime._wasmtime.cache_clear()
    assert answer.kind is RefusalKind.TOOLCHAIN_MISSING and "wasmtime" in answer.message + answer.hint


# --- keeping --------------------------------------------------------------------------------------------------------------

def test_the_same_request_is_answered_from_the_store(tmp_path: Path) -> None:
    first = command(a_synthesizer(tmp_path), "show the three busiest cpus")
    again = command(a_synthesizer(tmp_path), "show the three busiest cpus")
    assert first.is_new and not again.is_new
    assert again.wasm == first.wasm and again.record == first.record and again.run(None) == first.run(None)
    assert first.record.time == NOW and first.record.tier == "spinal" and first.record.model == "" and first.record.capabilities == ("telemetry.cpus",)


def test_a_request_over_another_type_is_another_command(tmp_path: Path) -> None:
    tasks, cpus = (Table(columns_of(name), tuple(ROWS[name])) for name in ("tasks", "cpus"))
    synthesizer = a_synthesizer(tmp_path)
    over_tasks = command(synthesizer, "Count-Rows", tasks)
    over_cpus = command(synthesizer, "Count-Rows", cpus)
    assert over_cpus.is_new and over_cpus.run(cpus) == Scalar(4, Kind.INTEGER)
    with pytest.raises(CommandStopped) as caught:
        over_tasks.run(cpus)
    assert caught.value.kind is StopKind.BAD_INPUT


def test_what_if_explains_and_remembers_nothing(tmp_path: Path) -> None:
    synthesizer = a_synthesizer(tmp_path)
    explained = command(synthesizer, "Get-InterruptRate", what_if=True).explain()
    for part in ("read interrupts", "env.folk_rows_interrupts", "telemetry.interrupts", "bytes of WebAssembly", "interpreter and module agree", "fuel",
                 "signed"):
        assert part in explained
    assert list(tmp_path.glob("*.skill")) == [] and command(synthesizer, "Get-InterruptRate").is_new


def test_a_flipped_bit_on_disk_is_refused_by_name_and_the_command_made_anew(tmp_path: Path) -> None:
    command(a_synthesizer(tmp_path), "Count-Tasks")
    path = next(tmp_path.glob("*.skill"))
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x10
    path.write_bytes(data)
    synthesizer = a_synthesizer(tmp_path)
    assert command(synthesizer, "Count-Tasks").is_new
    assert len(synthesizer.notes) == 1 and "Count-Tasks is refused" in synthesizer.notes[0] and "not the one that was signed" in synthesizer.notes[0]
    assert path.exists() and path.with_suffix(".refused").exists()


def test_a_module_changed_in_memory_never_runs() -> None:
    count = command(a_synthesizer(), "Count-Tasks")
    sealed = count._sealed
    object.__setattr__(count, "_sealed", replace(sealed, wasm=sealed.wasm[:-1] + b"\x0c"))
    with pytest.raises(LineageError, match="Count-Tasks is refused"):
        count.run(None)


def test_a_skill_filed_under_another_request_is_refused(tmp_path: Path) -> None:
    synthesizer = a_synthesizer(tmp_path)
    command(synthesizer, "Count-Tasks")
    tasks = next(tmp_path.glob("*.skill"))
    command(synthesizer, "Count-Cpus")
    cpus = next(path for path in tmp_path.glob("*.skill") if path != tasks)
    cpus.write_bytes(tasks.read_bytes())
    fresh = a_synthesizer(tmp_path)
    assert command(fresh, "Count-Cpus").run(None) == Scalar(4, Kind.INTEGER)
    assert any("another request" in note for note in fresh.notes)


def test_another_installations_skills_are_refused(tmp_path: Path) -> None:
    command(a_synthesizer(tmp_path), "Count-Tasks")
    fresh = a_synthesizer(tmp_path, keys=Keys())
    assert command(fresh, "Count-Tasks").is_new and "not signed by this system's key" in fresh.notes[0]


def test_a_damaged_key_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "signing.key").write_bytes(b"not a key")
    answer = refusal(a_synthesizer(tmp_path), "Count-Tasks")
    assert "signing key" in answer.message and "damaged" in answer.message


def test_a_store_that_cannot_be_written_costs_a_note_not_the_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    synthesizer = Synthesizer(sources(), Store(tmp_path / "file"), Keys(), lambda: 0, ALL)
    assert command(synthesizer, "Count-Tasks").run(None) == Scalar(7, Kind.INTEGER)
    assert any("cannot be stored" in note for note in synthesizer.notes)


def test_learned_commands_take_part_in_later_searches(tmp_path: Path) -> None:
    first = command(a_synthesizer(tmp_path), "Get-SleepingTasks")
    later = a_synthesizer(tmp_path)
    assert list(later.learned()) == ["Get-SleepingTasks"]
    names = command(later, "sort the sleeping tasks by memory")
    assert names.record.parent == (first.record.wasm_sha256,)
    assert "Get-SleepingTasks" in refusal(later, "Get-SleepingTigers").nearest


# --- running --------------------------------------------------------------------------------------------------------------

def test_a_source_that_breaks_its_own_columns_stops_the_command() -> None:
    rows: list[tuple[object, ...]] = [(1,)]
    broken = LiveSource("fans", "", (Column("speed", Kind.INTEGER, ""),), lambda: list(rows))
    fans = command(a_synthesizer(fans=broken), "sum of the speed of the fans")
    rows[0] = (None,)
    with pytest.raises(CommandStopped, match="fans: column speed, row 0: it is empty"):
        fans.run(None)


def test_nothing_heavy_is_loaded_before_the_first_request() -> None:
    code = ("import sys; from jit_synth import Keys, Store, Synthesizer; Synthesizer({}, Store(None), Keys(), lambda: 0, frozenset());"
            "print([name for name in ('wasmtime', 'cryptography', 'jit_synth.search', 'jit_synth.wasm.compiler') if name in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_same_request_gives_the_same_bytes() -> None:
    wasm = {command(a_synthesizer(), "count devices by class").wasm for _ in range(2)}
    assert len(wasm) == 1
