from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kernel.log import MAX_MESSAGE, ONCE_LIMIT, Level, Log


def test_the_ring_keeps_the_last_records() -> None:
    log = Log(3)
    for number in range(5):
        log.info("test", str(number))
    assert [record.message for record in log.records] == ["2", "3", "4"] and log.dropped == 2


def test_the_mirror_shows_what_matters() -> None:
    log, shown = Log(), []
    log.mirror = shown.append
    log.debug("a", "detail")
    log.info("a", "step")
    log.mirror_from = Level.WARNING
    log.info("a", "later")
    log.warning("b", "watch out")
    log.error("c", "broken")
    assert shown == ["[A] step", "[B] watch out", "[C] broken"]


def test_records_have_kernel_time() -> None:
    log = Log()
    log.now = lambda: 42
    log.info("a", "x")
    assert log.records[0].time == 42


def test_a_mistake_is_told_once_and_a_flood_of_different_ones_ends() -> None:
    log = Log()
    for _ in range(10):
        log.once("gate", "the same")
    assert len(log.records) == 1 and log.repeated == 9
    for number in range(500):
        log.once("gate", f"mistake {number}")
    assert len(log.records) == ONCE_LIMIT + 1
    assert log.records[-1].message.startswith("and so on")
    log.once("uart", "another facility still speaks")
    assert log.records[-1].facility == "uart"


def test_a_message_does_not_repeat_its_facility() -> None:
    log = Log()
    log.error("acpi", "ACPI: no tables")
    assert str(log.records[0]) == "[ACPI] no tables"


@given(st.text(max_size=900))
def test_nothing_in_the_log_can_steer_a_terminal(text: str) -> None:
    log = Log()
    log.info("x", text)
    message = log.records[0].message
    assert message.isprintable() or "\N{REPLACEMENT CHARACTER}" in message
    assert "\x1b" not in message and "\n" not in message and len(message) <= MAX_MESSAGE
