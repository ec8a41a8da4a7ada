"""Whether every number in a text stands in the evidence it cites, in English or Chinese.

A number is quoted, derived by one operation, or unsupported; the ids in brackets beside it say which evidence may
support it. Right digits are not enough: sign, unit, currency, measure, period, horizon and confidence must be those of
the evidence wherever the sentence names them. Nothing here reads a gold report, and nothing a desk note says supports
a number. No model is called, and the order of the evidence changes nothing.
"""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from riskscribe.case import Case
from riskscribe.errors import InputError
from riskscribe.evaluate.claims import claims_of
from riskscribe.evaluate.context import Context, Sentence, sentences
from riskscribe.evaluate.derive import DIFFERENCE_IS, YESTERDAY, derive, same_day, same_time
from riskscribe.evaluate.facts import (
    INSTRUMENT,
    KINDS,
    NUMBERED,
    PLAIN_WORDS,
    Entry,
    Fact,
    Facts,
    facts_of,
    is_time,
    kind_of,
    natural,
    read_facts,
    singular_name,
)
from riskscribe.evaluate.infer import PER_POINT, infer
from riskscribe.evaluate.naming import (
    TOTAL,
    grams,
    initials,
    name_grams,
    names_another,
    says_apart,
    stem,
    tells_level,
)
from riskscribe.evaluate.numbers import DURATIONS, MONEY, Read, lower, normalise
from riskscribe.evaluate.prose import Reading, cited_ids, lexicon, reading_of
from riskscribe.evaluate.scenarios import told_scenario
from riskscribe.evaluate.told import of_told, restate
from riskscribe.evaluate.verdicts import LENIENT, Claim, FaultKind, Number
from riskscribe.report import Report

__all__ = [
    "Claim",
    "Fact",
    "Facts",
    "Number",
    "cited_ids",
    "facts_of",
    "ground_batch",
    "ground_report",
    "ground_text",
    "read_facts",
    "read_report",
    "text_claims",
]

