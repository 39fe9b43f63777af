"""The packer against the kernel's reader of the same format."""

from __future__ import annotations

import pytest

from images.errors import ImageError
from images.folk_pack import Entry, EntryType, pack
from kernel.archive import Archive


def test_what_is_packed_can_be_read() -> None:
    files = [Entry("pulse", EntryType.ELF, b"\x7fELF" * 3000), Entry("notes", EntryType.DATA, b"hello"), Entry("nothing", EntryType.DATA, b"")]
    image = pack(files)
    archive = Archive.from_bytes(image)
    assert {name: archive.read(name) for name in archive.entries} == {file.name: file.data for file in files}
    assert [(entry.id, int(entry.type)) for entry in archive.entries.values()] == [(0, 0), (1, 1), (2, 1)]
    assert all(entry.offset % 4096 == 0 for entry in archive.entries.values())
    assert len(image) % 4096 == 0


def test_an_empty_archive_is_one() -> None:
    assert Archive.from_bytes(pack([])).entries == {}


@pytest.mark.parametrize("names", [[""], ["x" * 32], ["twice", "twice"]])
def test_names_that_do_not_fit_the_format(names: list[str]) -> None:
    with pytest.raises(ImageError, match="is no name for an entry"):
        pack(Entry(name, EntryType.DATA, b"") for name in names)
