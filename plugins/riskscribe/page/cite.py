"""Text that cites evidence: cut at ids and marked numbers, as HTML with links or as Markdown."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from markupsafe import Markup, escape

from riskscribe.case import ID_PATTERN, Case
from riskscribe.page.render import Markdown, escape_markdown, visible
from riskscribe.page.words import WARN, WORDS

ID = re.compile(rf"(?<![A-Za-z0-9-]){ID_PATTERN}(?![A-Za-z0-9-])")


class Span(NamedTuple):
    """A stretch of a text shown apart: a number that is "supported", a "wrong" number or word, an "unknown" id."""

    start: int
    end: int
    kind: str


def bracket(ids: Iterable[str]) -> str:
    """Ids as a text cites them."""
    return " ".join(f"[{one}]" for one in ids)


def citer(case: Case, *, html: bool) -> Callable[..., Markup | Markdown]:
    """The templates' `cite(text, spans)`: ids become links; wrong numbers and unknown ids are marked."""
    known = {one.id for one in case.evidence}
    unknown = WORDS[case.language]["notes"]["unknown_id"]
    piece, whole = (_html_piece, Markup) if html else (_markdown_piece, Markdown)

    def cite(text: str, spans: Iterable[Span] = ()) -> Markup | Markdown:
        return whole("".join(piece(span, part, unknown) for span, part in _pieces(text, known, spans) if part))

    return cite


def _pieces(text: str, known: set[str], spans: Iterable[Span]) -> list[tuple[Span, str]]:
    """`text` cut into plain parts, ids of the case, unknown ids and marked numbers, from left to right."""
    ids = [Span(*one.span(), "id" if one.group() in known else "unknown") for one in ID.finditer(text)]
    pieces, done = [], 0
    for span in sorted([*ids, *spans], key=lambda one: (one.start, -one.end)):
        if span.start < done:
            continue
        pieces += [(Span(done, span.start, "text"), text[done : span.start]), (span, text[span.start : span.end])]
        done = span.end
    return [*pieces, (Span(done, len(text), "text"), text[done:])]


def _html_piece(span: Span, part: str, unknown: str) -> Markup:
    match span.kind:
        case "id":
            return Markup('<a class="id" href="#{0}">{0}</a>').format(part)
        case "unknown":
            return Markup("<mark>{0} {1} ({2})</mark>").format(WARN, part, unknown)
        case "wrong":
            return Markup("<mark>{0} {1}</mark>").format(WARN, visible(part))
        case "supported":
            return Markup('<span class="number">{0}</span>').format(visible(part))
    return escape(visible(part))


def _markdown_piece(span: Span, part: str, unknown: str) -> Markdown:
    # escaping closes runs of blanks; the blank at either end of a part belongs to the sentence
    blank = (" " if part[:1].isspace() else "", " " if part[-1:].isspace() and part.strip() else "")
    text = escape_markdown(part).join(blank)
    if span.kind == "unknown":
        return Markdown(f"**{WARN} {text} ({escape_markdown(unknown)})**")
    return Markdown(f"**{WARN} {text}**" if span.kind == "wrong" else text)
