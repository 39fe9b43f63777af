"""Random accesses, from a fixed seed, to registers whose answers do not depend on time. What is left out is what `differences.py` names, or undefined."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator

DELAY = 300                             # us, between three and four characters of the serial port at its highest rate


def pic8259(rng: random.Random) -> Iterator[str]:
    """Command words of all kinds at one controller after the other, with requests from serial port and keyboard or the mouse; polls show who is served.

    Not at both at once: pic-cascade-poll.
    """
    yield from ("out 64 60", "out 60 03", "out 3fc 08", "out 3f9 00", "init", "masks 00 00")
    full, special = False, {"20": False, "a0": False}
    for step in range(300):
        port = "20" if step < 180 else "a0"
        if step == 180:
            yield from ("out 3f9 00", "in 60 & 0", "in 60 & 0", "init")
            full = False
        data = f"{int(port, 16) + 1:x}"
        action = rng.randrange(12)
        if action == 0:
            yield from (f"out {port} 11", f"out {data} {rng.randrange(0x20, 0x100):x}", f"out {data} {'04' if port == '20' else '02'}",
                        f"out {data} {rng.choice((0x01, 0x01, 0x03, 0x11)):x}")
            special = {**special, port: False}
        elif action == 1:
            yield f"out {data} {rng.choice((0, 0xFF, rng.randrange(0x100))):x}"
        elif action == 2 and not special[port]:
            yield f"out {port} {rng.choice((0x20, 0x20, 0xA0)):x}"                  # in special mask mode: special-mask-eoi
        elif action == 3:
            yield f"out {port} {rng.choice((0x60, 0xE0, 0xC0, 0x60)) | rng.randrange(8):x}"
        elif action == 4:
            yield f"out {port} {rng.choice((0x00, 0x80)):x}"
        elif action == 5:
            special = {**special, port: rng.random() < 0.5}
            yield f"out {port} {0x68 if special[port] else 0x48:x}"
        elif action == 6:
            yield from ("out 3f9 02", "out 3f9 00") if rng.random() < 0.3 else (rng.choice(("out 3f9 02", "out 3f9 00")),)
        elif action == 7 and not full:
            yield f"{'key-up' if port == '20' else 'mouse-up'} {rng.randrange(0x80):x}"
            full = True
        elif action == 8:
            yield "in 60 & 0"
            full = False
        elif action == 9:
            yield from ("out 3f9 00", "in 60 & 0", "init", f"out 4d{port == 'a0':d} {rng.choice((0, 0, 0x10)):x}")   # nothing requested: pic-elcr-live
            full, special = False, {"20": False, "a0": False}
        else:
            yield from (f"out {port} 0c", f"in {port} & 80 poll-of-nothing")
        yield from ("state",) if port == "20" else ("out a0 0a", "in a0", "out a0 0b", "in a0", "in a1")
    yield from _pic8259_vectors(rng)


def _pic8259_vectors(rng: random.Random) -> Iterator[str]:
    """Both controllers, and the processor takes the vectors. The slave's mask stays: pic-cascade-poll."""
    yield from ("out 3f9 00", "in 60 & 0", "in 60 & 0", "out 4d0 0", "out 4d1 0", "init", "masks 00 00", "write32 fee000f0 1ff", "write32 fee00350 700")
    full = False
    for _ in range(200):
        action = rng.randrange(9)
        if action == 0:
            yield from ("out 3f9 00", "in 60 & 0", "init")
            yield from ("out 20 11", f"out 21 {rng.randrange(0x20, 0xF8):x}", "out 21 04", f"out 21 {rng.choice((0x01, 0x03)):x}")      # 11: pic-special-nested
            yield from ("out a0 11", f"out a1 {rng.randrange(0x20, 0xF8):x}", "out a1 02", f"out a1 {rng.choice((0x01, 0x01, 0x03)):x}")
            full = False
        elif action == 1:
            yield f"out 21 {rng.choice((0, rng.randrange(0x100))) & 0xFB:x}"
        elif action == 2:
            yield rng.choice(("out 3f9 02", "out 3f9 00"))
        elif action == 3 and not full:
            yield f"{rng.choice(('key-up', 'mouse-up'))} {rng.randrange(0x80):x}"
            full = True
        elif action == 4:
            yield "in 60 & 0"
            full = False
        elif action == 5:
            yield rng.choice(("out 20 20", "out a0 20", "out 20 a0", "out a0 a0", f"out 20 {rng.choice((0x60, 0xC0, 0xE0)) | rng.randrange(8):x}"))
        elif action == 6:
            yield rng.choice(("out 20 80", "out 20 00", "out a0 80", "out a0 00"))
        else:
            yield f"interrupts {rng.randrange(1, 4)} {rng.choice(('', 'master', 'master slave', 'slave'))}"
        yield "state"


