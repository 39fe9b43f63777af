"""The parser's tables on disk: used when they are whole and ours, built anew when they are not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from shell.tables import Grammar

LINE = 'ps |> where load > 50% and name == "x" |> sort time -Descending # done'


def grammar(folder: Path | None) -> Grammar:
    made = Grammar()
    made.folder = folder
    return made


def test_kept_tables_parse_as_built_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = grammar(None).parser().parse(LINE)
    assert grammar(tmp_path / "new").parser().parse(LINE) == built
    (file,) = (tmp_path / "new").iterdir()
    monkeypatch.setattr("shell.tables._build", lambda source: pytest.fail("built again"))
    kept = grammar(tmp_path / "new").parser().parse(LINE)
    assert kept == built
    assert [token.start_pos for token in kept.scan_values(lambda _: True)] == [token.start_pos for token in built.scan_values(lambda _: True)]
    assert file.stat().st_size < 64 << 10


@pytest.mark.parametrize("damage", [b"", b"short", bytes(100), bytes(2 << 20)])
def test_damaged_tables_are_built_anew(tmp_path: Path, damage: bytes) -> None:
    grammar(tmp_path).parser()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for wrong in (damage, whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-1], whole + b"x"):
        file.write_bytes(wrong)
        assert grammar(tmp_path).parser().parse(LINE) == grammar(None).parser().parse(LINE)
        mended = file.read_bytes()
        assert hashlib.sha256(mended[32:]).digest() == mended[:32]


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert grammar(tmp_path / "file").parser().parse(LINE) == grammar(None).parser().parse(LINE)


def test_the_parser_is_made_once(tmp_path: Path) -> None:
    made = grammar(None)
    assert made.parser() is made.parser()
