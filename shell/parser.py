"""Text to tree: lark does the grammar, this file turns its trees into syntax.py and its complaints into sentences.

lark waits for the first line (or `warm_up`): a prompt is drawn without it. tables.py has its costs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from kernel.telemetry import Kind
from shell.errors import SyntaxMistake
from shell.quantities import UNITS_BY_FOLDED, QuantityError, read_number
from shell.syntax import (
    COMPARATOR_SPELLINGS, AllOf, AnyOf, Assignment, Command, Comparison, Condition, Flag, Item, Literal, Not, Operand,
    Pipeline, Script, Span, Stage, Statement, Truth, Value, Variable, Where, Word,
)
from shell.tables import GRAMMAR

if TYPE_CHECKING:
    from lark import Token, Tree
    from lark.exceptions import UnexpectedInput

    Node = Tree[Token]

MAX_TEXT = 64 * 1024               # characters of one line or script; far beyond what anyone types, and it bounds the work
MAX_NESTING = 64                   # parentheses and nots; the tree is walked recursively

ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\", '"': '"', "'": "'"}
_PIPE = re.compile(r"((?:\s|#[^\n]*\n)*\|>)(?:\s|#[^\n]*\n)*")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u\{([0-9a-fA-F]{1,6})\}|(.))")


def parse(text: str) -> Script:
    """Parse a line or a whole script.

    Raises:
        SyntaxMistake: with a span inside `text`.
    """
    from lark.exceptions import UnexpectedInput

    if len(text) > MAX_TEXT:
        raise SyntaxMistake(f"the text is too long: {len(text)} characters, at most {MAX_TEXT}", Span(MAX_TEXT, len(text)))
    _refuse_deep_nesting(text)
    try:
        tree = GRAMMAR.parser().parse(text)
    except UnexpectedInput as complaint:
        raise _explain(text, complaint) from None
    return Script(tuple(_statement(branch) for branch in _branches(tree)), text)


# --- trees to nodes ----------------------------------------------------------------------------------------------------

def _branches(node: Node) -> list[Node]:
    return [cast("Node", child) for child in node.children if hasattr(child, "children")]


def _leaves(node: Node) -> list[Token]:
    return [child for child in node.children if not hasattr(child, "children")]


def _token_span(token: Token) -> Span:
    assert token.start_pos is not None and token.end_pos is not None
    return Span(token.start_pos, token.end_pos)


def _statement(node: Node) -> Statement:
    if node.data == "assignment":
        name = _leaves(node)[0]
        body = _pipeline(_branches(node)[0])
        span = _token_span(name)
        return Assignment(str(name)[1:], body, span.to(body.span))
    return _pipeline(node)


def _pipeline(node: Node) -> Pipeline:
    stages = tuple(_stage(branch) for branch in _branches(node))
    return Pipeline(stages, stages[0].span.to(stages[-1].span))


def _stage(node: Node) -> Stage:
    if node.data == "value":
        operand = _operand(_leaves(node)[0])
        assert isinstance(operand, Literal | Variable)
        return Value(operand, operand.span)
    if node.data == "where":
        condition = _condition(_branches(node)[0])
        word = _token_span(_leaves(node)[0])
        return Where(condition, word, word.to(condition.span))
    name, *rest = _leaves(node)
    items = tuple(_item(token) for token in rest)
    span = _token_span(name)
    return Command(str(name), items, span, span.to(items[-1].span) if items else span)


def _item(token: Token) -> Item:
    if token.type == "FLAG":
        return Flag(str(token)[1:], _token_span(token))
    return _operand(token)


def _operand(token: Token) -> Operand:
    span = _token_span(token)
    match token.type:
        case "STRING":
            return Literal(_unescape(token, span), Kind.TEXT, span, str(token))
        case "VARIABLE":
            return Variable(str(token)[1:], span)
        case "NUMBER" | "LONE_NUMBER":
            try:
                return Literal(*read_number(str(token)), span, str(token))
            except QuantityError as error:
                raise SyntaxMistake(str(error), span) from None
        case _:
            return Word(str(token), span)


def _unescape(token: str, span: Span) -> str:
    def replace(match: re.Match[str]) -> str:
        hexadecimal, code_point, letter = match.groups()
        if letter is None and (number := int(hexadecimal or code_point, 16)) <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF:
            return chr(number)
        if letter in ESCAPES:
            return ESCAPES[letter]
        place = Span(span.start + 1 + match.start(), span.start + 1 + match.end())
        raise SyntaxMistake(f"there is no escape {match.group()}", place, hint=r"escapes are \n \t \r \0 \\ \" \' \x41 \u{1F600}")
    return _ESCAPE.sub(replace, token[1:-1])


def _condition(node: Node, depth: int = 0) -> Condition:
    match node.data:
        case "comparison":
            return _comparison(node)
        case "inversion":
            keyword = _leaves(node)[0]
            if depth >= MAX_NESTING:
                raise SyntaxMistake(f"conditions nest deeper than {MAX_NESTING}", _token_span(keyword))
            inner = _condition(_branches(node)[0], depth + 1)
            return Not(inner, _token_span(keyword).to(inner.span))
        case "conjunction" | "disjunction":
            parts = tuple(_condition(branch, depth) for branch in _branches(node))        # parentheses are bounded before, by the text
            make = AllOf if node.data == "conjunction" else AnyOf
            return make(parts, parts[0].span.to(parts[-1].span))
    raise AssertionError(f"the grammar has a condition {node.data!r} that the parser does not know")


def _comparison(node: Node) -> Condition:
    left, *rest = (_operand(_leaves(branch)[0]) for branch in _branches(node))
    if not rest:
        return Truth(left, left.span)
    (sign,), (right,) = _leaves(node), rest
    return Comparison(left, COMPARATOR_SPELLINGS[sign.casefold()], right, left.span.to(right.span))


# --- complaints to sentences ---------------------------------------------------------------------------------------------

WHERE_FORM = 'a condition reads COLUMN COMPARISON VALUE: where load > 50% and name == "pulse"'
PIPE_FORM = "the pipe is written |>: ps |> first 3"


def _refuse_deep_nesting(text: str) -> None:
    """Parentheses deeper than the walk may go; those in words and strings count too, which no sentence comes near."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth > MAX_NESTING:
            raise SyntaxMistake(f"parentheses nest deeper than {MAX_NESTING}", Span(position, position + 1))