# words that let a positive number in prose stand for a negative value
_LOSS = re.compile(
    r"\b(?:los(?:e|es|ing|s|ses|t)|offset\w*|hedg\w+|(?:tak(?:e|es|ing)|took)\b[^,;]{0,24}\boff|short|negative|minus|reduc\w+|cuts?|"
    r"down|f[ae]ll\w*|drop\w*|declin\w+|decreas\w+|lower\w*|mitigat\w+|diversif\w+|deficit|outflows?|shortfall|used"
    r"|charges?|write-?downs?|expens\w+|costs?|spent|paid|worsen\w+|shr[aiu]nk\w*|contract\w+|slipp?\w*|trim\w*|shav\w+|sav(?:es|ed|ing)"
    r"|drawdowns?|in the red|absorb\w*|consum\w+|burn\w*|(?:took|tak\w+) away|knock\w*|weigh\w*|erod\w+|dent\w*"
    r"|detract\w*|subtract\w*|drag\w*|headwinds?|shed|adverse\w*|withdr\w+|outgoings?|penalt\w+|impair\w*|overdr\w+)\b"
    r"|亏|损失|分散|对冲|抵|减|空|下跌|下降|负|流出|下滑|降低|回落|支出|成本|费用|赤字|回撤|逆差|缺口|贬",
    re.IGNORECASE,
)
# the same in a list of evidence
_HURTS = re.compile(
    r"\b(?:pain\w*|costli\w+|cheap\w*|damag\w*|hurts?|hit|harm\w*|suffer\w*|slumped|crashed|plung\w+|slid"
    r"|s[aiu]nk\w*|wip\w+ (?:out|off)|squeez\w+|wors[et]\w*|remov\w+|takes? out)\b"
    r"|打击|拖累|受损|缩水|承压|回吐|蒸发|便宜|侵蚀",
    re.IGNORECASE,
)
_LOSES = re.compile(
    r"(?:\b(?:loses?|losing|loss of|lost|net loss (?:was|of))|(?<!扭)亏损(?:为|了|达)?)\s?$", re.IGNORECASE
)
_OFFSETS = re.compile(r"(?:\b(?:offsets|hedges|takes off)|对冲|抵减|抵消)\s?$", re.IGNORECASE)
_OF_EITHER_SIGN = frozenset({"percent", "points", "bp", "index"})
_SIGNED = frozenset(
    (
        "gross_profit", "operating_profit", "ebitda", "net_income", "pretax_profit", "trading_income", "equity",
        "operating_cash_flow", "investing_cash_flow", "financing_cash_flow", "free_cash_flow", "net_debt", "eps",
        "stress", "delta", "gamma", "vega", "theta", "rho", "pv01", "bucket_pv01", "cs01", "open_position", "exposure",
        "mtm", "pnl", "nav",
    )
)  # fmt: skip
_EITHER_WAY = re.compile(
    r"\b(?:net(?!\sof)|profits?|income|earnings|results?|gains?|returns?|chang\w+|growth|flows?|positions?|balance|effects?"
    r"|performance|surplus|contributions?|variances?|movements?|gap|impact|differences?|carry|alpha|attribution)\b"
    r"|利润|收益|损益|盈亏|净|流量|变动|变化|增长|增速|回报|差|头寸|敞口|影响|贡献|余额|同比|环比",
    re.IGNORECASE,
)
_LATIN_WORDS = re.compile("[a-z]+")
# verbs that tell a number without saying its sign, or say that it is none of a minus
_SAYS_NOTHING = frozenset(
    (
        "amounted", "amounts", "came", "comes", "stood", "stands", "reached", "reaches", "ended", "ends", "posted",
        "reported", "recorded", "showed", "shows", "saw", "booked", "had", "has", "have", "closed", "finished",
        "remained", "remains", "turned", "registered", "estimated", "delivered", "generated", "produced", "achieved",
        "returned", "about", "around", "roughly", "nearly", "almost", "some", "just", "only", "over", "under",
        "released", "hired", "brought", "provided", "freed", "won", "boosted", "lifted",
    )
)  # fmt: skip
_GAIN_OR_LOSS = re.compile(
    r"\b(?:gains?|profits?|income)\b[^a-z]{1,3}loss|loss(?:es)?\b[^a-z]{1,3}(?:gain|profit)|损益|盈亏", re.IGNORECASE
)
_GAINS = re.compile(
    r"(?:\b(?:gains?|gain of|gained|gaining|earns?|earned|earning|makes|made|making|adds|added|adding|contributes"
    r"|advanced|benefit of|profit of|surplus of|inflows? of|positive)"
    r"|盈利|收益|贡献|盈余|流入)(?:为|了|达)?\s?$",
    re.IGNORECASE,
)
_WORDS_OF_SIGN = 24  # characters before a number: more than those words are long
# what a clause must say before a fact of that role supports its number; `#` is the number
_CUES = {
    "previous": re.compile(
        r"\b(?:previous\w*|prior|yesterday\w*|was|were|from|earlier|last|day before)\b"
        r"|前值|昨|前一|上一|此前|由|从|上日",
        re.IGNORECASE,
    ),
    "soft": re.compile(r"\b(?:soft|threshold|warning|trigger)|软限|预警|阈值", re.IGNORECASE),
    "undiversified": re.compile(
        r"undiversified|before diversif|sum of (?:the )?standalone|standalone sum|未分散|分散前", re.IGNORECASE
    ),
    "standalone": re.compile(
        r"\balone\b|stand-?alone|on its own|by itself|undiversified|单独|独立|未分散", re.IGNORECASE
    ),
    "diversification": re.compile(
        r"(?<!un)(?<!after )(?<!before )diversif[^,;#]*#|#[^,;]*\b(?:from|by|through|to|of) diversif"
        r"|(?<!未)分散(?![后前])[^,，;；#]*#|#[^,，;；]*分散效应",
        re.IGNORECASE,
    ),
    "coverage": re.compile(r"\bcover|覆盖", re.IGNORECASE),
    "fx": re.compile(r"\b(?:rate|fx)\b|汇率", re.IGNORECASE),
    "horizon": re.compile(
        r"#\s?(?:[0-9.]+%\s?)?(?:VaR|ES\b|expected shortfall|horizon|持有期|预期尾部)", re.IGNORECASE
    ),
    "confidence": re.compile(
        r"#[\s,]{0,2}(?:[0-9]+(?:[-\s]?day|d|天|日)\s?)?(?:VaR|ES\b|expected shortfall|confidence|置信|分位|预期尾部)"
        r"|(?:confidence(?: level)?(?: of| at|:)?|置信(?:水平|度)?为?|VaR\s?\()\s?#",
        re.IGNORECASE,
    ),
}
_USES = re.compile(r"\b(?:uses?|used|using)\b|使用|已用|占用", re.IGNORECASE)
_DIVERSIFIED = re.compile(r"\s?after diversif", re.IGNORECASE)
_DIVERSIFIED_BEFORE = re.compile(r"分散后[^,，0-9]{0,6}$")
_UNDIVERSIFIED = re.compile(r"(?:undiversified|未分散)[^,;，；0-9]{0,16}$", re.IGNORECASE)
_ALONE = re.compile(r"(?:\balone|stand-?alone|on its own|单独|独立)[^,;，；0-9]{0,20}$", re.IGNORECASE)
# words behind which a minus would say the same twice
_FALL_OF = re.compile(
    r"(?:\b(?:drop|fall|decline|decrease|reduction|cut|outflow|cost|charge|expense)s? of|"
    r"(?:损失|流出|降幅|跌幅|减少额)(?:为|是|达))\s?$",
    re.IGNORECASE,
)
# a difference is told, not the amount itself
_DIFFERENCE = re.compile(
    r"(?:\b(?:excess|overrun|headroom|room)\b[^,;]{0,60}\b(?:is|are|of|at|to)\s?(?:about\s)?"
    r"|\b(?:exceed\w*|over|above|below|under|breach\w*|beyond)\b[^,;]{0,40}\bby\s?(?:about\s)?"
    r"|(?:高出|低出|超出|超过|低于|高于)(?:了|硬限|软限|限额)?约?|(?:余量|超额|超限额)(?:为|有|达)?约?|距[^,，；;]{0,12}[有剩余]约?)$",
    re.IGNORECASE,
)
_IS = re.compile(r"\b(?:is|are|was|stands|remains)\s(?:about\s)?$", re.IGNORECASE)
_OFF_LIMIT = re.compile(
    r"\s?(?:below|above|over|under|beyond|short of)\s(?:its|the|hard|soft)\b(?![^,;]*\b(?:of|at)\s[0-9])",
    re.IGNORECASE,
)
# which way a component or a step of the bridge goes
_RAISES = re.compile(
    r"\b(?:add(?:s|ed|ing)?|rais(?:es|ed|ing)|increas\w+|push\w*|lift\w*|boost\w*|contribut\w+|g[ai]ves?|brings?|brought"
    r"|more(?!\sthan)|rise|rose|up)\b|增加|推高|上升|带来|贡献|拉高|抬升|提高|增",
    re.IGNORECASE,
)
_LOWERS = re.compile(
    r"\b(?:cuts?|cutting|lower\w*|reduc\w+|drop\w*|f[ae]ll\w*|off|offset\w*|hedg\w+|mitigat\w+|decreas\w+|down"
    r"|less(?!\sthan)|trim\w*|shav\w+)\b|减少|抵减|抵消|缩减|减|抵|压低|下降|降低|对冲|拉低",
    re.IGNORECASE,
)
_LOWERS_HERE = re.compile(
    rf"(?:{_LOWERS.pattern})(?:\s?(?:了|VaR|ES|it|压力损失|损失|风险|(?:the\s)?(?:worst\s)?(?:stress\s)?loss))?(?:\sby)?\s?$",
    re.IGNORECASE,
)
_LEVEL_OF = re.compile(r"(?:\b(?:to|at|from|is|was)\s(?:about\s)?|[至到为由从])$", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"\s?(?:contribution|component|share|driver)\b", re.IGNORECASE)
_SUPPOSED = re.compile(r"\b(?:without|if|were|would|removing|closing)\b|若|如果|剔除|去掉", re.IGNORECASE)
# a minus behind these says the same twice: "reduced it by -5m", "使其减少-5万"
_BY = re.compile(r"\bby\s?$", re.IGNORECASE)
_EXPIRES = re.compile(
    r"(?:\b(?:expir\w+|lapses?|until|till|valid)\b|到期|失效|有效期)[^,;，；0-9]{0,12}$|\bby\s?$", re.IGNORECASE
)
_CUE_FAULTS: dict[str, FaultKind] = {"previous": "wrong_period"}


_EACH = re.compile(r"(?:\b(?:per|each|every|for each|for every)|每)[\s$€£¥]*$", re.IGNORECASE)
# a duration that tells when or of what: "a 10-year bond", "over the past 3 years"
_TENOR = re.compile(
    r"#(?:\s?(?:bond|note|swap|swaption|option|loan|bill|treasur|rate|yield|tenor|maturit|term|low|high|average|period|lease"
    r"|ended|ending|to\s|ago|earlier|prior|in a row|running|of age|old|期|国债|内|以来|来|前|后)"
    r"|(?:-|\s)?(?:ahead|plan|horizon|window))|\b(?:over|for|during|past|last|next|within|every|first|in|previous|the|after|a|an)\s#"
    r"|(?:过去|未来|近|连续|最近|今后|前|为期|未来的?|超过)#",
    re.IGNORECASE,
)


# the same where some evidence tells a duration too
_SPELL = re.compile(
    r"\b(?:over|across|for|during|in|of) (?:the|all|these|those)(?: (?:last|past|next|previous))?\s#"
    r"(?!\s(?:term|life))",
    re.IGNORECASE,
)


