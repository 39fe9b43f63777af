"""The routines that lowered plans call, in the language of `wasm.compiler`.

A module contains only those that it reaches. Memory is a bump allocator: `heap` grows and is never given back, a module runs once. While text is written,
nothing else is allocated, and `heap` is where the next byte goes. What each `put_` routine writes is defined by `jit_synth.present`.
Three traps have a meaning for the host: integer overflow (a number does not fit), division by zero (there are no rows), and a conversion of NaN (not finite).
"""

from __future__ import annotations

MEMORY = '''
def room():
    missing = heap - (pages() << 16)
    if missing > 0:
        if grow(missing + 65535 >> 16) < 0:
            trap()

def alloc(size: i32) -> i32:
    place = heap
    heap = place + size + 7 & -8
    room()
    return place

def overflow() -> i64:
    return (wide(1) << 63) // -1

def no_rows() -> i64:
    return wide(1) // 0

def add(a: i64, b: i64) -> i64:
    c = a + b
    if ((a ^ c) & (b ^ c)) < 0:
        overflow()
    return c

def subtract(a: i64, b: i64) -> i64:
    c = a - b
    if ((a ^ b) & (a ^ c)) < 0:
        overflow()
    return c

def fraction(part: f64, total: f64) -> f64:
    return part / total if total != 0.0 else 0.0
'''

TEXTS = '''
def compare_text(a: i64, b: i64) -> i32:
    p = narrow(a)
    q = narrow(b)
    m = narrow(shru(a, 32))
    n = narrow(shru(b, 32))
    i = 0
    while i < m and i < n:
        d = load8(p + i) - load8(q + i)
        if d:
            return d
        i += 1
    return m - n

def folded(byte: i32) -> i32:
    return byte | 32 if ltu(byte - 65, 26) else byte

def contains(text: i64, part: i64) -> i32:
    p = narrow(text)
    q = narrow(part)
    n = narrow(shru(part, 32))
    last = narrow(shru(text, 32)) - n
    i = 0
    while i <= last:
        j = 0
        while j < n:
            if folded(load8(p + i + j)) != load8(q + j):
                break
            j += 1
        if j == n:
            return 1
        i += 1
    return 0

def width(start: i32, end: i32) -> i32:
    points = 0
    while start < end:
        points += (load8(start) & 192) != 128
        start += 1
    return points
'''

NUMBERS = '''
def put_byte(byte: i32):
    heap = heap + 1
    room()
    store8(heap - 1, byte)

def put_text(start: i32, length: i32):
    place = heap
    heap = place + length
    room()
    copy(place, start, length)

def put_digit(x: i64):
    put_byte(48 + narrow(remu(x, 10)))

def put_unsigned(x: i64):
    if geu(x, 10):
        put_unsigned(divu(x, 10))
    put_digit(x)

def put_sign(x: i64) -> i64:
    if x < 0:
        put_byte(45)
        return 0 - x
    return x

def put_integer(x: i64):
    put_unsigned(put_sign(x))

def put_two(x: i64):
    put_digit(divu(x, 10))
    put_digit(x)

def put_tenths(x: i64):
    put_unsigned(x // 10)
    put_byte(46)
    put_digit(x)

def put_hex(x: i64):
    if geu(x, 16):
        put_hex(shru(x, 4))
    put_byte(load8(at("0123456789abcdef") + (narrow(x) & 15)))

def put_size(x: i64):
    x = put_sign(x)
    if ltu(x, 1024):
        put_unsigned(x)
        put(" B")
        return
    unit = 0
    while geu(x, 1048576) and unit < 5:
        x = shru(x, 10)
        unit += 1
    put_tenths(x * 10 + 512 >> 10)
    put_byte(32)
    put_byte(load8(at("KMGTPE") + unit))
    put("iB")

def put_short(x: i64, unit: i64, letter: i32):
    put_tenths((x * 10 + unit // 2) // unit)
    put_byte(32)
    if letter:
        put_byte(letter)
    put_byte(115)

def put_duration(x: i64):
    x = put_sign(x)
    if ltu(x, 1000):
        put_unsigned(x)
        put(" ns")
        return
    if ltu(x, 60000000000):
        if x < 1000000:
            put_short(x, 1000, 117)
        elif x < 1000000000:
            put_short(x, 1000000, 109)
        else:
            put_short(x, 1000000000, 0)
        return
    x = divu(x, 1000000000)
    if x < 3600:
        put_unsigned(x // 60)
        put(" min ")
        put_two(x % 60)
        put(" s")
    elif x < 86400:
        put_unsigned(x // 3600)
        put(" h ")
        put_two(x % 3600 // 60)
        put(" min")
    else:
        put_unsigned(x // 86400)
        put(" d ")
        put_two(x % 86400 // 3600)
        put(" h")

def put_real(x: f64, decimals: i32):
    finite = whole(x - x)
    if x < 0.0:
        put_byte(45)
    x = magnitude(x)
    exponent = 0
    if x >= 1e15:
        while x >= 10.0:
            x = x / 10.0
            exponent += 1
    scale = wide(1)
    i = decimals
    while i:
        scale = scale * 10
        i -= 1
    rest = finite
    if x >= 1e12:
        put_unsigned(whole(x))
    else:
        rest = whole(x * real(scale) + 0.5)
        put_unsigned(rest // scale)
        rest = rest % scale
    put_byte(46)
    while decimals:
        scale = scale // 10
        put_digit(rest // scale)
        decimals -= 1
    if exponent:
        put("e+")
        put_unsigned(wide(exponent))

def put_percent(x: f64):
    put_real(x * 100.0, 1)
    put(" %")

def put_boolean(x: i64):
    if x != 0:
        put("yes")
    else:
        put("no")

def floor_divide(x: i64, y: i64) -> i64:
    return x // y - wide(x % y < 0)

def put_time(x: i64):
    seconds = floor_divide(x, 1000000000)
    days = floor_divide(seconds, 86400)
    second = seconds - days * 86400
    days = days + 719468
    era = days // 146097
    day = days % 146097
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day = day - (365 * year + year // 4 - year // 100)
    shifted = (5 * day + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year + era * 400 + wide(month <= 2)
    put_two(year // 100)
    put_two(year % 100)
    put_byte(45)
    put_two(month)
    put_byte(45)
    put_two(day - (153 * shifted + 2) // 5 + 1)
    put_byte(32)
    put_two(second // 3600)
    put_byte(58)
    put_two(second // 60 % 60)
    put_byte(58)
    put_two(second % 60)
'''

