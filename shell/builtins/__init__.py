"""The builtins, each declared once as data; what is not among them and is no source goes to the synthesizer."""

from __future__ import annotations

from shell.builtins.conversation import CONVERSATION
from shell.builtins.live import LIVE
from shell.builtins.tables import TABLES
from shell.builtins.text import TEXT
from shell.signature import Builtin

GROUPS: tuple[tuple[str, tuple[Builtin, ...]], ...] = (
    ("live data", LIVE), ("tables", TABLES), ("text", TEXT), ("this conversation", CONVERSATION))
BUILTINS: tuple[Builtin, ...] = tuple(builtin for _, group in GROUPS for builtin in group)
BY_NAME: dict[str, Builtin] = {name: builtin for builtin in BUILTINS for name in (builtin.name, *builtin.aliases)}
SOURCE_OF: dict[str, str] = {name: builtin.source for name, builtin in BY_NAME.items() if builtin.source}

assert len(BY_NAME) == sum(1 + len(builtin.aliases) for builtin in BUILTINS), "two builtins share a name"
