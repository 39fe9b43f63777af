"""An initrd made of busybox and a script: a cpio archive (newc; Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""

from __future__ import annotations

from pathlib import Path

DIRECTORY, REGULAR, CHARACTER = 0o040755, 0o100755, 0o020600
APPLETS = ("sh", "mount", "nproc", "cat", "grep", "sha256sum", "dd", "poweroff", "reboot", "sleep", "wait", "head",
           "tr", "seq", "echo", "dmesg", "uname", "awk", "kill")


def _member(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0), number: int = 0) -> bytes:
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return header.ljust(-(-len(header) // 4) * 4, b"\0") + data.ljust(-(-len(data) // 4) * 4, b"\0")


def build(busybox: Path, script: str, files: dict[str, bytes] | None = None) -> bytes:
    """The archive: busybox under all its applets' names, `/init` with this script, and `files` by path."""
    members = [_member(name, DIRECTORY) for name in ("bin", "dev", "proc", "sys", "tmp")]
    members.append(_member("dev/console", CHARACTER, device=(5, 1)))
    members.append(_member("bin/busybox", REGULAR, busybox.read_bytes()))
    members += [_member(f"bin/{name}", 0o120777, b"busybox") for name in APPLETS]
    members.append(_member("init", REGULAR, ("#!/bin/sh\n" + script).encode()))
    members += [_member(name, 0o100644, data) for name, data in (files or {}).items()]
    return b"".join(members) + _member("TRAILER!!!", 0)
