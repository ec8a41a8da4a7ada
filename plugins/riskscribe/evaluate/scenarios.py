"""The scenario that a sentence names, where it names one: told by its place in the sentence or by its last word.

A stress that a report invents has a name like any other, so no list can hold it. What is looked for is a name where
the name of a scenario stands: under X, X hurts most, 情景X, X情景, 出自X.
"""

import re
from collections.abc import Iterable

_KINDS = r"(?:type|shock|crisis|crash|slump|rally|squeeze|break-up|breakup|freeze|panic)"
_NAMED = re.compile(rf"\b[A-Z][\w'’-]*(?:\s[\w'’-]+){{0,3}}?\s{_KINDS}\b")
_UNDER = re.compile(
    r"\b(?:[Uu]nder|[Ii]n)\s(?P<name>[A-Z][\w'’-]*(?:\s[\w'’-]+){0,3}?),?\s(?:the|our|this)\s(?:book|portfolio|desk)\b"
)
# a name before the verb of a loss, or in apposition to a scenario
_SUBJECT = re.compile(
    r"(?:^|[.;:,]|\band|\bwhile)\s*(?P<name>[A-Z][\w'’-]*(?:\s[\w'’-]+){0,4}?)(?:,\s(?:the|its|our)\s[^,]{1,40},)?"
    r"\s(?:hurts?|would\s(?:lose|cost|take)|loses?|costs?|hits?)\b"
)
_INSIDE = re.compile(r"(?<=[a-z,;:]\s)(?P<name>(?!P&L|VaR)[A-Z][a-z]+(?:-[a-z]+)?(?:\s[a-z]{3,})?)\b")
_OPENS = re.compile(r"(?:In|Under|The|A|An|This|That|Our|Its|It|At|On|With|For|If|As|Were|Should|When|Even)\s")
_PLAIN = re.compile(
    r"\b(?:the|a|an|it|this|that|its|our|every|no|all|each|stress\w*|scenarios?|book|portfolio|desk|loss\w*|var|p&l|under|in|with"
    r"|worst|risk|type|shock|market)\b",
    re.IGNORECASE,
)
_HAN = re.compile(r"[\u4e00-\u9fff]+")
# words of a sentence on stress that are no part of a name; the first of them stand beside one
_SLOTS = "情景|情形|最差|最坏|最好|最轻|亏损|盈利|损失|出自|来自|压力结果|压力测试|结果"
_PLAIN_HAN = re.compile(
    rf"{_SLOTS}|最大|压力|测试|账簿|组合|其中|另外|所给|没有|全部|所有|各个|未经|未测出|因此|因为|方向|仍未知|风险|每个"
    "|任何|上述|目前|今日|预计|可能|达到|合计|超过|低于|高于|限额|硬限|软限|将会|以及|该|此"
)
_BESIDE = re.compile(rf"(?:{_SLOTS})[为是在中下于的之时]*$")
_BEFORE = re.compile(rf"[为是在中下于的之时将会另]*(?:{_SLOTS})")
_EDGES = "为在中下的是从由了于及和与将会其另之时若"
_KIND_HAN = re.compile("(?:型|危机|冲击|崩盘|大跌)$")
# what happens in a scenario is told, not its name
_HAPPENS = re.compile("下跌|上涨|上升|下降|上行|下行|走强|走弱|加息|降息|扩大|收窄|如果|若|使|令|导致")


def told_scenario(text: str, own: Iterable[str] = (), strict: bool = False) -> str | None:
    """The scenario that a part of a sentence names, if it is none of `own`.

    Args:
        text: the part of the sentence that speaks of a stress, ids blanked.
        own: the names it may have, in lower case; a part of one ("Lehman" for "Lehman 2008") is that name.
        strict: only where nothing but a scenario is named so: "under X shock the book", "X情景".
    """
    names = list(own)
    known = [set(name.replace("-", " ").split()) for name in names]
    for told in _english(text, strict):
        while _OPENS.match(told):
            told = told.partition(" ")[2]
        words = set(_PLAIN.sub(" ", told).lower().replace("-", " ").split())
        kinds = set(re.findall(_KINDS, told.lower()))
        if (
            told[:1].isupper()
            and words
            and not any(kinds <= one and 2 * len(words & one) >= len(words) for one in known)
        ):
            return told
    for told in _chinese(text, strict):
        if not any(told in name for name in names):
            return told
    return None


def _english(text: str, strict: bool) -> Iterable[str]:
    found = [one[0] for one in _NAMED.finditer(text)] + [one["name"] for one in _UNDER.finditer(text)]
    if not strict:
        found += [one["name"] for pattern in (_SUBJECT, _INSIDE) for one in pattern.finditer(text)]
    return found


def _chinese(text: str, strict: bool) -> Iterable[str]:
    for match in _HAN.finditer(text):
        run = match[0]
        start = 0
        for cut in [*_PLAIN_HAN.finditer(run), None]:
            end = cut.start() if cut else len(run)
            piece = run[start:end].strip(_EDGES)
            if len(piece) > 2 and not _HAPPENS.search(piece) and _is_named(run, start, end, piece, strict):
                yield piece
            start = cut.end() if cut else end


def _is_named(run: str, start: int, end: int, piece: str, strict: bool) -> bool:
    if strict:
        return run[:start].endswith("情景") or run[end:].startswith("情景")
    return bool(_KIND_HAN.search(piece) or _BESIDE.search(run[:start]) or _BEFORE.match(run[end:]))