WRITING = '''
def put_clean(text: i64):
    p = narrow(text)
    end = p + narrow(shru(text, 32))
    while p < end:
        byte = load8(p)
        put_byte(32 if byte < 32 or byte == 127 else byte)
        p += 1

def put_cell_markdown(text: i64):
    p = narrow(text)
    end = p + narrow(shru(text, 32))
    while p < end:
        byte = load8(p)
        if byte == 124:
            put_byte(92)
        put_byte(32 if byte < 32 or byte == 127 else byte)
        p += 1

def put_cell_json(text: i64):
    p = narrow(text)
    end = p + narrow(shru(text, 32))
    put_byte(34)
    while p < end:
        byte = load8(p)
        if byte < 32:
            put("\\\\u00")
            put_byte(48 + (byte >> 4))
            put_byte(load8(at("0123456789abcdef") + (byte & 15)))
        else:
            if byte == 34 or byte == 92:
                put_byte(92)
            put_byte(byte)
        p += 1
    put_byte(34)

def put_cell_csv(text: i64):
    start = narrow(text)
    end = start + narrow(shru(text, 32))
    quoted = 0
    p = start
    while p < end:
        byte = load8(p)
        quoted = quoted | (byte == 34) | (byte == 44) | (byte == 10) | (byte == 13)
        p += 1
    if quoted:
        put_byte(34)
    p = start
    while p < end:
        byte = load8(p)
        if byte == 34:
            put_byte(34)
        put_byte(byte)
        p += 1
    if quoted:
        put_byte(34)

def put_truth(x: i64):
    if x != 0:
        put("true")
    else:
        put("false")

def put_six(x: f64):
    put_real(x, 6)

def put_hundredths(x: f64):
    put_real(x, 2)

def put_address(x: i64):
    put("0x")
    put_hex(x)

def put_blanks(count: i32):
    while count > 0:
        put_byte(32)
        count -= 1

def put_bar(ratio: f64):
    ratio = ratio if ratio > 0.0 else 0.0
    cells = narrow(whole((ratio if ratio < 1.0 else 1.0) * 20.0 + 0.5))
    i = 0
    put_byte(91)
    while i < 20:
        if i < cells:
            put("█")
        else:
            put("░")
        i += 1
    put_byte(93)
'''

ROUTINES = MEMORY + TEXTS + NUMBERS + WRITING
