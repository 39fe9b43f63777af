"""Keys, records and the store: what is signed is what runs, and every flipped bit is refused."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from jit_synth.keys import Keys
from jit_synth.lineage import TIER_LOCAL, Record, Sealed, canonical, check, digest, intent_digest, seal
from jit_synth.refusals import LineageError, SynthesisError
from jit_synth.store import Store

WASM = b"\0asm\x01\0\0\0"
REQUEST = digest(b"a request")


def a_record(keys: Keys, **changes: object) -> Record:
    plan = {"steps": []}
    record = Record("Get-Thing", REQUEST, "Get-Thing -Top 3", plan, digest(canonical(plan)), digest(b"source"), digest(WASM), 1_700_000_000, TIER_LOCAL, "",
                    "compiler 1", (), ("telemetry.cpus",), 1000, (), {"probes": 3}, keys.name, intent_digest("Get-Thing -Top 3", WASM, 1_700_000_000))
    return replace(record, **changes)  # type: ignore[arg-type]


def test_intent_digest_is_the_originals() -> None:
    import hashlib
    expected = hashlib.sha256("héllo".encode() + hashlib.sha256(b"wasm").digest() + (5).to_bytes(8, "little")).hexdigest()
    assert intent_digest("héllo", b"wasm", 5) == expected
    assert intent_digest("x" * 5000, b"", 0) == intent_digest("x" * 4096, b"", 0)


def test_a_sealed_record_checks_and_is_canonical() -> None:
    keys = Keys()
    sealed = seal(a_record(keys), WASM, keys)
    assert check(sealed, keys, REQUEST) == a_record(keys)
    assert canonical(json.loads(sealed.record)) == sealed.record


def test_every_flipped_bit_of_a_stored_skill_is_refused(tmp_path: Path) -> None:
    keys, store = Keys(tmp_path), Store(tmp_path)
    store.save(REQUEST, seal(a_record(keys), WASM, keys))
    path = tmp_path / f"{REQUEST}.skill"
    good = path.read_bytes()
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        with pytest.raises(LineageError, match="refused"):
            check(store.load(REQUEST) or pytest.fail("gone"), keys, REQUEST)
    path.write_bytes(good)
    assert check(store.load(REQUEST) or pytest.fail("gone"), keys, REQUEST).name == "Get-Thing"


@pytest.mark.parametrize("content", [b"", b"FOLKSKL1", b"\x7fELF" + bytes(100), b"FOLKSKL1" + bytes(8)])
def test_foreign_and_truncated_files_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"{REQUEST}.skill").write_bytes(content)
    with pytest.raises(LineageError, match=REQUEST[:8]):
        sealed = Store(tmp_path).load(REQUEST)
        assert sealed is not None
        check(sealed, Keys())
        pytest.fail("accepted")


def test_each_truncation_is_refused(tmp_path: Path) -> None:
    keys, store = Keys(), Store(tmp_path)
    store.save(REQUEST, seal(a_record(keys), WASM, keys))
    path = tmp_path / f"{REQUEST}.skill"
    good = path.read_bytes()
    for size in range(0, len(good), 7):
        path.write_bytes(good[:size])
        with pytest.raises(LineageError):
            store.load(REQUEST)


def test_another_systems_skill_is_refused() -> None:
    theirs, ours = Keys(), Keys()
    with pytest.raises(LineageError, match="Get-Thing is refused: its record was not signed"):
        check(seal(a_record(theirs), WASM, theirs), ours)


def test_a_skill_under_another_name_is_refused() -> None:
    keys = Keys()
    with pytest.raises(LineageError, match="another request"):
        check(seal(a_record(keys), WASM, keys), keys, digest(b"another"))


@pytest.mark.parametrize(("change", "reason"), [
    ({"wasm_sha256": digest(b"other")}, "not the one that was signed"), ({"intent_digest": "0" * 64}, "intent digest"), ({"plan_sha256": "0" * 64}, "plan"),
    ({"format": 9}, "format")])
def test_a_record_that_contradicts_itself_is_refused_even_if_signed(change: dict[str, object], reason: str) -> None:
    keys = Keys()
    with pytest.raises(LineageError, match=reason):
        seal(a_record(keys, **change), WASM, keys)


def test_a_signed_record_that_is_no_record_is_refused() -> None:
    keys = Keys()
    for data in (b"[]", b"{}", b"\xff", b"{ }", b'{"name":"\\u0007"}'):
        with pytest.raises(LineageError, match="a skill is refused"):
            check(Sealed(data, keys.sign(data), WASM), keys)


def test_the_key_is_made_once_kept_private_and_outlives_the_process(tmp_path: Path) -> None:
    Keys(tmp_path).ensure()
    path = tmp_path / "signing.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Keys(tmp_path).verify(Keys(tmp_path).sign(b"x"), b"x")
    assert Keys().name != Keys().name


def test_every_flipped_bit_of_the_key_is_noticed(tmp_path: Path) -> None:
    Keys(tmp_path).ensure()
    path = tmp_path / "signing.key"
    good = path.read_bytes()
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        with pytest.raises(LineageError, match="damaged"):
            Keys(tmp_path).ensure()
    path.write_bytes(good[:-1])
    with pytest.raises(LineageError, match="damaged"):
        Keys(tmp_path).ensure()


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    keys = Keys()
    with pytest.raises(SynthesisError, match="cannot be stored"):
        Store(tmp_path / "file" / "skills").save(REQUEST, seal(a_record(keys), WASM, keys))
    with pytest.raises(SynthesisError, match="cannot be kept"):
        Keys(tmp_path / "file" / "keys").ensure()


def test_the_store_lists_its_own_files_only(tmp_path: Path) -> None:
    keys, store = Keys(), Store(tmp_path)
    store.save(REQUEST, seal(a_record(keys), WASM, keys))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "short.skill").write_text("x")
    assert list(store.requests()) == [REQUEST]
    store.set_aside(REQUEST)
    assert list(store.requests()) == [] and (tmp_path / f"{REQUEST}.refused").exists()
    assert Store(None).load(REQUEST) is None and list(Store(None).requests()) == []
