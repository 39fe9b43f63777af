"""The CPUID table of the virtual PC: our own vendor and name, and exactly the features that the engine carries out.

Sources: Intel SDM vol. 2A "CPUID", AMD APM vol. 3 appendix E. Left out on purpose: AVX and XSAVE (the translator has no AVX), x2APIC and
TSC-deadline (not modelled), MONITOR, RDRAND and RDSEED (not deterministic), SEP (this build's SYSENTER does not enter
ring 0), PCID and INVPCID, VME. Leaf 0x40000010 gives a hypervisor-aware guest its clock rates, so that it need not calibrate.
"""

from __future__ import annotations

from collections.abc import Callable

VENDOR = b"FolkeringVPC"
HYPERVISOR = b"Folkering PC"
BRAND = b"Folkering Virtual CPU"
MAX_BASIC, MAX_HYPERVISOR, MAX_EXTENDED = 0x0B, 0x40000010, 0x80000008

SIGNATURE = 0x00000663                      # family 6, model 6, stepping 3
PHYSICAL_BITS, LINEAR_BITS = 40, 48
LAPIC_BUS_HZ = 1_000_000_000                # what the LAPIC timer counts, before its divider

_LEAF_1_EDX = {"FPU": 0, "DE": 2, "PSE": 3, "TSC": 4, "MSR": 5, "PAE": 6, "MCE": 7, "CX8": 8, "APIC": 9, "MTRR": 12, "PGE": 13, "MCA": 14,
               "CMOV": 15, "PAT": 16, "PSE36": 17, "CLFSH": 19, "MMX": 23, "FXSR": 24, "SSE": 25, "SSE2": 26}
_LEAF_1_ECX = {"SSE3": 0, "PCLMULQDQ": 1, "SSSE3": 9, "CX16": 13, "SSE4_1": 19, "SSE4_2": 20, "MOVBE": 22, "POPCNT": 23, "AES": 25,
               "HYPERVISOR": 31}
_LEAF_7_EBX = {"FSGSBASE": 0, "BMI1": 3, "SMEP": 7, "BMI2": 8, "ERMS": 9, "ADX": 19, "CLFLUSHOPT": 23, "CLWB": 24}
_LEAF_8000_0001_EDX = {"SYSCALL": 11, "NX": 20, "RDTSCP": 27, "LM": 29}
_LEAF_8000_0001_ECX = {"LAHF_LM": 0, "ABM": 5}
_HTT = 1 << 28
_ARAT = 1 << 2                              # leaf 6: the LAPIC timer runs in every C-state
_INVARIANT_TSC = 1 << 8                     # leaf 0x80000007


def _mask(bits: dict[str, int]) -> int:
    return sum(1 << bit for bit in bits.values())


LEAF_1_EDX, LEAF_1_ECX, LEAF_7_EBX = _mask(_LEAF_1_EDX), _mask(_LEAF_1_ECX), _mask(_LEAF_7_EBX)
LEAF_8000_0001_EDX, LEAF_8000_0001_ECX = _mask(_LEAF_8000_0001_EDX), _mask(_LEAF_8000_0001_ECX)

Registers = tuple[int, int, int, int]


def _words(text: bytes) -> list[int]:
    return [int.from_bytes(text[at : at + 4], "little") for at in range(0, len(text), 4)]


class CpuidTable:
    """Answers CPUID for one machine.

    Args:
        cpus: number of vCPUs; one package, one thread a core, APIC ids 0..cpus-1.
        tsc_hz: asked when a guest wants the time-stamp counter's rate.
    """

    def __init__(self, cpus: int, tsc_hz: Callable[[], int]) -> None:
        self._cpus = cpus
        self._tsc_hz = tsc_hz
        self._id_bits = max(cpus - 1, 0).bit_length()

    def leaf(self, cpu: int, leaf: int, subleaf: int) -> Registers:
        """EAX, EBX, ECX, EDX of `leaf` on vCPU `cpu`. An unknown basic leaf answers like the highest one, as Intel's do."""
        if leaf >= 0xC0000000 or (leaf > MAX_EXTENDED and leaf >= 0x80000000) or MAX_HYPERVISOR < leaf < 0x80000000:
            return 0, 0, 0, 0
        if MAX_BASIC < leaf < 0x40000000:
            leaf = MAX_BASIC
        match leaf:
            case 0:
                ebx, edx, ecx = _words(VENDOR)
                return MAX_BASIC, ebx, ecx, edx
            case 1:
                count = 1 << self._id_bits
                return SIGNATURE, cpu << 24 | count << 16 | 8 << 8, LEAF_1_ECX, LEAF_1_EDX | (_HTT if self._cpus > 1 else 0)
            case 4:
                return self._cache(subleaf)
            case 6:
                return _ARAT, 0, 0, 0
            case 7 if subleaf == 0:
                return 0, LEAF_7_EBX, 0, 0
            case 0x0B:
                return self._topology(cpu, subleaf)
            case 0x40000000:
                ebx, ecx, edx = _words(HYPERVISOR)
                return MAX_HYPERVISOR, ebx, ecx, edx
            case 0x40000010:
                return self._tsc_hz() // 1000, LAPIC_BUS_HZ // 1000, 0, 0
            case 0x80000000:
                return MAX_EXTENDED, 0, 0, 0
            case 0x80000001:
                return SIGNATURE, 0, LEAF_8000_0001_ECX, LEAF_8000_0001_EDX
            case 0x80000002 | 0x80000003 | 0x80000004:
                start = (leaf - 0x80000002) * 16
                a, b, c, d = _words(BRAND.ljust(48, b"\0")[start : start + 16])
                return a, b, c, d
            case 0x80000007:
                return 0, 0, 0, _INVARIANT_TSC
            case 0x80000008:
                return LINEAR_BITS << 8 | PHYSICAL_BITS, 0, max(self._cpus - 1, 0), 0
            case _:
                return 0, 0, 0, 0

    def _topology(self, cpu: int, subleaf: int) -> Registers:
        """Leaf 0xB: one thread a core (level 0), all cores in one package (level 1)."""
        if subleaf == 0:
            return 0, 1, 1 << 8 | 0, cpu
        if subleaf == 1:
            return self._id_bits, self._cpus, 2 << 8 | 1, cpu
        return 0, 0, subleaf & 0xFF, cpu

    def _cache(self, subleaf: int) -> Registers:
        """Leaf 4: 32 KiB L1 data and code, 1 MiB unified L2, 64-byte lines, 8 ways."""
        if subleaf > 2:
            return 0, 0, 0, 0
        kind, level = ((1, 1), (2, 1), (3, 2))[subleaf]
        sets = 64 if level == 1 else 2048
        cores = (1 << self._id_bits) - 1
        return cores << 26 | 1 << 8 | level << 5 | kind, 7 << 22 | 63, sets - 1, 0