_PLANNED = re.compile(
    "(?:预算|年度计划|全年目标|年度目标)(?:为|是|数为|额为)$"
)  # of what no line may be computed from


class _Fault(NamedTuple):
    """Why a fact does not support a number; the lowest rank makes the best reason."""

    rank: int
    reason: str
    kind: FaultKind


_OF_THE = re.compile(r"\bof (?:the|all|our|its|a)\s?$", re.IGNORECASE)  # 15.5 of the 18.4 TWh
_OUT_OF = re.compile(r"[0-9]\s(?:out )?of\s?$", re.IGNORECASE)  # 412 of 540
_NONE = _Fault(9, "in no evidence", "not_found")


# --- one number against one fact


def _fault(read: Read, entry: Entry, near: Context, facts: Facts) -> _Fault | None:
    """What is wrong with quoting a fact, whose size has been found right, as `read`; None when it is supported."""
    fact = entry.fact
    loose = (read.unit is None and _unit_behind(entry, near)) or (
        read.unit == "index" and fact.unit == "percent" and not facts.of_case and near.says(_ADDS_POINTS)
    )
    if not loose and not _unit_fits(read, entry):
        return _Fault(4, f"wrong unit: {fact}", "wrong_unit")
    if not fact.trusted:
        return _Fault(1, f"only {fact.id} says so, and a note supports nothing", "untrusted")
    if read.currencies and fact.currency and fact.currency not in read.currencies:
        return _Fault(0, f"wrong currency: {fact}", "wrong_currency")
    # beside its own VaR line, "99 %" needs no word that says confidence
    told = fact.role in ("confidence", "horizon") and near.cited is not None and fact.id in near.cited
    if facts.of_case and fact.role == "previous":  # the past must be said of this number, not of its neighbour
        if not near.told_past or (fact.label.endswith("ago") and YESTERDAY.search(f"{near.lead}#{near.tail}")):
            return _Fault(0, f"is {fact}, which the sentence does not say of it", "wrong_period")
    elif fact.role in _CUES and not told and not near.says(_CUES[fact.role]):
        kind = _CUE_FAULTS.get(fact.role, "wrong_measure")
        # what has the size of a soft limit by chance may be computed all the same
        rank = 4 if fact.everywhere else 1 if fact.role == "soft" else 0
        return _Fault(rank, f"is {fact}, which the sentence does not say", kind)
    for bound in fact.boundaries:
        far = abs(fact.value - bound) > 1e-8 * bound  # closer than any rendering shows
        if far and not read.bound and _side(abs(read.value), bound) != _side(fact.value, bound):
            return _Fault(0, f"rounds across {bound:g}: {fact}", "threshold")
    if _wrong_sign(read, entry, near, facts):
        return _Fault(0, f"wrong sign: {fact}", "wrong_sign")
    return _told_otherwise(read, entry, near, facts)


def _side(value: float, bound: float) -> int:
    return (value > bound) - (value < bound)


_ADDS_POINTS = re.compile(
    r"\b(?:add(?:s|ed|ing)?|contribut\w+|t(?:ook|ake|akes|aking)|off|cost(?:s|ing)?|worth|account\w*|drag\w*|burden)\b",
    re.IGNORECASE,
)


def _unit_behind(entry: Entry, near: Context) -> bool:
    """Whether the unit of a duration stands a word or two behind the number, as in its label: 3,285 revenue days."""
    unit = entry.fact.unit
    if unit not in DURATIONS:
        return False
    words = _LATIN_WORDS.findall(lower(near.tail))[:3]
    return unit in words and grams(entry.fact.label) >= grams(" ".join(words[: words.index(unit)]))


_RATES = frozenset(lexicon()["rates"])
_PER_BP = frozenset({"pv01", "bucket_pv01", "cs01"})  # what is told a basis point, whether its unit says so or not
_LOOSE = frozenset(lexicon()["loose"])


def _unit_fits(read: Read, entry: Entry) -> bool:
    written, unit = read.unit, entry.fact.unit
    if written == unit:
        return not (written == "percent" and _is_points(entry) and read.kind == "")
    if written is None:  # "a Sharpe ratio of 0.41" has no times sign
        return unit in (None, "count", "index") or unit in MONEY or (unit == "ratio" and entry.fact.role == "value")
    if written == "money":  # "a PV01 of 40k" leaves the /bp to the measure
        return unit is None or unit in MONEY or (unit == "count" and not read.currencies)
    if written == "points":
        return unit == "percent" and (not entry.fact.label or _is_points(entry) or not _is_level(entry))
    if written == "index":
        return unit in (None, "count")
    if written == "money_per_bp" and unit == "money":
        return bool(entry.meaning.measures & _PER_BP or PER_POINT.search(entry.fact.label))
    if written == "bp" and entry.fact.counted:
        return False
    # a shock in the name of a scenario is no multiple
    return unit is None and written != "percent" and not (written == "ratio" and entry.fact.role == "text")


_PRICE = re.compile(
    r"\b(?:premium|pric\w+|risk-adjusted|freight|charter|rental|renewal|tariff)|费率|运价|租金|单价", re.IGNORECASE
)


def _is_points(entry: Entry) -> bool:
    """Whether a percentage is a change of a rate, which is told in percentage points."""
    said = entry.meaning
    if entry.fact.unit == "points":
        return True
    if _PRICE.search(entry.fact.label):
        return False
    return "change" in said.qualities and ("rate" in said.qualities or bool(said.measures & _RATES))


def _is_level(entry: Entry) -> bool:
    """Whether a percentage is surely no change: a share, a margin, a use."""
    said = entry.meaning
    if "growth" in said.qualities or "change" in said.qualities or entry.fact.role in ("reduction", "excess"):
        return False
    return entry.fact.role == "utilisation" or "rate" in said.qualities or bool(said.measures & _RATES)


def _wrong_sign(read: Read, entry: Entry, near: Context, facts: Facts) -> bool:
    fact = entry.fact
    if read.value == 0 or fact.value == 0 or fact.unit == "date":
        return False
    if read.bracketed and fact.signed and fact.role == "value":
        return fact.value > 0  # an accountant's brackets are a minus, "loss of (1.2m)" too
    head = near.before[-_WORDS_OF_SIGN:]
    if not facts.of_case and not read.sign and (side := _side_told(entry, near)) is not None:
        return side != (fact.value > 0)
    if read.value < 0:  # "loses -5m" would be a gain
        if fact.value > 0 or not fact.signed:
            return fact.value > 0
        # of a stress "loss of -6m" is loose but plain; of anything else it says the minus twice
        falls = not fact.id.startswith("STR-") and bool(_FALL_OF.search(head))
        falls = falls or (not facts.of_case and _moved_by(near) == "down")
        twice = falls or bool(_LOSES.search(head)) or (bool(_BY.search(head)) and _moves(near))
        twice = twice or (not facts.of_case and _falls_by(near))
        return twice or (_is_part(fact) and bool(_LOWERS_HERE.search(near.lead)))
    told = (fact.of and fact.role == "value" and _is_part(fact)) or fact.role == "diversification"
    if told and (rises := _rises(near)) is not None and rises != (fact.value > 0):
        return True
    if fact.role == "text" or not fact.signed:
        return read.sign > 0 and fact.value < 0
    if fact.value > 0:
        loses = fact.role == "value" and bool(_LOSES.search(head) or _OFFSETS.search(head))
        return loses and not (fact.label and _LOSS.search(fact.label))  # negative by its name
    if read.sign > 0 or bool(_GAINS.search(head)):
        return True
    if read.unit == "percent" and not facts.of_case and _moved_by(near) == "up":
        return True
    if near.says(_LOSS) or (not facts.of_case and (_falls(near) or near.says(_HURTS))):
        return False
    return facts.of_case or (_may_be_positive(entry, facts) and not _by_unknown_word(entry, near))


