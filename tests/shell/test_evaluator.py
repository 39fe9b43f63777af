"""Lines as a whole: pipes, variables, scripts, and what goes to the synthesizer and comes back."""

from __future__ import annotations

import pytest

from jit_synth.refusals import CommandStopped, Refusal, RefusalKind, StopKind
from jit_synth.values import Record, Scalar, Table, Text, Value
from kernel.telemetry import Kind, LiveSource
from tests.shell.bench import ROWS, Bench, Screen, columns, names, pointed_at


def test_a_pipe_carries_values(bench: Bench) -> None:
    assert bench.rows("ps |> where state == running |> sort time -Descending |> select id name |> first 2") == [["4", "idle"], ["1", "pulse"]]


def test_names_in_any_case(bench: Bench) -> None:
    assert bench.done("PS |> Where ID > 3 |> Count") == "2\n"
    assert bench.done("TASKS |> count") == "5\n"


def test_a_source_without_a_builtin_is_a_command(bench: Bench) -> None:
    bench.sources["fans"] = LiveSource("fans", "the fans", columns("id INTEGER", "speed REAL"), lambda: [(1, 900.0)])
    assert bench.rows("fans") == [["1", "900"]]
    assert bench.done("Fans |> count") == "1\n"
    assert not bench.resolver.requests


def test_variables(bench: Bench) -> None:
    assert bench.done("$busy = cpus |> where load > 50%") == ""
    assert names(bench.rows("$busy |> select id")) == ["0", "2"]
    assert "task" in bench.done("$busy")
    bench.done("$busy = $busy |> first")
    assert bench.done("$busy |> count") == "1\n"
    assert bench.done("$text = 'it'; $text; $n = 3KiB; $n") == "it\n3 KiB\n"
    report = bench.wrong("$bsuy |> count")
    assert "$bsuy has no value" in report and "nearest: $busy" in report and pointed_at("$bsuy |> count", report) == "$bsuy"
    assert bench.shell.context.variables.keys() == {"busy", "text", "n"}


def test_a_variable_keeps_what_it_was_given(bench: Bench) -> None:
    bench.done("$before = ps")
    bench.sources["tasks"] = LiveSource("tasks", "", ROWS["tasks"][0], list)
    assert bench.done("$before |> count; ps |> count") == "5\n0\n"


def test_a_failed_statement_neither_stops_the_next_nor_is_forgotten(bench: Bench) -> None:
    status, text = bench.run("echo one; ps |> sort nope; echo two")
    assert status == 1 and text.startswith("one\nfolk: there is no column 'nope'\n") and text.endswith("two\n")
    status, text = bench.run("$x = ps |> sort nope\n$x |> count")
    assert status == 1 and "$x has no value" in text


def test_errors_point_into_the_statement_that_failed(bench: Bench) -> None:
    report = bench.run("echo one\nps |> sort nope # by what?\necho two")[1].splitlines()
    assert report[2:4] == ["  ps |> sort nope # by what?", "             ^^^^"]


def test_a_script(bench: Bench) -> None:
    script = "# what is busy\n$busy = cpus\n  |> where load > 50%   # half or more\n  |> sort load -Descending\n\n$busy |> select id load\n$busy |> count\n"
    assert bench.done(script) == "id  load\n--  ----\n 0  93 %\n 2  55 %\n2\n"
    assert bench.done("") == bench.done("# nothing") == ""


def test_long_results_are_printed_in_pieces(bench: Bench) -> None:
    waits: list[int] = []

    class Slow(Screen):
        async def settle(self) -> None:
            waits.append(len(self.text))

    bench.screen = Slow()
    bench.sources["tasks"] = LiveSource("tasks", "", columns("id INTEGER"), lambda: [(number,) for number in range(2000)])
    text = bench.done("ps")
    assert text.splitlines()[2:] == [f"{number:>4}" for number in range(2000)]
    assert waits == [4096, 8192, len(text)], "never more ahead of the line than it can hold"


# --- synthesized commands --------------------------------------------------------------------------------------------------


def test_what_the_synthesizer_is_told(bench: Bench) -> None:
    bench.done("$n = 3; $who = 'pulse'")
    bench.run("show the $n busiest cpus over 10ms and 'two words' -Top 5 -Since 2min -Who $who -Fast -Name it")
    (request,) = bench.resolver.requests
    assert request.words == ("show", "the", "3", "busiest", "cpus", "over", "10ms", "and", "two words")
    assert request.arguments == {"Top": Scalar(5, Kind.INTEGER), "Since": Scalar(120_000_000_000, Kind.DURATION), "Who": Text("pulse"),
                                 "Fast": Scalar(True, Kind.BOOLEAN), "Name": Text("it")}
    assert request.upstream is None and not request.what_if


def test_values_go_into_and_come_out_of_a_synthesized_command(bench: Bench) -> None:
    def busiest(upstream: Value | None) -> Value:
        assert isinstance(upstream, Table)
        return Table(upstream.columns, tuple(sorted(upstream.rows, key=lambda row: str(row[6]), reverse=True)))

    command = bench.resolver.make("Get-Busiest", busiest)
    assert names(bench.rows("cpus |> where load > 0 |> Get-Busiest |> first 2 |> select id")) == ["0", "2"]
    assert bench.resolver.requests[0].upstream == command.runs[0] and isinstance(command.runs[0], Table) and len(command.runs[0].rows) == 3
    bench.resolver.make("Get-Total", lambda _: Record(columns("all SIZE"), (4096,)))
    assert bench.done("Get-Total") == "all  4 KiB\n"
    assert bench.shell.context.learned == {"Get-Busiest": "rows of system", "Get-Total": "rows of system"}
    assert "Get-Total" in bench.done("help") and "was synthesized here" in bench.done("help Get-Total")


