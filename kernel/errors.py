"""The kernel's tree of errors. Each message is one line that a person can act on."""

from __future__ import annotations


class KernelError(Exception):
    """Something outside the kernel's control is not as it must be: a record, a table, a chip."""


class BadMemory(KernelError):
    """An address that is not guest RAM was about to be read or written."""


class BootRecordError(KernelError):
    """The nucleus's boot record or a response of the boot protocol is corrupt."""


class AcpiError(KernelError):
    """An ACPI table is missing, truncated or fails its checksum."""


class OutOfMemory(KernelError):
    """No block of frames is large enough."""


class DoubleFree(KernelError):
    """A frame was freed that is not allocated."""


class MappingError(KernelError):
    """A mapping would break a rule: misaligned, not canonical, taken, or writable and executable at once."""


class UserFault(KernelError):
    """A ring-3 pointer does not lead to memory that its task may use."""


class ArchiveError(KernelError):
    """The Folk-Pack archive is damaged, or has no such entry."""


class ProgramError(KernelError):
    """A file is not a static x86-64 ELF program that can be loaded safely."""