_POSITION = re.compile(r"\b(?:position|delta|vega|gamma|dv01|pv01)\b|头寸|敞口", re.IGNORECASE)
_SIDED = re.compile(r"\b(?:short|long)\b|[多空]", re.IGNORECASE)
_NET_CASH = re.compile(
    r"\bnet cash\b(?! (?:from|used|provided|flow|generated|outflow|inflow))|净现金(?!流)", re.IGNORECASE
)
_NET_DEBT = re.compile(r"\bnet debt\b|净负债|净债务", re.IGNORECASE)


def _side_told(entry: Entry, near: Context) -> bool | None:
    """Whether a value is above zero by the words right before it; None where they do not say.

    A long position is, a short one is not; nor is net debt a line whose label says net cash.
    """
    label = entry.fact.label
    if _POSITION.search(label) and not _SIDED.search(label):
        term = next((one for one in reversed(near.left) if one.tag in ("long", "short_position")), None)
        between = near.text[term.end : near.span[0]] if term is not None else ""
        if term is not None and len(between) < 24 and not re.match(r"-|\s(?:end|dated|term|rates?|expir)", between):
            return term.tag == "long"
    for own, other in ((_NET_CASH, _NET_DEBT), (_NET_DEBT, _NET_CASH)):
        if own.search(label) and other.search(near.lead) and not own.search(near.lead):
            return False
    return None


_DOWN = frozenset({"down", "lower", "less than", "lower than", "fewer than"})


def _moved_by(near: Context) -> str | None:
    """Which way the verb right before a number says that it went: "declined 5.4%"."""
    if not near.left or near.text[near.left[-1].end : near.span[0]].strip():
        return None
    last = near.left[-1]
    return last.tag if near.text[last.start : last.end].lower() not in _DOWN else None


def _by_unknown_word(entry: Entry, near: Context) -> bool:
    """Whether a word nobody listed leads to a number: "factories shed 12,000" may say the minus, "were 12,000" not."""
    label = grams(entry.fact.label)
    for word in reversed(_LATIN_WORDS.findall(lower(near.lead))):
        if word not in PLAIN_WORDS:
            unlisted = word not in _SAYS_NOTHING and stem(word) not in label
            return unlisted and word in near.words.rest_between(near.clause[0], near.span[0])
    return False


def _may_be_positive(entry: Entry, facts: Facts) -> bool:
    """Whether a negative line of a list may as well be positive: a result, a change, a position; not what is paid."""
    fact, said = entry.fact, entry.meaning
    if not fact.label or fact.unit in _OF_EITHER_SIGN or any(one.fact.value > 0 for one in facts.series(entry)):
        return True
    loses, gains = _LOSS.search(fact.label), _EITHER_WAY.search(fact.label)
    return bool(said.measures & _SIGNED or gains) and not (loses and not _GAIN_OR_LOSS.search(fact.label))


def _is_part(fact: Fact) -> bool:
    """Whether a positive amount raises the risk: a component, a step of VaR. One of a P&L or a short limit may not."""
    return fact.id.startswith("CMP-") or (fact.id.startswith("CHG-") and fact.of.startswith("VAR-"))


# Chinese verbs and nouns that tell a size: a minus behind them is wrong, whichever way the difference goes
_SIZE_OF = re.compile(
    r"(?:净(?![额值利资损收敞])[\u4e00-\u9fff]{1,2}|差|尚?余|节约|节省|占|合计|共计?|多|少|高|低|缺口|倒挂|减少|下降|下调|回落|降低|降|跌)[出了]?(?:约|近|逾)?\s?$"
)


def _falls(near: Context) -> bool:
    """Whether a word right before a number says that it is a fall: "softened by 3.4%"."""
    last = next((one for one in reversed(near.left) if one.tag in ("up", "down")), None)
    return near.moves_by and last is not None and last.tag == "down"


def _falls_by(near: Context) -> bool:
    """The same of a Chinese word: "下降-8.6%" says the minus twice."""
    return _falls(near) and any(one.tag == "down" and near.text[one.start] >= "一" for one in near.left[-1:])


def _moves(near: Context) -> bool:
    """Whether the words before a number say which way something goes."""
    return any(one.tag in ("up", "down", "loss", "profit") for one in near.left)


def _rises(near: Context) -> bool | None:
    """Which way the words beside a number say that a part moves the whole; None where they do not."""
    if _LEVEL_OF.search(near.lead) or _ATTRIBUTE.match(near.tail) or _SUPPOSED.search(near.lead):
        return None
    for text, at in ((near.lead, -1), (near.tail, 0)):
        found = sorted((one.span(), up) for pattern, up in ((_RAISES, True), (_LOWERS, False))
                       for one in pattern.finditer(text))  # fmt: skip
        if found:
            return found[at][1]
    return None


