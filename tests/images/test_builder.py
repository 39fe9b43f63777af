"""The three images as a whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from images import builder, cache
from images.assembler import assemble
from images.builder import ROM_SIZE, Images
from images.errors import ImageError
from images.preprocessor import preprocess
from kernel.archive import Archive
from kernel.tasks.loader import Program

PROGRAMS = {"faulty", "pulse", "spinner", "yielder"}


@pytest.fixture(scope="module")
def images() -> Images:
    return builder.assemble_all()


def test_the_rom_ends_with_a_jump_to_its_first_instruction(images: Images) -> None:
    assert len(images.rom) == ROM_SIZE
    vector = images.rom[-16:]
    assert vector[0] == 0xE9, "JMP rel16"
    target = (0xFFF0 + 3 + int.from_bytes(vector[1:3], "little")) & 0xFFFF
    assert images.rom[target:target + 2] == b"\xfa\xfc", "CLI, CLD"


def test_the_trampoline_fits_what_is_copied() -> None:
    """The loader copies TRAMPOLINE_BYTES below 1 MiB."""
    unit = preprocess(builder.HERE / "firmware" / "rom.asm", {"ROM_BASE": builder.ROM_BASE})
    symbols = assemble(unit, builder.ROM_BASE, builder.ROM_SECTIONS, builder.ROM_ALIGNMENT, bits=16).symbols
    assert 0 < symbols["trampoline_end"] - symbols["trampoline_start"] <= unit.constants["TRAMPOLINE_BYTES"]
    assert unit.constants["Fw.size"] <= 4096


def test_the_archive_holds_programs_that_the_kernel_accepts(images: Images) -> None:
    archive = Archive.from_bytes(images.archive)
    assert set(archive.entries) == PROGRAMS
    for name in archive.entries:
        assert Program.parse(archive.read(name)).segments


def test_assembling_twice_gives_the_same_bytes(images: Images) -> None:
    assert builder.assemble_all() == images


def test_a_cached_result_is_used_and_a_lost_one_made_again(tmp_path: Path, images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    assert builder.build(tmp_path) == images
    with monkeypatch.context() as patch:
        patch.setattr(builder, "assemble_all", lambda: pytest.fail("assembled although it was cached"))
        assert builder.build(tmp_path) == images
    (tmp_path / f"{builder.source_digest()}.images").write_bytes(b"damaged")
    assert builder.build(tmp_path) == images
    assert cache.load(tmp_path, builder.source_digest(), 3) is not None


def test_a_changed_source_is_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new.asm").write_text("nop\n")
    before = builder.source_digest()
    monkeypatch.setattr(builder, "SOURCES", (*builder.SOURCES, tmp_path))
    assert builder.source_digest() != before


def test_keystone_is_not_imported_when_the_cache_has_everything(tmp_path: Path) -> None:
    builder.build(tmp_path)
    script = (f"import sys; from pathlib import Path; from images.builder import build; build(Path({str(tmp_path)!r})); "
              "sys.exit('keystone' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", script], cwd=builder.HERE.parent, check=False).returncode == 0


def test_a_program_without_a_start_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lost.asm").write_text("nop\n")
    with pytest.raises(ImageError, match=r"lost\.asm: there is no label start"):
        builder.program(tmp_path / "lost.asm")


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert builder.main([str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["archive.fpk", "nucleus.elf", "rom.bin"]
    assert "rom.bin: 65536 bytes" in capsys.readouterr().out
    assert builder.main([]) == builder.main(["--help"]) == 2
    assert "usage:" in capsys.readouterr().err


def test_the_room_imports_neither_side() -> None:
    """DESIGN.md section 1: images stands beside both."""
    for path in builder.HERE.glob("*.py"):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                assert words[1].split(".")[0] not in ("machine", "devices", "kernel", "shell", "jit_synth"), f"{path.name}: {line}"