def test_a_sentence_is_not_learned_by_name(bench: Bench) -> None:
    bench.resolver.make("show", lambda _: Text("so it is"))
    assert bench.done("show the three busiest cpus") == "so it is\n"
    assert not bench.shell.context.learned


@pytest.mark.parametrize("line", ["count the tasks that run", "first three tasks", "sort the tasks by time", "memory used by all tasks", "log errors of today",
                                  "interrupts per second", "3 busiest cpus", "where-are tasks", "system load over time",
                                  "tasks on cpu 2", "cpus with load above 20%", "log errors", "count tasks", "first tasks", "reverse the sky"])
def test_sentences_that_begin_with_a_builtins_name(bench: Bench, line: str) -> None:
    assert "no verb here is like it" in bench.wrong(line)
    assert bench.resolver.requests[0].words == tuple(line.split())


@pytest.mark.parametrize("line", ["ps |> count of them", "ps |> sort time name", "echo count the tasks", "sort time", "log > file",
                                  "memory -Kind usable", "first 3"])
def test_calls_that_are_no_sentences(bench: Bench, line: str) -> None:
    bench.run(line)
    assert not bench.resolver.requests


def test_an_alias_speaks_of_its_source(bench: Bench) -> None:
    bench.wrong("ps on cpu 2")
    bench.wrong("dmesg errors -WhatIf")
    assert [request.words for request in bench.resolver.requests] == [("tasks", "on", "cpu", "2"), ("log", "errors")]


def test_what_if_explains_and_runs_nothing(bench: Bench) -> None:
    command = bench.resolver.make("Get-Total", lambda _: Text("ran"))
    assert bench.done("ps |> Get-Total -WhatIf |> first 3") == "plan: rows of system\nwasm: 100 bytes\n"
    assert bench.resolver.requests[0].what_if and isinstance(bench.resolver.requests[0].upstream, Table) and not bench.resolver.requests[0].arguments
    assert not command.runs and not bench.shell.context.learned
    assert bench.done("$x = Get-Total -whatif") and "x" not in bench.shell.context.variables
    assert "no verb here is like it" in bench.wrong("Write-Novel -WhatIf")


def test_refusals_say_what_was_understood_and_what_would_help(bench: Bench) -> None:
    bench.resolver.refusal = Refusal(RefusalKind.NO_OPERATOR, "nothing here deals with 'novel'", ("tasks",),
    ("Write-Table", "ps"), "name a source or a column: tasks, load")
    line = "Write-Novel about the tasks"
    report = bench.wrong(line)
    assert report == ("folk: Write-Novel: nothing here deals with 'novel' [NO_OPERATOR]\n"
                      "  Write-Novel about the tasks\n"
                      "                        ^^^^^\n"
                      "  understood: tasks\n"
                      "  nearest: Write-Table, ps\n"
                      "  name a source or a column: tasks, load\n")


def test_what_was_understood_is_underlined_in_its_place(bench: Bench) -> None:
    bench.resolver.refusal = Refusal(RefusalKind.AMBIGUOUS, "two readings", ("get", "top", "task"))
    line = "ps |> Get-TopTasks of top |> first"
    report = bench.wrong(line).splitlines()
    assert report[1:3] == [f"  {line}", "        ^^^ ^^^^^^^^    ^^^"], "the parts of a name by themselves, a plural by its singular; never another stage"
    bench.resolver.refusal = Refusal(RefusalKind.UNKNOWN_VERB, "no such verb")
    report = bench.wrong("日本 novel").splitlines()
    assert report[1:3] == ["  日本 novel", "  understood: nothing of it"]
    bench.resolver.refusal = Refusal(RefusalKind.UNKNOWN_VERB, "no such verb", ("novel",))
    assert bench.wrong("日本 novel").splitlines()[1:3] == ["  日本 novel", "       ^^^^^"], "in terminal cells"


def test_a_mistyped_command_names_the_builtin(bench: Bench) -> None:
    line = "ps |> sotr name"
    report = bench.wrong(line)
    assert "nearest: sort" in report and "[UNKNOWN_VERB]" in report and line in report


def test_a_long_refused_line_is_cut(bench: Bench) -> None:
    bench.resolver.refusal = Refusal(RefusalKind.UNKNOWN_VERB, "no", ("word",))
    report = bench.wrong("Write-Novel " + "tale " * 40 + "word " * 100).splitlines()
    assert all(len(line) < 120 for line in report)
    assert report[1].startswith("  ...") and report[2].index("^") == report[1].index("word")


@pytest.mark.parametrize("kind", StopKind)
def test_a_stopped_command_says_why(bench: Bench, kind: StopKind) -> None:
    def run(_: Value | None) -> Value:
        raise CommandStopped(kind, "detail")

    bench.resolver.make("Get-Loop", run)
    report = bench.wrong("ps |> Get-Loop")
    assert report.startswith(f"folk: Get-Loop was stopped: {kind.value} (detail)\n") and pointed_at("ps |> Get-Loop", report) == "Get-Loop"
    assert "Get-Loop" not in bench.shell.context.learned