def _told_otherwise(read: Read, entry: Entry, near: Context, facts: Facts) -> _Fault | None:
    """Whether the sentence names another measure, period, horizon, confidence or thing than the fact's label."""
    fact, said = entry.fact, entry.meaning
    if read.unit == "percent" and near.moves_by and _is_level(entry):
        return _Fault(0, f"a change of a percentage is told in points: {fact}", "wrong_unit")
    measures = frozenset() if not facts.of_case and _OBJECT_OF.search(near.lead) else near.measures
    # true of none named at all; but a limit is of its measure
    loose = (
        measures <= _LOOSE or not said.measures or (said.measures <= _LOOSE and not entry.fact.id.startswith("LIM-"))
    )
    if loose and facts.of_case and near.own_measures and not near.own_measures & said.measures and said.measures:
        # a limit on stress is none on VaR, and collateral is no exposure, however loosely the words are used elsewhere
        loose = not (
            (fact.id.startswith("LIM-") and "exposure" not in near.own_measures) or fact.id.startswith("CPT-")
        )
    if not loose and not measures & said.measures and (facts.of_case or not _may_be_meant(near, entry, facts)):
        return _Fault(0, f"the sentence speaks of {_spoken(measures)}: {fact}", "wrong_measure")
    qualities = near.qualities
    if facts.of_case:
        if fault := _told_of_another(entry, near, facts):
            return fault
    else:
        for one, other in (("gross", "net"), ("net", "gross")):
            if one in said.qualities and other in qualities and one not in qualities and not _turns(one, other, near):
                return _Fault(0, f"is {one}, the sentence says {other}: {fact}", "wrong_measure")
        plan = "budget" in said.qualities and "budget" not in near.all_qualities
        if plan and any(_is_actual(one, entry) and not near.tells(one) for one in facts.entries):
            return _Fault(0, f"is a plan, which the sentence does not say: {fact}", "wrong_measure")
        if fault := _other_time(read, entry, near, facts):
            return fault
    if fact.role in ("value", "soft"):
        if "limit" in said.qualities and not near.may_be_limit:
            return _Fault(0, f"is a limit, which the sentence does not say: {fact}", "wrong_measure")
        if "limit" not in said.qualities and said.measures and read.unit != "percent" and near.names_limit:
            return _Fault(0, f"is no limit: {fact}", "wrong_measure")
    if near.horizon is not None and said.horizon is not None and abs(near.horizon - said.horizon) > 1e-9:
        return _Fault(0, f"wrong horizon: {fact}", "wrong_horizon")
    if near.confidence is not None and said.confidence is not None and near.confidence != said.confidence:
        return _Fault(0, f"wrong confidence: {fact}", "wrong_confidence")
    if not facts.of_case and facts.numbered and _numbered_otherwise(entry, near, facts):
        return _Fault(0, f"the sentence names another by its number: {fact}", "wrong_measure")
    # of several lines cited together any may be told
    if near.names and not _cites_several(near, facts) and _other_name(entry, near, facts):
        return _Fault(0, f"the sentence names {_spoken(near.names)}: {fact}", "wrong_measure")
    return None


# what the words before the verb measure is not what it takes
_OBJECT_OF = re.compile(
    r"\b(?:cover|fund|financ|absorb|exceed|offset|outweigh)(?:s|es|ed|ing)?\s(?:the|its|our|their|all|all the)?\s?$",
    re.IGNORECASE,
)


def _turns(into: str, other: str, near: Context) -> bool:
    """Whether a clause says how gross becomes net, and the word for the other is that of the number before."""
    own = any(one.name == other for one in (*near.left, *near.right))
    return not own and any(word.startswith(into) for word in _LATIN_WORDS.findall(lower(near.before)))


def _is_actual(one: Entry, plan: Entry) -> bool:
    """Whether a line of a list is what a plan was for."""
    a, b = one.meaning, plan.meaning
    return (
        "budget" not in a.qualities and one.fact.unit == plan.fact.unit and same_time(one, plan)
        and one.fact.counted == plan.fact.counted and a.qualities & KINDS == b.qualities & KINDS - {"budget"}
        and (a.measures == b.measures if b.measures else bool(one.names & plan.names))
        and one.names - plan.names == frozenset()
    )  # fmt: skip


def _told_of_another(entry: Entry, near: Context, facts: Facts) -> _Fault | None:
    """Whether a sentence on a case tells a contribution as standalone, or a scenario that is not this one."""
    fact = entry.fact
    kind = fact.id.partition("-")[0]
    if kind == "CMP" and fact.role == "value" and fact.unit in MONEY and _ALONE.search(near.before):
        return _Fault(0, f"is not standalone: {fact}", "wrong_measure")
    if kind == "VAR" and fact.role == "value" and _UNDIVERSIFIED.search(near.before):
        return _Fault(0, f"is after diversification: {fact}", "wrong_measure")
    if fact.role == "undiversified" and (
        _DIVERSIFIED.match(near.after) or _DIVERSIFIED_BEFORE.search(near.before[-16:])
    ):
        return _Fault(0, f"is before diversification: {fact}", "wrong_measure")
    if kind == "LIM" and fact.role == "value" and fact.unit != "percent":
        of_limit = "limit" in entry.meaning.qualities
        if not of_limit and (
            _DIFFERENCE.search(near.before) or (_IS.search(near.lead) and _OFF_LIMIT.match(near.after))
        ):
            return _Fault(1, f"is no difference, as the sentence says: {fact}", "wrong_measure")
        limit = next((one for one in reversed(near.left) if one.tag == "qualities" and one.name == "limit"), None)
        used = bool(_USES.match(near.after.lstrip().removeprefix("is ")) or _USES.search(near.before[-12:]))
        if of_limit:
            if used and limit is None:
                return _Fault(0, f"is a limit, the sentence speaks of its use: {fact}", "wrong_measure")
        elif limit is not None and not used and near.limit_leads:
            return _Fault(0, f"is no limit: {fact}", "wrong_measure")
    stress = kind == "STR" and fact.role in ("value", "previous")
    if (stress or near.cited is None) and not near.names & facts.names_like("STR-"):
        told = told_scenario(near.region_text, entry.names if stress else (), strict=not stress)
        if told:
            return _Fault(0, f"the sentence speaks of {told}: {fact}", "wrong_measure")
    return None


def _may_be_meant(near: Context, entry: Entry, facts: Facts) -> bool:
    """Whether a list's line may be meant all the same where the sentence names another measure.

    It may where the words for the measure are words of its label; where the clause has a word of it that no line of
    that measure has; and where the measure is that of the number before, which tells a line of it already, unless a
    word for an earlier time says that this is the same line's.
    """
    measures = near.own_measures or near.measures
    others = [one for one in facts.entries if one.meaning.measures & measures and one.fact.unit == entry.fact.unit]
    if not others:
        label = entry.fact.label.lower()
        said = [one for one in near.words.terms if one.tag == "measures" and one.name in near.measures]
        if said and all(near.text[one.start : one.end].lower() in label for one in said):
            return True
    if not near.own_measures and not near.previous and any(near.tells(one) for one in others):
        return True
    return says_apart(entry, others, near, facts)


def _spoken(names: Iterable[str]) -> str:
    return ", ".join(one.replace("_", " ") for one in sorted(names))


def _other_name(entry: Entry, near: Context, facts: Facts) -> bool:
    """Whether a rival line has every name of the sentence that this one has, and more."""
    if facts.of_case:
        return (
            bool(entry.names) and not entry.names & near.names and bool(near.names & facts.names_like(entry.fact.id))
        )
    if near.lists(entry):
        return False
    names = near.names
    if _OUT_OF.search(near.before[-12:]):
        return False
    if TOTAL.search(entry.fact.label) and (near.says(TOTAL) or _OF_THE.search(near.before[-16:])):
        return False
    shared = (entry.names | initials(entry.fact.label)) & names
    kind = kind_of(entry)
    told = {
        one.names for one in facts.entries if kind_of(one) == kind and not entry.names <= one.names and near.tells(one)
    }
    if not near.own_names and any(names <= one for one in told):
        return False  # those of the number before, which tells the line that they name
    rivals = facts.rivals.get(kind, ())
    return any(
        shared <= other
        and _names_one((other & names) - shared, shared, other, rivals)
        and not all(near.compares_with(one) for one in (other & names) - shared)
        and not (entry.names - other) & near.names_before
        and not name_grams(entry.fact.label).difference(
            {stem(one) for one in other}, *(grams(one.fact.label) for one in facts.entries if one.names == other)
        )
        & grams(near.text[near.gap : near.span[1] + len(near.tail)])
        for other in rivals
    )


