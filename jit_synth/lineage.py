"""Where a module comes from: the record that is signed with it, and the check that precedes every load (DESIGN.md section 3).

The record is canonical JSON: UTF-8, keys sorted, no blanks, so that equal records are equal bytes. `intent_digest` is the original's:
SHA-256(prompt, first 4,096 bytes | SHA-256(wasm) | seconds since 1970 as u64, little endian). The Ed25519 signature covers the whole record, and
through `wasm_sha256` the module. A module whose check fails is refused by name and reason and never runs, wherever it was loaded from.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from jit_synth.keys import Keys
from jit_synth.refusals import LineageError

FORMAT = 1
TIER_LOCAL = "spinal"                   # the search on this machine; no model took part
PROMPT_IN_DIGEST = 4096
SIGNATURE_SIZE = 64


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a module.

    Attributes:
        name: what it was asked for as, for messages.
        request: digest of the request that it answers and of the types it was made for; a skill filed under another one is foreign.
        prompt: the request as one line.
        plan, plan_sha256: what it does (`plan.plan_to_plain`).
        source_sha256: of the source that the plan was lowered to.
        wasm_sha256: of the module.
        time: seconds since 1970.
        tier, model: who made it; no model for the local search.
        compiler, flags: what turned the source into the module.
        capabilities: what it may import; pipe.read and pipe.write are always granted.
        fuel: the limit of a run.
        parent: `wasm_sha256` of the learned commands that the plan builds on.
        evidence: what was tried before it was signed, and with what outcome.
        signer: the fingerprint of the key.
        intent_digest: see the module's text.
        format: of the record.
    """

    name: str
    request: str
    prompt: str
    plan: Mapping[str, Any]
    plan_sha256: str
    source_sha256: str
    wasm_sha256: str
    time: int
    tier: str
    model: str
    compiler: str
    flags: tuple[str, ...]
    capabilities: tuple[str, ...]
    fuel: int
    parent: tuple[str, ...]
    evidence: Mapping[str, Any]
    signer: str
    intent_digest: str
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Sealed:
    """A module with its record, as they are stored: the record's bytes, the signature over them, the module."""

    record: bytes
    signature: bytes
    wasm: bytes


def canonical(plain: object) -> bytes:
    """The one JSON text of a plain value."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(data: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def intent_digest(prompt: str, wasm: bytes, time: int) -> str:
    """The original's digest of an intent: of prompt, module and time."""
    return digest(prompt.encode()[:PROMPT_IN_DIGEST] + hashlib.sha256(wasm).digest() + struct.pack("<Q", time))


def seal(record: Record, wasm: bytes, keys: Keys) -> Sealed:
    """Sign a record that describes the module. Raises: what `Keys.sign` raises."""
    data = canonical(asdict(record))
    sealed = Sealed(data, keys.sign(data), wasm)
    check(sealed, keys, record.request)
    return sealed


def check(sealed: Sealed, keys: Keys, request: str | None = None) -> Record:
    """The record of a sealed module, if all of it is as it was signed.

    Args:
        sealed: the module and its record.
        keys: whose signature is accepted.
        request: the digest of the request that it shall answer; None if any will do.

    Raises:
        LineageError: names the module and the reason.
    """
    name = _claimed_name(sealed.record)
    if len(sealed.signature) != SIGNATURE_SIZE or not keys.verify(sealed.signature, sealed.record):
        raise LineageError(f"{name} is refused: its record was not signed by this system's key {keys.name}, or was changed since")
    try:
        plain = json.loads(sealed.record)
        values: dict[str, Any] = {one.name: tuple(plain[one.name]) if isinstance(plain[one.name], list) else plain[one.name] for one in fields(Record)}
        record = Record(**values)
    except (ValueError, KeyError, TypeError):
        raise LineageError(f"{name} is refused: its record is signed but not one of format {FORMAT}") from None
    if record.format != FORMAT or canonical(asdict(record)) != sealed.record:
        raise LineageError(f"{name} is refused: its record is signed but not one of format {FORMAT}")
    if digest(sealed.wasm) != record.wasm_sha256:
        raise LineageError(f"{name} is refused: the module is not the one that was signed")
    if record.intent_digest != intent_digest(record.prompt, sealed.wasm, record.time):
        raise LineageError(f"{name} is refused: its intent digest does not fit prompt, module and time")
    if record.plan_sha256 != digest(canonical(record.plan)):
        raise LineageError(f"{name} is refused: its plan is not the one that was signed")
    if request is not None and record.request != request:
        raise LineageError(f"{name} is refused: it answers another request than the one it is filed under")
    return record


def _claimed_name(record: bytes) -> str:
    """The name that an unchecked record claims, fit for a message."""
    try:
        name = json.loads(record)["name"]
    except (ValueError, KeyError, TypeError):
        return "a skill"
    return name if isinstance(name, str) and name.isprintable() and 0 < len(name) <= 80 else "a skill"
