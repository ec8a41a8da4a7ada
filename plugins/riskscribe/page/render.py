"""Jinja environments in which text from notes and models cannot become markup, in HTML or in Markdown."""

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

# controls, zero-width and bidi characters could hide a word or turn a number round; lone surrogates are not UTF-8
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_TEMPLATES = Path(__file__).with_name("templates")


class Markdown(str):
    """Text that is Markdown already; every other string is escaped on its way into a Markdown page."""

    __slots__ = ()


def visible(text: str) -> str:
    """`text` with every character that does not show replaced by U+FFFD."""
    return _INVISIBLE.sub("\ufffd", text.replace("\r\n", "\n"))


def escape_markdown(text: str) -> str:
    """`text` on one line, reading as itself in GitHub-flavoured Markdown: no HTML, link, cell, code or emphasis."""
    text = " ".join(visible(text).split())
    text = re.sub(r"([\\`*_{}\[\]|#~!$])", r"\\\1", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # bare addresses become links too
    return re.sub(r"\bwww\.", r"www\\.", text.replace("://", "\\://"))


def html_page(template: str, **values) -> str:
    """Render an HTML template: everything but Markup is made visible and escaped."""
    return _environment(True).get_template(template).render(values)


def markdown_page(template: str, **values) -> str:
    """Render a Markdown template: everything but Markdown is escaped. Blank runs are closed to one line."""
    text = _environment(False).get_template(template).render(values)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _to_html(value: object) -> object:
    return value if isinstance(value, Markup) else visible(str(value))


def _to_markdown(value: object) -> str:
    return value if isinstance(value, Markdown) else escape_markdown(str(value))


@cache
def _environment(html: bool) -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=html,
        finalize=_to_html if html else _to_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