def _names_one(
    said: frozenset[str], shared: frozenset[str], other: frozenset[str], rivals: Iterable[frozenset[str]]
) -> bool:
    """Whether words, with those shared, name one line: the desk of "EUR desk" and "JPY desk" is neither."""
    if not said or (said == {"total"} and other - said - shared):
        return False  # "total provisions" are not the line "Total, current", whatever it is the total of
    return said == other or sum(said | shared <= one for one in rivals) == 1


def _cites_several(near: Context, facts: Facts) -> bool:
    return not facts.of_case and near.cited is not None and len(near.cited & facts.ids) > 1


def _other_time(read: Read, entry: Entry, near: Context, facts: Facts) -> _Fault | None:
    fact, said = entry.fact, entry.meaning
    years, quarters = near.years, near.quarters
    others = [  # of the line, and of what was planned for it
        one
        for one in facts.entries
        if one is not entry and one.fact.unit == fact.unit and one.names == entry.names
        and one.meaning.measures == said.measures
    ]  # fmt: skip
    if not near.own_years and any(near.tells(one) for one in others):
        years = quarters = frozenset()  # those of the number before, which tells this line at its own time
    if said.years and years and not said.years & years:
        return _Fault(0, f"the sentence speaks of {', '.join(map(str, sorted(years)))}: {fact}", "wrong_period")
    if said.quarters and quarters and not said.quarters & quarters:
        return _Fault(0, f"the sentence speaks of {', '.join(sorted(quarters))}: {fact}", "wrong_period")
    if said.dates and near.dates and not any(same_day(a, b) for a in said.dates for b in near.dates):
        return _Fault(0, f"another date: {fact}", "wrong_period")
    silent = said.previous and not near.may_be_previous and not (said.years & years)
    if silent and not _cites_several(near, facts) and not (others and all(near.tells(one) for one in others)):
        return _Fault(0, f"is an earlier value, which the sentence does not say: {fact}", "wrong_period")
    if near.previous and not said.previous and (said.current or facts.is_latest(entry)):
        return _Fault(0, f"the sentence speaks of an earlier value: {fact}", "wrong_period")
    return None


# --- one number against the evidence


def _far_faults(read: Read, near: Context, facts: Facts) -> Iterator[_Fault]:
    """The facts that have the digits written, in another scale or unit."""
    size = abs(read.value)
    if read.half > 0.05 * size or not size:  # one digit is like too many others
        return
    mantissa, digits = size / read.scale, math.log10(size) % 1.0
    far = -math.log10(1.0 - min(0.9, max(read.half, (read.bound and read.step) or 0.0) / size)) + 1e-6
    for entry in facts.cited(near.cited):
        fact = entry.fact
        if fact.exact or not fact.value or far < abs(entry.digits - digits) < 1.0 - far:
            continue
        for other in (mantissa, *(mantissa * 10.0**i for i in (2, 3, 4, 6, 8, 9, 12))):
            as_if = read._replace(value=other, half=read.half * other / size, step=read.step * other / size)
            slack = 1e-9 * max(1.0, as_if.high)
            if as_if.low - slack <= entry.size <= as_if.high + slack:
                word = "scale" if _unit_fits(read, entry) else "unit"
                yield _Fault(4, f"wrong {word}: {fact}", f"wrong_{word}")
                break


def _of_size(read: Read, facts: Facts, among: list[Entry] | None = None) -> list[Entry]:
    """The facts, of some or of all, whose size may be written as `read` is."""
    low, high = read.interval()
    size = abs(read.value)
    slack = 1e-9 * max(1.0, high, size)
    from_, to = low - slack, high + slack
    if read.bound:
        from_, to = min(from_, size - read.half), max(to, size + read.half)
    if among is None:
        among = facts.sized(from_, to)
    found = [one for one in among if from_ <= one.size <= to]
    if read.bound:
        return [one for one in found if _states(read, one)]
    return [
        one
        for one in found
        if (
            abs(one.size - size) <= slack
            if one.fact.exact
            else low <= one.size < high or read.states(one.size, halves=facts.of_case)
        )
    ]


def _states(read: Read, entry: Entry) -> bool:
    fact = entry.fact
    if read.states(entry.size, fact.exact):
        return True
    # a comparison repeats what it compares with: "above the 5.00m limit"
    if read.compares and read._replace(bound="").states(entry.size, fact.exact):
        limit_like = fact.role in ("soft", "previous") or {"limit", "budget"} & entry.meaning.qualities
        return bool(limit_like) or entry.meaning.previous or not read.states(entry.size)
    return False