def pit8254(rng: random.Random) -> Iterator[str]:
    """Control words, latches and read-back; the upper byte of counts that have just been loaded."""
    yield "out 61 01"
    for _ in range(120):
        channel = rng.randrange(3)
        mode, access, high = rng.choice((0, 2, 3, 4, 6, 7)), rng.choice((2, 3)), rng.randrange(2, 0x100)
        yield f"out 43 {channel << 6 | access << 4 | mode << 1:x}"
        yield from (f"out 4{channel} 80",) * (access == 3)
        yield f"out 4{channel} {high:x}"
        yield "delay 5"
        for _ in range(rng.randrange(3)):
            yield f"out 43 {rng.choice((0xC0, 0xD0, 0xE0)) | 2 << channel:x}" if rng.random() < 0.7 else f"out 43 {channel << 6:x}"
        yield f"out 43 {0xC0 | 2 << channel:x}"
        yield f"in 4{channel} & 3f pit-status"
        yield from (f"in 4{channel} & 0",) * (access == 3)
        yield f"in 4{channel}"
    yield from _pit8254_counts(rng)


def _pit8254_counts(rng: random.Random) -> Iterator[str]:
    """Counts of modes 0, 2, 3 and 4 as they run, looked at twice: the upper byte. Binary: pit-bcd."""
    for _ in range(60):
        channel, mode = rng.randrange(3), rng.choice((0, 2, 3, 4))
        yield from (f"out 43 {channel << 6 | 0x30 | mode << 1:x}", f"out 4{channel} 0", f"out 4{channel} {rng.randrange(0x10, 0x100):x}")
        for _ in range(2):
            yield from (f"delay {rng.randrange(10, 20000)}", f"out 43 {channel << 6:x}", f"in 4{channel} & 0", f"in 4{channel}")
        if channel == 2 and mode in (0, 3):
            yield "out2"


def uart16550(rng: random.Random) -> Iterator[str]:
    """Loopback: characters, FIFOs, interrupts of receiver, transmitter and line."""
    yield from ("out 3fb 83", "out 3f8 01", "out 3f9 00", "out 3fb 03", "out 3fa 07", "out 3fa 00", "loopback", "out 3f9 00", "in 3f8", "in 3fd", "in 3fa")
    for _ in range(250):
        action = rng.randrange(9)
        if action < 3:
            yield from (f"send {rng.randrange(0x100):x}", f"delay {DELAY}")
        elif action == 3:
            yield f"out 3f9 {rng.randrange(8):x}"                                   # modem status: uart-loopback-delta
        elif action == 4:
            yield f"out 3fa {rng.choice((0x00, 0x01, 0x01, 0x41, 0x81, 0xC1, 0x03, 0x07)):x}"
            yield from ("out 3f9 00", f"out 3f9 {rng.randrange(8) | 2:x}")         # raises the transmitter's interrupt anyway: uart-transmitter-reset
        elif action == 5:
            yield f"out 3fc {0x10 | rng.randrange(16):x}"
        elif action == 6:
            yield f"out 3ff {rng.randrange(0x100):x}"
        elif action == 7:
            yield from ("in 3f8",) * rng.randrange(1, 4)
        else:
            yield "in 3fd"
        yield from ("in 3fa", "in 3fc", "in 3fe & f0 uart-loopback-delta", "in 3ff")