def _explain(text: str, complaint: UnexpectedInput) -> SyntaxMistake:
    """What a person would say about the place where lark stopped."""
    token = getattr(complaint, "token", None)
    at_end = token is not None and token.type == "$END"
    position = len(text) if at_end or complaint.pos_in_stream is None else complaint.pos_in_stream
    position = _skip_blank(text, position)
    before = _before(text, complaint)
    in_condition = bool({"COMPARE", "NAME", "AND", "OR", "RPAR"} & _expected(complaint))
    rest = text[position:]

    if in_condition and rest[:1] not in ("|", ""):
        return _explain_condition(text, position, complaint)
    if rest.startswith(")"):
        return SyntaxMistake("this parenthesis closes nothing", Span(position, position + 1), hint=WHERE_FORM)
    if rest.startswith("~>"):
        return SyntaxMistake("the semantic pipe ~> is not built yet", Span(position, position + 2), hint="until it is, |> and where do the filtering")
    if rest.startswith(">") and before.endswith("|>"):
        return _sloppy_pipe(text, len(before) - 2, len(before))
    if rest.startswith("|>"):
        if in_condition:
            return _unfinished(before, complaint)
        between = "two pipes in a row: a command is missing between them" if before.endswith("|>") else "this pipe has nothing on its left"
        return SyntaxMistake(between, Span(position, position + 2), hint=PIPE_FORM)
    if rest.startswith("|"):
        lead = re.search(r"(?<!\S)[<>=-]+$", text[:position])          # <| and >| were typed as one sign
        return _sloppy_pipe(text, lead.start() if lead else position, position)
    if rest[:1] in ('"', "'"):
        return _explain_quote(text, position)
    if not rest or rest[0] in ";\n#":
        if before.endswith("|>"):
            return SyntaxMistake("this pipe leads nowhere: a command is missing after it", Span(len(before) - 2, len(before)), hint=PIPE_FORM)
        if in_condition:
            return _unfinished(before, complaint)
        if before.endswith("="):
            return SyntaxMistake("the variable is given nothing", Span(len(before) - 1, len(before)), hint="for example: $busy = cpus |> where load > 50%")
    if re.search(r"\$\w+$", before):
        return SyntaxMistake("after a variable comes = or |>", _word_at(text, position), hint="for example: $busy |> count")
    if before.endswith(('"', "'")):
        return SyntaxMistake("after a string at the head comes |>", _word_at(text, position), hint='for example: "text" |> to-json')
    return SyntaxMistake("a command is expected here", _word_at(text, position), hint="help lists the commands")