def _judge(read: Read, text: str, near: Context, facts: Facts, sentence: Sentence, lenient: bool) -> Number:
    unit = "percent" if read.unit == "points" else read.unit
    found = {"span": read.span, "text": text[slice(*read.span)], "value": read.value, "unit": unit}
    if read.ignored and read.kind != "period":
        return Number(**found, verdict="ignored", reason=read.ignored)
    if read.kind:
        return _judge_time(read, found, near, facts)
    if not facts.of_case and (
        (read.unit is None and (facts.numbered or near.after.startswith("+")) and _is_name(read, near, facts))
        or _is_bucket(near, facts)
    ):
        return Number(**found, verdict="ignored", reason="part of a name")
    if not facts.of_case and _EACH.search(near.before) and math.log10(abs(read.value) or 2.0).is_integer():
        return Number(**found, verdict="ignored", reason="what a ratio is told of")
    readings = [read]
    if read.tenor is not None and near.says(INSTRUMENT):
        readings.append(read._replace(value=read.tenor, half=0.0, unit="months"))
    if not facts.of_case and read.unit == "bp":  # 92 basis points are 0.92 %
        parts = {name: getattr(read, name) / 100 for name in ("value", "half", "step")}
        readings.append(read._replace(**parts, unit="percent"))
    faults: list[_Fault] = []
    allowed = near.allowed(facts)
    for one in readings:
        quoted: set[str] = set()
        for entry in _of_size(one, facts, None if near.cited is None else allowed):
            fault = _fault(one, entry, near, facts)
            if fault is None and not facts.of_case and (near.cited is None or len(near.cited) > 1):
                other = names_another(one, entry, near, facts, sentence)
                if other is not None:
                    fault = _Fault(0, f"the sentence speaks of {other.fact.label}: {entry.fact}", "wrong_measure")
            if fault is not None:
                faults.append(fault)
            else:
                quoted.add(entry.fact.id)
        if quoted:
            named = found | {"value": one.value, "unit": "percent" if one.unit == "points" else one.unit}
            evidence = sorted(quoted, key=natural) if len(quoted) > 1 else [*quoted]
            return Number(**named, verdict="quoted", evidence=evidence)
    if not facts.of_case and read.unit is not None and (labels := _in_label(read, near, facts, sentence)):
        return Number(**found, verdict="quoted", evidence=labels, reason="in the label")
    if near.cited is not None:  # else anything is allowed
        known = {one.order for one in allowed}
        faults += (
            _Fault(2, f"matches {entry.fact}, which is not cited here", "wrong_evidence")
            for one in readings
            for entry in _of_size(one, facts)
            if entry.order not in known and _fault(one, entry, near, facts) is None
        )
    if read.ends and (inside := _in_range(read, near, facts, allowed)):
        return Number(**found, verdict="quoted", evidence=inside, reason="within the range told")
    if (time := _qualifier(read, near, facts)) is not None:
        verdict, evidence, fault = time
        return Number(
            **found, verdict=verdict, evidence=evidence, reason=fault and fault.reason, fault=fault and fault.kind
        )
    # what is quoted across a threshold is not rescued by computing it again
    # nor is the right number of the wrong thing, where an id has a use, a limit and their quotient
    told_wrong = ("threshold", "wrong_measure", "wrong_sign") if facts.of_case else ("threshold",)
    across = any(one.kind in told_wrong and one.rank == 0 for one in faults)
    elsewhere = facts.of_case and any(one.kind == "wrong_evidence" for one in faults)
    if not facts.of_case and (
        (read.sign < 0 and _SIZE_OF.search(near.before[-12:]) and not DIFFERENCE_IS.search(near.before[-5:]))
        or (_PLANNED.search(near.lead) and not facts.planned)
    ):
        across = True
    elif not facts.of_case and lenient and near.cited is None and sentence.ids is None:
        across = bool(tells_level(read, near, facts, sentence))
    computed = None if across else derive(read, near, facts, sentence, lenient, narrow=elsewhere)
    if not facts.of_case and not across and (computed is None or computed.fault == "no_word"):
        ids = sentence.ids if sentence.ids is not None else near.cited
        if ids is not None or lenient:
            mistaken = any(one.rank == 0 for one in faults)
            computed = infer(read, near, facts, sentence, ids, mistaken) or computed
        if ids is None and lenient and computed is None and len(sentence.reads) > 2:
            told = frozenset(one.fact.id for one in facts.entries if near.tells(one))
            if len(told) > 1:  # what the clause tells beside the number is as good as cited
                beside = sentence._replace(ids=told)
                computed = derive(read, near, facts, beside, lenient) or infer(
                    read, near, facts, beside, told, mistaken
                )
    if computed is not None and not computed.fault:
        reason = computed.reason
        if lenient and near.cited is None:
            reason += LENIENT
        return Number(
            **found, verdict="derived", evidence=computed.evidence, operation=computed.operation, reason=reason
        )
    if computed is not None:
        faults.append(_Fault(5 if computed.fault == "no_word" else 1, computed.reason, computed.fault))
    invented = sorted((near.cited or frozenset()) - facts.ids)
    faults += [_Fault(3, f"cites {one}, which is no evidence", "unknown_evidence") for one in invented]
    if all(one.rank >= 4 for one in faults):
        faults += _far_faults(read, near, facts)
    if not faults and not facts.of_case and read.unit is None and _COMPOUND.match(near.after):
        return Number(**found, verdict="ignored", reason="part of a name")
    best = min([*faults, _NONE], key=lambda one: (one.rank, one.reason))
    return Number(**found, verdict="unsupported", reason=best.reason, fault=best.kind)


_COMPOUND = re.compile("-[a-z]{3,}")  # 12-inch wafers
_NAMED = re.compile(r"\b([a-z]{3,})\s(?:[0-9]{1,3}(?:,\s?|\s?[-/&]\s?|,?\s(?:and|or|to)\s))*$", re.IGNORECASE)


def _is_name(read: Read, near: Context, facts: Facts) -> bool:
    """Whether a number stands as it does in a label: Terminals 1 and 2, 30+ days."""
    if near.after.startswith("+"):
        return any(f"{near.text[slice(*near.span)]}+" in one.fact.label for one in facts.entries)
    match = _NAMED.search(near.before[-40:])
    return bool(match) and (singular_name(match[1].lower()), read.value) in facts.numbered


_BUCKET = re.compile(r"[0-9]+(?:\s?-\s?[0-9]+)+")


def _is_bucket(near: Context, facts: Facts) -> bool:
    """Whether a number is of a range that a label is called by: 1-90 days past due."""
    start, end = near.span
    text = near.text
    if "-" not in text[max(0, start - 1) : end + 1]:
        return False
    for match in _BUCKET.finditer(text, max(near.clause[0], start - 12), min(near.clause[1], end + 12)):
        if match.start() <= start + 1 and start < match.end():
            name = re.compile(rf"(?<![0-9]){re.escape(match[0])}(?![0-9])")
            return any(name.search(normalise(one.fact.label)) for one in facts.entries)
    return False


def _numbered_otherwise(entry: Entry, near: Context, facts: Facts) -> bool:
    """Whether the words of a number name one line by a number that another label has: Scope 1 of what is Scope 2."""
    own = dict(facts.numbered_of(entry))
    if not own:
        return False
    said = [(singular_name(word), float(n)) for word, n in NUMBERED.findall(lower(f"{near.lead}#{near.tail}"))]
    said = [(word, n) for word, n in said if word in own and (word, n) in facts.numbered]
    return bool(said) and all(own[word] != n for word, n in said)


def _in_label(read: Read, near: Context, facts: Facts, sentence: Sentence) -> list[str]:
    """The evidence whose label has the number, the shock of "Equities down 20 %", and which the sentence tells."""
    return [
        one.fact.id
        for one in near.allowed(facts)
        for other in one.meaning.numbers
        if other.unit == read.unit and not other.kind and not other.ignored and abs(other.value) == abs(read.value)
        and (
            near.cited is not None or one.names & near.names
            or any(more is not read and more.states(one.size) for more in sentence.reads)
        )
    ]  # fmt: skip


def _in_range(read: Read, near: Context, facts: Facts, allowed: list[Entry]) -> list[str]:
    """The evidence inside a range that is told instead of a value, if it is a narrow one."""
    low, high = sorted(map(abs, read.ends))
    if not low or high / low > 1.6:
        return []
    slack = 1e-9 * max(1.0, high)
    inside = (one for one in allowed if low - slack <= one.size <= high + slack and not one.fact.exact)
    return sorted({one.fact.id for one in inside if _fault(read, one, near, facts) is None})