def rtc(rng: random.Random) -> Iterator[str]:
    """Memory, alarm registers, and moments written and read in all four formats."""
    for _ in range(60):
        address = rng.choice((*range(0x0E, 0x32), *range(0x33, 0x37), *range(0x38, 0x80), 1, 3, 5))   # 37: rtc-century-37
        yield f"wr {address:x} {rng.randrange(0x100):x}"
        yield f"rd {address:x}"
    yield "wr a 20"
    for _ in range(40):
        moment = dt.datetime(1980, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=rng.randrange(100 * 365 * 86400))
        binary, hours_24 = rng.random() < 0.5, rng.random() < 0.5

        def code(number: int, binary: bool = binary) -> int:
            return number if binary else number // 10 << 4 | number % 10

        hour = code(moment.hour) if hours_24 else code((moment.hour + 11) % 12 + 1) | (0x80 if moment.hour >= 12 else 0)
        values = {0: code(moment.second), 2: code(moment.minute), 4: hour, 6: code(moment.isoweekday() % 7 + 1), 7: code(moment.day),
                  8: code(moment.month), 9: code(moment.year % 100), 0x32: code(moment.year // 100)}
        yield f"wr b {0x80 | binary << 2 | hours_24 << 1:x}"
        for address, value in rng.sample(sorted(values.items()), len(values)):
            yield f"wr {address:x} {value:x}"
        yield "time"
        yield f"wr b {binary << 2 | hours_24 << 1:x}"
        yield "time"
        yield f"wr b {rng.randrange(4) << 1:x}"
        yield "time"
    yield from rtc_alarms(rng)


def rtc_alarms(rng: random.Random) -> Iterator[str]:
    """A moment with SET in any format, an alarm a second later, some of its parts wildcards or wrong, and the flags after 1.1 s."""
    yield from ("pics", "wr a 20")
    for _ in range(24):
        moment = dt.datetime(2000, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=rng.randrange(30 * 365 * 86400))
        alarm = moment + dt.timedelta(seconds=1)
        binary, hours_24 = rng.random() < 0.5, rng.random() < 0.5

        def code(number: int, binary: bool = binary) -> int:
            return number if binary else number // 10 << 4 | number % 10

        def hour(number: int, hours_24: bool = hours_24, binary: bool = binary) -> int:
            return code(number, binary) if hours_24 else code((number + 11) % 12 + 1, binary) | (0x80 if number >= 12 else 0)

        yield f"wr b {0x80 | binary << 2 | hours_24 << 1:x}"
        values = {0: code(moment.second), 2: code(moment.minute), 4: hour(moment.hour), 6: code(moment.isoweekday() % 7 + 1), 7: code(moment.day),
                  8: code(moment.month), 9: code(moment.year % 100), 0x32: code(moment.year // 100),
                  1: code(alarm.second), 3: code(alarm.minute), 5: hour(alarm.hour)}
        for address in rng.sample((1, 3, 5), rng.randrange(3)):
            values[address] = 0xC0
        if rng.random() < 0.3:
            values[rng.choice((1, 3, 5))] = rng.choice((0xFF, code(rng.randrange(1, 12))))
        for address, value in values.items():
            yield f"wr {address:x} {value:x}"
        yield from ("rd c", f"wr b {0x20 | binary << 2 | hours_24 << 1:x}", "repeat 1-16 sleep", "rd c", "rd c", "time")


def lapic(rng: random.Random) -> Iterator[str]:
    """Interrupts to itself of random vectors, by all kinds of destination, against random task priorities."""
    yield from ("out 3f9 00", "out 21 ff", "wr 350 10000", "wr 320 10000", "on", "wr 080 0", "wr 310 0", "wr 0e0 ffffffff", "wr 0d0 01000000")
    yield from ("wr 0b0 0",) * 8
    cluster = False
    for _ in range(200):
        action = rng.randrange(12)
        if action < 4:
            yield f"wr 300 {0x44000 | rng.randrange(0x20, 0x100):x}"
        elif action == 4:
            destination = rng.randrange(0xF0 if cluster else 0x100)                 # cluster 15: apic-cluster-broadcast
            yield f"wr 310 {destination << 24:x}"
            yield f"wr 300 {0x4800 | rng.randrange(0x20, 0x100):x}"
        elif action == 5:
            cluster = rng.random() < 0.5
            yield f"wr 0e0 {'0' if cluster else 'f'}fffffff"
            yield f"wr 0d0 {rng.randrange(0xF0) << 24:x}"
        elif action == 6:
            yield f"wr 080 {rng.choice((0, rng.randrange(0x100))):x}"
        elif action < 9:
            yield "wr 0b0 0"
        elif action == 9:
            yield f"wr 310 {rng.choice((0, 0xFF, 7)) << 24:x}"
            yield f"wr 300 {0x4000 | rng.randrange(0x20, 0x100):x}"
        else:
            yield f"interrupts {rng.randrange(1, 5)} {rng.choice(('local', ''))}"
        yield from (f"rd 0{register}" for register in ("80", "a0", "d0"))
        yield from (f"rd {base + 0x10 * number:03x}" for base in (0x100, 0x200) for number in range(1, 8))


def ioapic(rng: random.Random) -> Iterator[str]:
    """Pin 4 as edge and level, masked and not, while the serial port raises and lowers it; and the other entries' bits."""
    yield from ("down", "wr 18 10000", "wr 19 0", "write32 fee00080 0")
    yield from ("write32 fee000b0 0",) * 8
    up = level = False
    for _ in range(200):
        action = rng.randrange(8)
        if action < 2:
            up = not up
            yield "up" if up else "down"
        elif action == 2:
            new = rng.random() < 0.6
            if level != new:                             # ioapic-level-to-edge, ioapic-edge-to-level: the line is down, nothing is in service
                yield from ("down", "write32 fee000b0 0", "interrupts 8 local", "write32 fee000b0 0")
                up = False
            level = new
            yield f"wr 18 {(rng.random() < 0.4) << 16 | level << 15 | rng.randrange(0x40, 0xF0):x}"
        elif action == 3:
            pin = rng.choice((0, 1, 2, 3, 5, 6, 7, *range(9, 24)))
            value = 0x10000 | rng.randrange(0x10000) & 0xAFFF
            yield f"wr {0x10 + 2 * pin:x} {value:x}"
            yield f"wr {0x11 + 2 * pin:x} {rng.randrange(0x100) << 24:x}"
            yield f"rd {0x10 + 2 * pin:x}"
            yield f"rd {0x11 + 2 * pin:x}"
        elif action == 4:
            yield "write32 fee000b0 0"
        else:
            yield f"interrupts {rng.randrange(1, 3)} {rng.choice(('local', 'local', ''))}"
        yield "rd 18"


def hpet(rng: random.Random) -> Iterator[str]:
    """Registers of all widths while the counter stands."""
    yield from ("wr 010 0", "wr 100 0", "wr 120 0", "wr 140 0", "wrq 0f0 0")
    for _ in range(150):
        timer = 0x100 + 0x20 * rng.randrange(3)
        action = rng.randrange(6)
        if action == 0:
            yield f"wrq 0f0 {rng.getrandbits(64):x}"
        elif action == 1:
            yield f"wr 0f{rng.choice('04')} {rng.getrandbits(32):x}"
        elif action == 2:
            bits = rng.getrandbits(16) & 0x4046                                     # one-shot, 64 bits: hpet-mode32; routes: hpet-routes
            yield f"wr {timer:x} {bits | rng.choice((0, 20, 21, 22, 23)) << 9:x}"
        elif action == 3:
            yield f"wrq {timer + 8:x} {rng.getrandbits(64):x}"
        elif action == 4:
            yield f"wr {timer + rng.choice((8, 12)):x} {rng.getrandbits(32):x}"
        else:
            yield f"wr {timer + rng.choice((16, 20)):x} {rng.getrandbits(32):x}"
        yield from ("rdq 0f0", f"rd {timer:x}", f"rdq {timer + 8:x}", f"rd {timer + 8:x}", f"rd {timer + 12:x}", f"rdq {timer + 16:x}", "rdq 010", "rd 020")
    yield from _hpet_matches(rng)


def _hpet_matches(rng: random.Random) -> Iterator[str]:
    """Comparators that match within 60 us, as edges and levels, at pins or as messages; who comes is told by the vectors, the highest first."""
    yield from ("write32 fee000f0 1ff", "write32 fee00080 0", "ioapic 14 10000")
    for number in range(3):
        yield f"ioapic {0x38 + 2 * number:x} {0x51 + 0x10 * number | rng.choice((0, 0x8000)):x}"
    for _ in range(60):
        kinds = [rng.choice((0, 2, 4, 4, 6, 6, 0x4004)) for _ in range(3)]
        yield from ("wrq 0f0 0", "wr 020 7")
        for number, kind in enumerate(kinds):
            timer = 0x100 + 0x20 * number
            yield f"ioapic {0x38 + 2 * number:x} {0x51 + 0x10 * number | (kind & 2) << 14:x}"       # level at both ends
            yield from (f"wrq {timer + 8:x} {rng.randrange(0x100, 0x300):x}", f"wr {timer + 16:x} {0x85 + number:x}", f"wr {timer + 20:x} fee00000")
            yield f"wr {timer:x} {20 + number << 9 | kind:x}"
        yield from ("wr 010 1", "delay 100")
        yield "rd 020" if not any(kind == 2 for kind in kinds) else "read32 fed00020 & 0"                   # hpet-status-disabled
        yield from ("interrupts 8", "wr 020 7", "wr 010 0")
        yield from (f"wr {0x100 + 0x20 * number:x} 0" for number in range(3))
        yield from ("write32 fee000b0 0",) * 6
        yield from ("interrupts 8 local", "rd 020")


def pm(rng: random.Random) -> Iterator[str]:
    """Enables and control, of the bits that there are."""
    for _ in range(60):
        yield f"outw 602 {rng.getrandbits(16) & 0x4521:x}"
        yield f"outw 604 {rng.getrandbits(16) & 0x1C03:x}"
        yield f"out {rng.choice((0x628, 0x629, 0x62A, 0x62B, 0x62C, 0x62F)):x} {rng.getrandbits(8):x}"
        yield f"outl 634 {rng.getrandbits(32):x}"
        yield f"out b3 {rng.getrandbits(8):x}"
        yield from ("inw 600 & fffe pm-timer-at-start", "inw 602", "inw 604", "inl 628", "inl 62c", "inl 634", "in b3")


def i8042(rng: random.Random) -> Iterator[str]:
    """Commands to controller, keyboard and mouse in any order, with all that is answered."""
    yield from ("cmd 60", "out 60 03", "keyboard f6", "in 60", "mouse f6", "in 60", "in 60", "in 60")
    for _ in range(150):
        action = rng.randrange(8)
        if action < 2:
            yield f"cmd {rng.choice((0xAA, 0xAB, 0xA9, 0xA7, 0xA8, 0xAE, 0x20)):x}"
            yield from ("take", "cmd 60", "out 60 07")                             # the self test sets bit 2: i8042-self-test
        elif action == 2:
            yield from ("cmd 60", f"out 60 {rng.choice((0x03, 0x00, 0x07, 0x23, 0x21)):x}")
        elif action == 3:
            yield f"{rng.choice(('keyboard ee', 'keyboard f2', 'keyboard f4', 'keyboard f5', 'keyboard f6', 'keyboard ff'))}"
        elif action == 4:
            yield f"keyboard {rng.choice((0xED, 0xF3)):x}"
            yield "take"
            yield f"keyboard {rng.randrange(8):x}"
        elif action == 5:
            yield f"mouse {rng.choice((0xE6, 0xE7, 0xE9, 0xEA, 0xF0, 0xF2, 0xF4, 0xF5, 0xF6, 0xFF)):x}"
        elif action == 6:
            yield from rng.choice((("mouse2 e8", f"mouse {rng.randrange(4):x}"), ("mouse2 f3", f"mouse {rng.choice((10, 20, 40, 60, 80, 100, 200)):x}")))
        else:
            yield from (f"cmd {rng.choice(('d2', 'd3'))}", f"out 60 {rng.randrange(0x80):x}")
        yield from ("take",) * 5


def fw_cfg(rng: random.Random) -> Iterator[str]:
    """The signature and the identification, in pieces by port and by DMA."""
    yield "select 0"
    for _ in range(80):
        action = rng.randrange(4)
        if action == 0:
            yield f"select {rng.choice((0, 1, 3, 5, 0x1F)):x}"
        elif action == 1:
            yield from ("byte",) * rng.randrange(1, 4)
        else:
            control = rng.choice(("02", "02", "04", "06", "0a", "0c"))
            yield f"dma {control}00{rng.choice((0, 1, 3)):02x}00 {rng.randrange(12):02x}000000 00200200"
            yield "read64 22000"


def pci(rng: random.Random) -> Iterator[str]:
    """PAM, interrupt routes, in bytes, words and double words. PAM0 as 30 at most: mch-pam0."""
    for _ in range(120):
        size, suffix = rng.choice(((1, ""), (2, "w"), (4, "l")))
        base, end, mask = rng.choice(((0x80000090, 0x97, 0x33333330), (0x8000F860, 0x64, 0x8F8F8F8F), (0x8000F868, 0x6C, 0x8F8F8F8F)))
        offset = rng.randrange(base & 0xFF, end, size)
        if offset + size > end:
            continue
        yield f"outl cf8 {base & ~0xFF | offset & 0xFC:x}"
        yield f"out{suffix} {0xCFC + (offset & 3):x} {rng.getrandbits(8 * size) & mask >> 8 * (offset & 3) & (1 << 8 * size) - 1:x}"
        yield f"in{suffix} {0xCFC + (offset & 3):x}"
        yield "inl cfc"


def vga(rng: random.Random) -> Iterator[str]:
    """All index and data pairs, and the palette in its six bits."""
    for _ in range(200):
        macro, last = rng.choice((("crtcw", 0x18), ("seqw", 4), ("gfxw", 8), ("attrw", 0x14)))
        yield f"{macro} {rng.randrange(last + 1):x} {rng.getrandbits(8):x}"
    yield "out 3c8 0"
    yield from ("out 3c9 0",) * 0x300
    for _ in range(40):
        yield f"out 3c8 {rng.getrandbits(8):x}"
        yield from (f"out 3c9 {rng.getrandbits(6):x}" for _ in range(rng.randrange(1, 8)))
        yield f"out 3c7 {rng.getrandbits(8):x}"
        yield from ("in 3c9",) * rng.randrange(1, 8)


def ports(rng: random.Random) -> Iterator[str]:
    """Bits without effect of ports 92 and CF9."""
    for _ in range(40):
        yield f"out 92 {rng.getrandbits(8) & 0xFE | 2:x}"
        yield f"out cf9 {rng.getrandbits(8) & 0xFB:x}"
        yield from ("in 92", "in cf9", "in e9")