def _sloppy_pipe(text: str, start: int, position: int) -> SyntaxMistake:
    """Signs from `start` on that were meant as a pipe; the first that cannot be one is at `position`."""
    end = position + len(re.match(r"[^\s\w\"'$;]*", text[position:]).group())         # type: ignore[union-attr]
    left, right = text[:start].strip(), text[end:].strip()
    meant = f"{left} |> {right}"
    hint = f"perhaps: {meant}" if left and right and "\n" not in meant else PIPE_FORM
    return SyntaxMistake(f"{text[start:end]!r} is not a pipe", Span(start, end), hint=hint)


def _explain_condition(text: str, position: int, complaint: UnexpectedInput) -> SyntaxMistake:
    span = _word_at(text, position)
    if text[position] in "\"'" and not re.match(r"\"(?:[^\"\\\n]|\\[^\n])*\"|'(?:[^'\\\n]|\\[^\n])*'", text[position:]):
        return _explain_quote(text, position)
    if text.startswith("~>", position):
        return SyntaxMistake("the semantic pipe ~> is not built yet", Span(position, position + 2), hint="until it is, |> and where do the filtering")
    if text[position] in ";\n#":
        return _unfinished(text[:position].rstrip(), complaint)
    expected = _expected(complaint)
    number = re.search(r"(?<!\S)[+-]?\d[\d_.]*$", text[:position].rstrip())
    if number and text[span.start:span.end].casefold() in UNITS_BY_FOLDED:
        whole = number.group() + text[span.start:span.end]
        return SyntaxMistake(f"a unit stands right behind its number: {whole}", Span(number.start(), span.end))
    if "COMPARE" in expected:
        return SyntaxMistake("a comparison is expected here: == != < <= > >= contains starts-with ends-with", span, hint=WHERE_FORM)
    if expected & {"AND", "OR", "RPAR"}:
        return SyntaxMistake("the condition was complete; and, or or |> is expected here", span, hint=WHERE_FORM)
    return SyntaxMistake("a column or a value is expected here", span, hint=WHERE_FORM)


def _unfinished(before: str, complaint: UnexpectedInput) -> SyntaxMistake:
    if "RPAR" in _expected(complaint):
        return SyntaxMistake("a parenthesis of this condition is not closed", _last_word(before), hint=WHERE_FORM)
    return SyntaxMistake("the condition ends too early", _last_word(before), hint=WHERE_FORM)


def _explain_quote(text: str, position: int) -> SyntaxMistake:
    line_end = text.find("\n", position)
    end = line_end if line_end >= 0 else len(text)
    quote = text[position]
    if re.match(r"\"(?:[^\"\\\n]|\\[^\n])*\"|'(?:[^'\\\n]|\\[^\n])*'", text[position:]):
        return SyntaxMistake("a string cannot stand here", _word_at(text, position), hint="a pipeline begins with a command, or with one string and a pipe")
    return SyntaxMistake(f"the string that begins here has no closing {quote}", Span(position, end),
                         hint=f'inside a string, write \\{quote} for the quote itself')


def _before(text: str, complaint: UnexpectedInput) -> str:
    """The text up to the last thing that was understood; neither blanks nor a comment follow it."""
    token, history = getattr(complaint, "token", None), getattr(complaint, "token_history", None)
    last = token if token is not None and token.type == "$END" else history[0] if history else None      # lark gives $END its predecessor's place
    if last is None:
        return ""
    pipe = _PIPE.fullmatch(text, last.start_pos, last.end_pos)
    return text[:pipe.end(1) if pipe else last.end_pos].rstrip()


def _expected(complaint: UnexpectedInput) -> set[str]:
    return set(getattr(complaint, "accepts", None) or getattr(complaint, "expected", None) or getattr(complaint, "allowed", None) or ())


def _skip_blank(text: str, position: int) -> int:
    """A PIPE token may begin with the blanks before it; point at its first visible character."""
    visible = re.compile(r"\s*(?=\|)").match(text, position)
    return visible.end() if visible else min(position, len(text))


def _word_at(text: str, position: int) -> Span:
    """From here to the next blank, at least one character if there is one."""
    match = re.compile(r"[^\s]?[^\s|;]*").match(text, position)
    return Span(position, match.end() if match else position)


def _last_word(before: str) -> Span:
    match = re.search(r"\S*$", before)
    return Span(match.start() if match else len(before), len(before))
