"""The grammar's parser: built from grammar.lark once, its tables kept in a file from then on.

Measured on two cores: importing lark 20 ms, building the parser 16 ms, loading its kept tables 3 ms. lark's generated standalone parser was not taken:
a module of 3,500 lines that imports in 31 ms, under a licence of its own. The file is data for `marshal`, named after the hash of everything that it
was made from and checked by its own hash before it is read; a damaged or foreign one is built anew.
"""

from __future__ import annotations

import hashlib
import marshal
import sys
import threading
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lark import Lark

MAX_TABLES = 1 << 20               # bytes; ours are 24 kB
DIGEST_SIZE = 32


class Grammar:
    """FolkShell's parser, made when it is first needed.

    Attributes:
        folder: where its tables are kept; None: nowhere.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._lark: Lark | None = None
        self._making = threading.Lock()                   # it may be made ahead in another thread

    def parser(self) -> Lark:
        """The parser."""
        with self._making:
            if self._lark is None:
                source = resources.files("shell").joinpath("grammar.lark").read_text(encoding="utf-8")
                self._lark = _kept(self.folder, source) if self.folder is not None else _build(source)
            return self._lark


GRAMMAR = Grammar()                # the one that `parse` uses


def _build(source: str) -> Lark:
    from lark import Lark

    return Lark(source, start="script", parser="lalr", lexer="contextual", propagate_positions=True, maybe_placeholders=False)


def _kept(folder: Path, source: str) -> Lark:
    import lark

    from jit_synth.files import read_bounded, write_whole

    key = hashlib.sha256(f"{lark.__version__}\0{sys.version}\0{source}".encode()).hexdigest()[:16]
    path = folder / f"grammar-{key}.tables"
    try:
        data = read_bounded(path, MAX_TABLES)
        if data is not None and hashlib.sha256(data[DIGEST_SIZE:]).digest() == data[:DIGEST_SIZE]:
            tables, memo = marshal.loads(data[DIGEST_SIZE:])             # its hash says that it was written below
            loaded: Lark = lark.Lark._load_from_dict(tables, memo)       # type: ignore[no-untyped-call]
            return loaded
        parser = _build(source)
        tables, memo = parser.memo_serialize([lark.lexer.TerminalDef, lark.grammar.Rule])
        made = marshal.dumps((tables, memo))
        write_whole(path, hashlib.sha256(made).digest() + made)
    except OSError:
        return _build(source)                             # a folder that cannot be used costs the 16 ms at each start, nothing else
    return parser