def _judge_time(read: Read, found: dict, near: Context, facts: Facts) -> Number:
    """A date, a year, a quarter: told by the evidence, apart from amounts, or contradicted."""
    value = int(read.value)
    for entry in near.allowed(facts):
        if not entry.fact.trusted or not is_time(entry):
            continue
        if entry.fact.role == "as_of" and _EXPIRES.search(near.before):
            continue
        told = int(entry.fact.value)
        if entry.fact.unit == "date" and (told == value or _is_part_of(value, told, read.kind)):
            return Number(**found, verdict="quoted", evidence=[entry.fact.id])
        if entry.fact.unit != "date" and read.kind == "year" and told == value:
            return Number(**found, verdict="quoted", evidence=[entry.fact.id])
    if read.kind == "year" and not facts.of_case:
        for entry in _of_size(read, facts, near.allowed(facts)):
            if entry.fact.unit in (None, "money", "count"):
                return Number(**found, verdict="quoted", evidence=[entry.fact.id])
    if (facts.dated and read.kind in ("year", "date") and value >= 10000) or (facts.of_case and read.kind == "year"):
        return Number(**found, verdict="unsupported", reason="in no evidence", fault="wrong_period")
    return Number(**found, verdict="ignored", reason="time")


def _is_part_of(value: int, told: int, kind: str) -> bool:
    """Whether a year, a month or a day without its year is part of the date yyyymmdd."""
    if kind == "year":
        return told // 10000 == value
    if value % 100 == 0:
        return told // 100 == value // 100 or (value < 10000 and told // 100 % 100 == value // 100)
    return value < 10000 and told % (100 if value < 100 else 10000) == value


def _qualifier(read: Read, near: Context, facts: Facts):
    """A horizon or a confidence beside its measure, or a tenor, where a list's labels tell them."""
    if facts.of_case:
        return None
    is_horizon = read.unit in DURATIONS
    if not is_horizon and not (read.unit == "percent" and near.says(_CUES["confidence"])):
        return None
    value = abs(read.value) * DURATIONS.get(read.unit, 1.0)
    told = False
    for entry in facts.cited(near.cited):
        said = entry.meaning.horizon if is_horizon else entry.meaning.confidence
        if said is None:
            continue
        told = True
        if abs(said - value) < 1e-9:
            return "quoted", [entry.fact.id], None
    name: FaultKind = "wrong_horizon" if is_horizon else "wrong_confidence"
    if told and (not is_horizon or near.says(_CUES["horizon"])):
        return "unsupported", [], _Fault(0, "no evidence here is of this " + name[6:], name)
    if read.unit == "months" and near.before.endswith("前"):
        return "ignored", [], _Fault(0, "time", None)  # 前8个月
    if is_horizon and (near.says(_SPELL) or (not facts.lasting and near.says(_TENOR))):
        return "ignored", [], _Fault(0, "time", None)
    return None


# --- texts


def ground_text(
    text: str, facts: list[Fact], cited: list[str] | None = None, *, lenient: bool = False
) -> list[Number]:
    """Find every number of a text and say which evidence supports it.

    Args:
        text: prose, English or Chinese, with ids in square brackets.
        facts: what the evidence says: `facts_of(case)`, `read_facts(list, where)`, or a list of one's own.
        cited: the ids a clause without brackets rests on; None lets it quote any evidence.
        lenient: let a clause without any citation derive numbers too, from any evidence; the reason then says so.

    Returns:
        The numbers in the order of the text. Ids hold no numbers.
    """
    return _ground(text, facts if isinstance(facts, Facts) else Facts(facts), cited, lenient)[0]


def text_claims(text: str, facts: list[Fact], cited: list[str] | None = None) -> list[Claim]:
    """The comparisons a text makes (rose, exceeds, within, largest, of which) and what came of each."""
    return _ground(text, facts if isinstance(facts, Facts) else Facts(facts), cited, False)[1]


def _ground(text: str, facts: Facts, cited: list[str] | None, lenient: bool) -> tuple[list[Number], list[Claim]]:
    return _judge_all(reading_of(text, facts.ids), text, facts, cited, lenient)


def _judge_all(
    reading: Reading, text: str, facts: Facts, cited: list[str] | None, lenient: bool
) -> tuple[list[Number], list[Claim]]:
    if not reading.reads and not reading.citations:
        return [], []
    numbers: list[Number] = []
    claims: list[Claim] = []
    for sentence in sentences(reading, facts, cited):
        own = [
            _judge(read, text, near, facts, sentence, lenient)
            for read, near in zip(sentence.reads, sentence.contexts, strict=True)
        ]
        for claim, at in claims_of(text, sentence, own, facts):
            claims.append(claim)
            if claim.verdict == "contradicted":
                for i in at:
                    if own[i].verdict in ("quoted", "derived"):
                        wrong = {
                            "verdict": "unsupported",
                            "operation": None,
                            "reason": claim.reason,
                            "fault": "comparative",
                        }
                        own[i] = own[i].model_copy(update=wrong)
        if not facts.of_case:
            restate(own, sentence)
            of_told(own, sentence, facts)
        numbers += own
    return numbers, claims


class ReadReport(NamedTuple):
    """A report read once; everything with the path of its field."""

    numbers: list[tuple[str, Number]]  # of the prose, and every stated utilisation
    claims: list[tuple[str, Claim]]
    prose: list[tuple[str, Reading]]


def read_report(case: Case, report: Report) -> ReadReport:
    """Read and judge every number and comparison of a report.

    The ids in brackets beside a number decide; a clause without any rests on the evidence list of its object.
    """
    facts = facts_of(case)
    numbers, claims, prose = [], [], []
    for path, text, evidence in report.prose():
        reading = reading_of(text, facts.ids)
        found, compared = _judge_all(reading, text, facts, evidence or None, lenient=False)
        numbers += [(path, one) for one in found]
        claims += [(path, one) for one in compared]
        prose.append((path, reading))
    for i, breach in enumerate(report.limit_breaches):
        stated = ground_text(f"{breach.utilisation_pct!r}%", facts.use_of(breach.limit_id), [breach.limit_id])
        numbers += [(f"limit_breaches.{i}.utilisation_pct", one) for one in stated]
    return ReadReport(numbers, claims, prose)


def ground_report(case: Case, report: Report) -> list[tuple[str, Number]]:
    """The numbers of `read_report`."""
    return read_report(case, report).numbers


def ground_batch(rows: Iterable[tuple[str, Any]], *, lenient: bool = False) -> Iterator[dict[str, Any]]:
    """Ground many texts: (where it stands, {id, evidence, text}) in, {id, numbers} out, in order.

    Raises InputError that begins with where the wrong row stands.
    """
    evidence, facts = None, None
    for where, row in rows:
        if not isinstance(row, dict) or not {"id", "evidence", "text"} <= row.keys():
            raise InputError(f"{where}: must be an object with id, evidence and text")
        if not isinstance(row["text"], str):
            raise InputError(f"{where}: field text: must be a string")
        if facts is None or row["evidence"] != evidence:
            evidence, facts = row["evidence"], read_facts(row["evidence"], where)
        numbers = ground_text(row["text"], facts, lenient=lenient)
        yield {"id": row["id"], "numbers": [one.model_dump(mode="json") for one in numbers]}
