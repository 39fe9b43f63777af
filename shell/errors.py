"""A user's mistake: one clear line, the text with a caret line under the place, what was expected, what is near.

`ShellError.render(text, width)` prints, for `ps |> frist 3`:

    folk: nothing is called 'frist'
      ps |> frist 3
            ^^^^^
      nearest: first
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from shell.render import cells
from shell.syntax import Span

STATUS_DONE, STATUS_FAILED, STATUS_NOT_UNDERSTOOD = 0, 1, 2
STATUS_CANCELLED = 130                       # what shells report for a line stopped by Ctrl-C (128 + SIGINT)

NEAREST_COUNT, NEAREST_CUTOFF = 3, 0.55      # the cutoff lets 'frist' find 'first' and keeps 'novel' from finding 'help'
DEFAULT_WIDTH, NARROWEST = 80, 20            # cells of a line
INDENT, LEAD = "    ", "..."                  # of the rest of a folded line; where a shown line was cut off
MOST_FOLDS = 12


class ShellError(Exception):
    """What was typed cannot be done; the place, the reason and the way out.

    Args:
        message: one line, lower case, without a full stop.
        span: the offending part of the text; always inside it (an end-of-text error has start == end == len(text)).
        nearest: names that may have been meant, best first.
        hint: what would help, one line.
        status: the exit status of the line: STATUS_FAILED or, for text that does not parse, STATUS_NOT_UNDERSTOOD.
    """

    def __init__(self, message: str, span: Span, *, nearest: Iterable[str] = (), hint: str = "", status: int = STATUS_FAILED) -> None:
        super().__init__(message)
        self.message, self.span, self.nearest, self.hint, self.status = message, span, tuple(nearest), hint, status

    def render(self, text: str, width: int = DEFAULT_WIDTH) -> str:
        """The report, several lines, each ended by a newline."""
        return "".join([*prose(f"folk: {self.message}", width), *underline(text, self.span, width=width), *self.way_out(width)])

    def way_out(self, width: int) -> list[str]:
        """The lines that help."""
        nearest = prose(f"  nearest: {', '.join(self.nearest)}", width) if self.nearest else []
        return nearest + (prose(f"  {self.hint}", width) if self.hint else [])


class SyntaxMistake(ShellError):
    """The text is not FolkShell at all."""

    def __init__(self, message: str, span: Span, *, nearest: Iterable[str] = (), hint: str = "") -> None:
        super().__init__(message, span, nearest=nearest, hint=hint, status=STATUS_NOT_UNDERSTOOD)


def nearest_names(name: str, candidates: Iterable[str]) -> tuple[str, ...]:
    """The candidates that `name` may have been meant to be, best first; case does not count."""
    by_folded = {candidate.casefold(): candidate for candidate in candidates}
    folded = name.casefold()
    close = difflib.get_close_matches(folded, by_folded, NEAREST_COUNT, NEAREST_CUTOFF)
    begun = [known for known in sorted(by_folded) if len(folded) > 1 and known.startswith(folded) and known not in close]
    return tuple(by_folded[known] for known in [*begun, *close][:NEAREST_COUNT])


def underline(text: str, span: Span, *marks: Span, width: int = DEFAULT_WIDTH) -> list[str]:
    """The line of `text` that `span` begins in, indented, and a line of carets under the marks; under the span if there are none.

    Of a line that is too long for the terminal the part around the first mark is shown.
    """
    line_start = text.rfind("\n", 0, span.start) + 1
    line_end = text.find("\n", span.start)
    line = text[line_start:line_end if line_end >= 0 else len(text)]
    marked = {position - line_start for mark in marks or (span,) for position in range(mark.start, max(mark.end, mark.start + 1))}

    room = max(NARROWEST, width) - len(LEAD) - 3          # the margin, and a caret behind the end
    start = (marks or (span,))[0].start - line_start
    cut = 0 if _cells(line) <= room + len(LEAD) else max(0, start - room // (2 if line.isascii() else 4))
    lead = LEAD if cut else ""
    shown, left = "", room + len(LEAD) - len(lead)
    for character in line[cut:]:
        left -= _cells(character)
        if left < 0:
            break
        shown += character
    under = [("^" if position in marked else " ") * _cells(character) for position, character in enumerate(shown, start=cut)]
    behind = "^" if cut + len(shown) in marked else ""    # the end of the text, where something is missing
    carets = " " * len(lead) + "".join(under) + behind
    return [f"  {lead}{printable(shown)}\n", f"  {carets.rstrip()}\n"]


def printable(text: str) -> str:
    """The text with a blank for every character that would move the cursor or more: it was typed by anyone and goes to a terminal."""
    return text if text.isprintable() else "".join(character if character.isprintable() else " " for character in text)


def prose(line: str, width: int) -> list[str]:
    """A line for the terminal, folded at blanks where it is too long for it; of one without end, the beginning."""
    width, text, folded = max(NARROWEST, width), printable(line), list[str]()
    while cells(text) > width and len(folded) < MOST_FOLDS:
        fits = next(end for end in range(min(len(text), width), 0, -1) if cells(text[:end]) <= width)
        blank = text.rfind(" ", width // 3, fits + 1)      # a very long word is broken rather than moved down
        cut = blank if blank > 0 else fits
        folded.append(text[:cut].rstrip() + "\n")
        text = INDENT + text[cut:].lstrip()
    return [*folded, text + "\n" if cells(text) <= width else INDENT + "...\n"]


def _cells(text: str) -> int:
    """Terminal cells of a text as `underline` prints it: what cannot be printed is a blank."""
    return cells(printable(text))
