"""Builtins on tables: choose rows, choose columns, order, count, group, measure. Each takes a table and gives a value; none prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kernel.telemetry import Column, Kind
from shell.conditions import require_column
from shell.context import as_table
from shell.errors import ShellError
from shell.quantities import NUMERIC
from shell.signature import Builtin, Call, Example, Input, Parameter, Takes

if TYPE_CHECKING:
    from jit_synth.values import Table, Value

MEASURABLE = NUMERIC - {Kind.ADDRESS}
REAL_AVERAGE = frozenset({Kind.INTEGER, Kind.REAL})      # their average is a REAL; that of sizes stays a size

COLUMNS = Parameter("column", Takes.COLUMN, "the columns", required=True, several=True)
ONE_COLUMN = Parameter("column", Takes.COLUMN, "the column", required=True)
COUNT = Parameter("count", Takes.NUMBER, "how many rows; 1 if not given")


def table_of(call: Call) -> Table:
    """The upstream value as a table: a record is one row."""
    return as_table(call.input, call.stage.name, call.stage.name_span)


def _chosen(call: Call, table: Table) -> list[int]:
    return [require_column(operand, table.columns, call.context) for operand in call.given("column")]


def _select(call: Call) -> Value:
    from jit_synth.values import Table

    table = table_of(call)
    chosen = _chosen(call, table)
    return Table(tuple(table.columns[index] for index in chosen), tuple(tuple(row[index] for index in chosen) for row in table.rows))


def _sort(call: Call) -> Value:
    from jit_synth.values import Table

    table = table_of(call)
    chosen = _chosen(call, table)
    down = call.has("descending")
    filled = [row for row in table.rows if all(row[index] is not None for index in chosen)]
    empty = [row for row in table.rows if any(row[index] is None for index in chosen)]      # last, whichever the direction
    ordered = sorted(filled, key=lambda row: _order([row[index] for index in chosen]), reverse=down)
    return Table(table.columns, (*ordered, *empty))


def _order(values: Sequence[object]) -> list[tuple[object, str]]:
    return [(value.casefold(), value) if isinstance(value, str) else (value, "") for value in values]


def _first(call: Call) -> Value:
    from jit_synth.values import Table

    table = table_of(call)
    return Table(table.columns, tuple(table.rows[:call.count("count", 1)]))


def _last(call: Call) -> Value:
    from jit_synth.values import Table

    table, count = table_of(call), call.count("count", 1)
    return Table(table.columns, tuple(table.rows[max(0, len(table.rows) - count):]))


def _reverse(call: Call) -> Value:
    from jit_synth.values import Table

    table = table_of(call)
    return Table(table.columns, tuple(reversed(table.rows)))


def _count(call: Call) -> Value:
    from jit_synth.values import Scalar

    return Scalar(len(table_of(call).rows), Kind.INTEGER)


def _distinct(call: Call) -> Value:
    from jit_synth.values import Table

    table = table_of(call)
    return Table(table.columns, tuple(dict.fromkeys(map(tuple, table.rows))))


def _group(call: Call) -> Value:
    from jit_synth.values import Table

    table = table_of(call)
    (index,) = _chosen(call, table)
    counts = Counter(row[index] for row in table.rows)
    columns = (table.columns[index], Column("count", Kind.INTEGER, f"rows with this {table.columns[index].name}"))
    return Table(columns, tuple(counts.most_common()))


def _measure(call: Call) -> Value:
    from jit_synth.values import Record

    table = table_of(call)
    (index,) = _chosen(call, table)
    column = table.columns[index]
    if column.kind not in MEASURABLE:
        measurable = ", ".join(other.name for other in table.columns if other.kind in MEASURABLE)
        raise ShellError(f"{column.name} has nothing to add up", call.given("column")[0].span, hint=f"measurable here: {measurable or 'no column'}")
    numbers: list[int | float] = [value for row in table.rows if isinstance(value := row[index], (int, float))]
    average_kind = Kind.REAL if column.kind in REAL_AVERAGE else column.kind
    columns = (Column("count", Kind.INTEGER, "rows measured"), Column("sum", column.kind, "their sum"), Column("average", average_kind, "the mean"),
               Column("smallest", column.kind, "the least"), Column("largest", column.kind, "the most"))
    if not numbers:
        return Record(columns, (0, 0, None, None, None))
    return Record(columns, (len(numbers), sum(numbers), sum(numbers) / len(numbers), min(numbers), max(numbers)))


def _columns(call: Call) -> Value:
    from jit_synth.values import Table

    columns = (Column("column", Kind.TEXT, "its name"), Column("kind", Kind.TEXT, "what it holds"), Column("doc", Kind.TEXT, "what it means"))
    return Table(columns, tuple((column.name, column.kind.name.lower(), column.doc) for column in table_of(call).columns))


def _where(call: Call) -> Value:
    raise AssertionError("the grammar makes where a stage of its own")


TABLES = (
    Builtin("where", "the rows for which a condition holds", _where, Input.TABLE,
            (Parameter("condition", Takes.CONDITION, "COLUMN COMPARISON VALUE, joined by and, or, not", required=True),),
            examples=(Example("cpus |> where load > 50%", "the busy ones"), Example('ps |> where name == "pulse" and time > 1ms', "two conditions"),
                      Example('ps |> where not (state contains run or cpu == 0)', "grouped, and turned round"))),
    Builtin("select", "some columns, in the order given", _select, Input.TABLE, (COLUMNS,),
            examples=(Example("ps |> select name time", "two columns of each task"),)),
    Builtin("sort", "the rows in order of columns", _sort, Input.TABLE, (COLUMNS, Parameter("descending", Takes.SWITCH, "largest first")),
            examples=(Example("ps |> sort name", "by name"), Example("cpus |> sort load -Descending", "the busiest first"))),
    Builtin("first", "the first rows", _first, Input.TABLE, (COUNT,), ("head",), (Example("ps |> first 3", "three tasks"),)),
    Builtin("last", "the last rows", _last, Input.TABLE, (COUNT,), ("tail",), (Example("log |> last 10", "the end of the log"),)),
    Builtin("reverse", "the rows, last one first", _reverse, Input.TABLE, examples=(Example("log |> reverse", "the newest line on top"),)),
    Builtin("distinct", "the rows without repetitions", _distinct, Input.TABLE, aliases=("unique",),
            examples=(Example("ps |> select state |> distinct", "the states there are"),)),
    Builtin("count", "how many rows", _count, Input.TABLE, examples=(Example("ps |> count", "the number of tasks"),)),
    Builtin("group", "how many rows have each value of a column", _group, Input.TABLE, (ONE_COLUMN,),
            examples=(Example("ps |> group state", "tasks by state"),)),
    Builtin("measure", "count, sum, average, smallest and largest of a column", _measure, Input.TABLE, (ONE_COLUMN,),
            examples=(Example("ps |> measure memory", "what the tasks hold together"),)),
    Builtin("columns", "the columns of a table: name, kind, meaning", _columns, Input.TABLE,
            examples=(Example("cpus |> columns", "what can be asked about a vCPU"),)),
)
