"""The numbers of a text, English or Chinese, as their writer meant them.

A number is read with its sign, scale word, unit and currency. The digits written define its rounding interval (6.3m is
any amount from 6.25m to 6.35m), a word before it may move that interval (over, nearly, about; 逾, 近, 约). Dates,
years, ordinals and digits inside a name are found as well, so that nobody takes them for amounts.
"""

import math
import re
import sys
import unicodedata
from collections.abc import Collection, Container, Iterable
from typing import NamedTuple

# with what is counted
MULTIPLES = {
    "kwh": 1e3, "mwh": 1e6, "gwh": 1e9, "twh": 1e12, "kw": 1e3, "mw": 1e6, "gw": 1e9, "koz": 1e3, "moz": 1e6,
    "kt": 1e3,
}  # fmt: skip
SCALES = {
    "trillion": 1e12, "tn": 1e12, "trn": 1e12, "billion": 1e9, "bn": 1e9, "bln": 1e9, "b": 1e9, "million": 1e6,
    "mio": 1e6, "mln": 1e6, "mil": 1e6, "mn": 1e6, "mm": 1e6, "m": 1e6, "thousand": 1e3, "k": 1e3,
    "trillions": 1e12, "billions": 1e9, "millions": 1e6, "thousands": 1e3,
    "万亿": 1e12, "千亿": 1e11, "百亿": 1e10, "十亿": 1e9, "亿": 1e8, "千万": 1e7, "百万": 1e6, "十万": 1e5, "万": 1e4,
    "千": 1e3, "cents": 1e-2, "cent": 1e-2, "us cents": 1e-2, "hk cents": 1e-2, "euro cents": 1e-2, "美分": 1e-2,
    "港仙": 1e-2, "分钱": 1e-2, "¢": 1e-2, "pence": 1e-2, "p": 1e-2,
} | MULTIPLES  # fmt: skip
CODES = (
    "USD", "EUR", "GBP", "JPY", "CNY", "CNH", "HKD", "CHF", "AUD", "CAD", "NZD", "SGD", "KRW", "TWD", "INR", "SEK",
    "NOK", "DKK", "BRL", "MXN", "ZAR", "PLN", "TRY", "THB", "IDR", "MYR",
)  # fmt: skip
# what a currency word may mean; CNY is not CNH, and the yuan sign is the yen sign
CURRENCIES = {one.lower(): frozenset({one}) for one in CODES} | {
    word: frozenset(codes.split())
    for word, codes in {
        "us$": "USD", "hk$": "HKD", "s$": "SGD", "a$": "AUD", "c$": "CAD", "nt$": "TWD", "nz$": "NZD", "r$": "BRL",
        "$": "USD", "€": "EUR", "£": "GBP", "¥": "CNY JPY", "₩": "KRW", "₹": "INR", "rmb": "CNY", "cn¥": "CNY",
        "jp¥": "JPY", "us dollars": "USD", "u.s. dollars": "USD", "hong kong dollars": "HKD",
        "dollars": "USD AUD CAD HKD NZD SGD TWD", "dollar": "USD AUD CAD HKD NZD SGD TWD", "euros": "EUR",
        "euro": "EUR", "pounds": "GBP", "sterling": "GBP", "yuan": "CNY", "renminbi": "CNY", "yen": "JPY",
        "swiss francs": "CHF", "人民币": "CNY", "元人民币": "CNY", "元": "CNY", "美元": "USD", "欧元": "EUR",
        "英镑": "GBP", "日元": "JPY", "港元": "HKD", "港币": "HKD", "瑞郎": "CHF", "离岸人民币": "CNH", "韩元": "KRW",
        "澳元": "AUD", "加元": "CAD", "新台币": "TWD", "新元": "SGD",
    }.items()
}  # fmt: skip
# unit -> its Latin spellings, its Chinese ones; a longer one before a shorter one that begins it
UNITS = {
    "points": (r"[\s个]?(?:percentage[\s-]points?|percent\spoints?|ppts?|pps?|%-points?|%\spoints?)", "个?百分点"),
    "percent": (r"[\s个]?(?:percent|per\scent|pcts?)", r"\s?%"),
    "bp": (r"[\s个-]?(?:basis[\s-]points?|bps?)", "个?基点"),
    "index": (r"\s(?:index\s)?points?", "个?点(?!位)"),
    "days": (r"[-\s]?(?:business[\s-]|trading[\s-]|calendar[\s-])?(?:days?|d)", "个?(?:交易日|工作日|天|日)"),
    "weeks": (r"[-\s]?(?:weeks?|wk|w)", "个?(?:周|星期)"),
    "months": (r"[-\s]?(?:months?|mths?)", "个月"),
    "years": (r"[-\s]?(?:years?|yrs?|y)", "年"),
    "ratio": (r"\s?(?:x|times|×)|-?fold|\sto\sone", "倍|×"),
    "money_per_bp": (r"\s?(?:/\s?|per\s)(?:bp|basis\spoint)", "/基点|每基点"),
    "money_per_vol_point": (r"\s?(?:/\s?|per\s)vol(?:\spoint)?", "/波动率点"),
}
MONEY = frozenset({"money", "money_per_bp", "money_per_vol_point"})
DURATIONS = {"days": 1.0, "weeks": 5.0, "months": 21.0, "years": 252.0}
_END = "(?![A-Za-z0-9])"


def _words(table: Iterable[str]) -> str:
    """Any of the words, the longest first; a Latin one must end where it ends."""
    words = sorted(table, key=len, reverse=True)
    latin = "|".join(re.escape(one) for one in words if one.isascii())
    return "|".join([f"(?:{latin}){_END}", *(one for one in words if not one.isascii())])


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_SUFFIX = rf"""
    (?P<exponent>e[+-]?[0-9]{{1,2}}{_END})?
    (?P<close>\))?
    (?:(?:\s|-(?=[mbt][ir]ll))?(?P<scale>{_words(SCALES)}))?
    (?:\s?(?P<after>{_words(one for one in CURRENCIES if one[-1].isalpha())}))?
    (?:(?=[\s-]?[%×/bcdfimptwxy个百基点交工天日周星月年倍每波])  # what a unit begins with: most numbers have none
    (?:{"|".join(f"(?P<{unit}>(?:{latin}){_END}|{other})" for unit, (latin, other) in UNITS.items())}))?
"""
# Of a text in lower case: `re` is slow where case does not count. It begins with one set of characters, by which `re`
# skips the rest of a text, and nothing in it can be backtracked into.
_NUMBER = re.compile(
    rf"(?P<digits>[0-9.](?:(?<=[0-9])(?:[0-9]{{0,2}}(?:[,'’\u00a0\u2009\u202f][0-9]{{3}})+(?![0-9])|[0-9]*)(?:\.[0-9]+)?"
    rf"|(?<=\.)(?<![0-9.]\.)[0-9]+)){_SUFFIX}",
    re.VERBOSE,
)
_BEFORE = frozenset(CURRENCIES) - {"元"}
_LONGEST_BEFORE = max(map(len, _BEFORE))
# how whatever `_prefix` takes may end
_PREFIX_ENDS = frozenset({"+", "-", "(", "负", "us", "ve", *(one[-2:] for one in _BEFORE)})
_GROUPING = str.maketrans("", "", ",'’\u00a0\u2009\u202f")

_DIGITS = {one: i for i, one in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_TENS = {"十": 10.0, "百": 100.0, "千": 1000.0}
_CHINESE_CURRENCIES = "|".join(sorted((one for one in CURRENCIES if not one.isascii()), key=len, reverse=True))
_NUMERAL = re.compile(
    r"(?P<minus>负)?(?P<part>百分之|千分之|万分之)?"
    r"(?P<numeral>[零一二两三四五六七八九十][〇零一二两三四五六七八九十百千万亿]{0,20}(?:点[〇零一二三四五六七八九]{1,9}(?:万亿|亿|万)?)?)"
    r"(?:(?P<points>个?百分点)|(?P<bp>个?基点)|(?P<tenths>成(?P<more>[一二三四五六七八九半])?(?![立为功员本长交果熟套语品]))"
    r"|(?P<ratio>倍)|(?P<days>个?(?:交易日|工作日)|天)"
    rf"|(?P<after>{_CHINESE_CURRENCIES}))?"
)
_HAS_NUMERAL = re.compile("[零一二两三四五六七八九十半番翻]")
# words that are a number; "first half" and "a third party" are none
_WORD_NUMBERS = re.compile(
    r"\b(?:(?P<two>doubl(?:ed|es|ing)|twice|two-?fold)|(?P<three>tripl(?:ed|es|ing)|trebl(?:ed|es|ing)|three-?fold)"
    r"|(?P<four>quadrupl(?:ed|es|ing)|four-?fold)|(?P<halved>halv(?:ed|es|ing))"
    r"|(?P<half>(?<!first\s)(?<!second\s)(?<!latter\s)half\sof(?!\s(?:the\syear|[0-9])))"
    r"|(?P<thirds>two[\s-]thirds\sof)|(?P<third>(?:a|one)[\s-]third\sof)"
    r"|(?P<quarters>three[\s-]quarters\sof)|(?P<quarter>(?:a|one)[\s-]quarter\sof(?!\s[0-9]))"
    r"|(?P<spelled>one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty)"
    r"[\s-](?P<what>million|billion|trillion|thousand|percent|per\scent|times|percentage\spoints?|basis\spoints?))\b",
    re.IGNORECASE,
)
# the words that a number in words begins with
_COUNTING = _listed(
    "doubled doubles doubling twice twofold tripled triples tripling trebled trebles trebling threefold quadrupled"
    " quadruples quadrupling fourfold halved halves halving half third quarter one two three four five six seven eight"
    " nine ten eleven twelve fifteen twenty thirty forty fifty"
)
_LATIN = re.compile("[a-z][a-z]*")
_SPELLED = {
    word: value
    for value, word in (
        *enumerate("zero one two three four five six seven eight nine ten eleven twelve".split()),  # noqa: SIM905
        (15, "fifteen"), (20, "twenty"), (30, "thirty"), (40, "forty"), (50, "fifty"),
    )
}  # fmt: skip
# group of _WORD_NUMBERS -> value, half its interval, unit
_WORD_VALUES = {
    "two": (2.0, 0.1, "ratio"), "three": (3.0, 0.15, "ratio"), "four": (4.0, 0.2, "ratio"),
    "halved": (0.5, 0.025, "ratio"), "half": (50.0, 2.5, "percent"), "thirds": (200 / 3, 2.5, "percent"),
    "third": (100 / 3, 2.0, "percent"), "quarters": (75.0, 2.5, "percent"), "quarter": (25.0, 1.5, "percent"),
}  # fmt: skip
_CHINESE_MULTIPLES = re.compile(
    "翻了?(?P<times>[一两二三])番|(?P<once>翻番|翻了?一?倍)|(?P<half>减半|腰斩)|(?P<part>一半)"
)

_LIST_NUMBER = re.compile(r"^\s*([0-9]{1,2})(?=[.)、]\s)", re.MULTILINE)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_CALENDAR = re.compile(
    r"(?=[0-9]|(?<![A-Za-z])[jfmasondqhc])(?:"  # how anything below begins: most places are passed over by it
    r"(?<![0-9.])(?P<part>(?:(?:19|20)[0-9]{2}年)?[0-9]{1,2}月?\s?[-—~至]\s?[0-9]{1,2}月(?:份)?(?![0-9])"
    r"|(?<![0-9.])2[0-9][-—~至/]2[0-9]年(?![期国以内]))"  # 26-27年
    # but no month in 2026年17.2亿元
    r"|(?<![0-9])(?P<y1>(?:19|20)[0-9]{2})\s?[-/年.]\s?(?P<m1>[0-9]{1,2})\s?(?:[-/]|月|(?<!年[0-9])(?<!年[0-9]{2})\.)\s?(?P<d1>[0-9]{1,2})(?:日|(?![0-9季]))"
    r"|(?<![0-9.])(?P<d9>[0-3]?[0-9])[./](?P<m9>[01]?[0-9])[./](?P<y9>(?:19|20)[0-9]{2})(?![0-9.])"
    rf"|(?<![0-9.,])(?P<d2>[0-9]{{1,2}})(?:st|nd|rd|th)?\s(?P<m2>{_MONTH})(?:,?\s(?P<y2>(?:19|20)[0-9]{{2}})(?![0-9]))?{_END}"
    rf"|\b(?P<m3>{_MONTH})\s(?P<d3>[0-9]{{1,2}})(?:st|nd|rd|th)?(?:,?\s(?P<y3>(?:19|20)[0-9]{{2}}))?(?![0-9.,]*[0-9])"
    r"(?!\s?(?:%|[kmb]n?\b|million|billion))"
    rf"|\b(?P<m4>{_MONTH})[\s-](?P<y4>(?:19|20)[0-9]{{2}})(?![0-9])"
    r"|(?<![0-9])(?P<y5>(?:19|20)[0-9]{2})(?:-(?P<m5>0[1-9]|1[0-2])(?![0-9%])|年(?P<m6>[0-9]{1,2})月)"
    r"|(?<![0-9])(?P<m7>[0-9]{1,2})月(?:(?P<d7>[0-9]{1,2})(?:[日号]|(?![0-9.,%万亿千百元个]))|份|末|底)?"
    r"|(?=[0-9]{1,4}[日号季年QHqh~—至-])(?:"  # what few digits are followed by: the rest is tried behind them alone
    # the day of a month told before, not of "10日VaR" and "5日内"; 25Q3, 2025H1; 前3季度, 1-3季度; 25年 by a part of
    # the year, where 10年 may be ten years
    r"(?:(?<=[当本上]月)|(?<=截至)|(?<=于)|(?:^|(?<=[，。；、,;]))(?=[0-9]+.[\u4e00-\u9fff]))(?P<d8>[0-3]?[0-9])[日号]"
    r"(?!\s?(?:[A-Za-z0-9]|[内均线移平滚持以前后的年波风预展期置]))"
    r"|(?P<yq>(?<![A-Za-z0-9.,])(?:20)?[0-9]{2}年?(?:Q[1-4]|H[12]|[1-4]Q)(?![0-9A-Za-z%]))"
    r"|(?P<ji>(?<![0-9.])(?:1[-—~至])?[1-4]季度)"
    r"|(?P<y10>(?<![0-9.])[0-9]{2}年(?=[末底初度]|上半年|下半年|全年|同期|前?第?[一二三四1-4]季|1?[0-9]月)))"
    r"|(?P<period>(?<![A-Za-z0-9.,])(?:(?:[1-4]Q|Q[1-4]|[12]H|H[12]|(?<!_)[FC]Y)(?:\s?['’]?(?:20)?[0-9]{2})?|9M\s?['’]?(?:20)?[0-9]{2})(?![0-9A-Za-z%]|\.[0-9]))"
    r"|(?<![0-9])(?P<y8>(?:19|20)[0-9]{2})(?:[/-](?P<span>[0-9]{2})(?![0-9%])|(?P<nian>年度?))"
    r"|(?<![0-9:])(?P<time>[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?)(?![0-9:]))",
    re.IGNORECASE,
)
# the words, and else the digits, without one of which there is nothing in a text for _CALENDAR
_CALENDAR_WORDS = _listed(
    "january february march april may june july august september october november december"
    " jan feb mar apr jun jul aug sep sept oct nov dec q h fy cy"
)
_CALENDAR_DIGITS = re.compile(
    r"[0-9](?:(?:(?<=1)9|(?<=2)0)[0-9]{2}(?:年|\s?[-/年.]\s?[0-9])|:[0-9]|月|[日号季]|年[末底初度上下全同前第一二三四1-4]|(?<=9)[Mm]|[-—~至/]2[0-9]年)"
)
# words behind which a number names a thing instead of measuring it
# of those aged 16 to 24, of 16-24岁
_AGES = re.compile("(?:[-—–~至到][0-9]{1,3})周?岁|(?<=[-—–~至到][0-9][0-9])周?岁|周?岁(?:及|或)?以[上下]")
_AGED = re.compile(r"\b(?:aged|ages)\s(?:[0-9]{1,3}\s?(?:-|–|to|and)\s?)?$", re.IGNORECASE)
_NAMING = re.compile(
    r"(?:\b(?:S&P|Nikkei|Russell|FTSE|STOXX|CSI|Hang\sSeng|Tier|Level|IFRS|IAS|ASC|SFAS|FASB|Note|Table|Figure|Section"
    r"|Chapter|Page|Item|Form|Phase|Stage|Top|Fortune|ISO|Article|Rule|Schedule|Exhibit|Appendix|Part|Basel|Category"
    r"|Scenario|Scope|Option|Step|Group|Class|Series|Fund|Pillar|No\.|Nr\.|#)|沪深|中证|上证|第|附注|表|图)\s?$"
    # Stages 2 and 3
    r"|\b(?:Tier|Level|Note|Table|Figure|Section|Chapter|Page|Item|Phase|Stage|Article|Schedule|Exhibit|Part|Category"
    r"|Scenario|Scope|Option|Step|Class|Pillar)(?:e?s)?\s(?:[0-9]{1,3}(?:,\s?|\s?[-/&]\s?|,?\s(?:and|or|to)\s))*$",
    re.IGNORECASE,
)
_ORDINAL = re.compile(rf"(?:st|nd|rd|th){_END}", re.IGNORECASE)
_FORM = re.compile("-[A-Za-z](?![a-z])")
# "no more than the limit of 5.2m" repeats the limit: no bound
_OVER = re.compile(
    r"(?:\b(?:over|(?<!no\s)(?<!not\s)more\sthan|above|exceed(?:s|ed|ing)?|in\sexcess\sof|at\sleast|upwards?\sof|greater\sthan|just\sover"
    r"|slightly\s(?:over|above)|well\sover|topp(?:ed|ing)|surpass(?:ed|ing)?|beyond)"
    r"|(?<![不未])(?:逾|超过?了?|超逾|高于|大于|突破)|至少)\s?$",
    re.IGNORECASE,
)
_UNDER = re.compile(
    r"(?:\b(?:nearly|almost|close\sto|just\s(?:under|below|short\sof)|slightly\s(?:under|below)|under|below"
    r"|(?<!no\s)(?<!not\s)(?:less|fewer)\sthan"
    r"|(?<!went\s)(?<!goes\s)(?<!gone\s)(?<!adds\s)(?<!add\s)(?<!added\s)(?<!adding\s)(?<!is\s)(?<!are\s)up\sto"
    r"|at\smost|shy\sof)|将?近|接近|不到|不足|(?<!不)(?:低于|小于|少于)|至多)\s?$",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"(?:\b(?:about|around|approximately|approx\.?|roughly|some|circa|ca\.|c\.|broadly|an\sestimated|in\sthe\sregion\sof)"
    r"|[~≈]|大?约为?|大概|大致|约合)\s?$",
    re.IGNORECASE,
)
# how the words of these three end
_BOUND_ENDS = (
    *_listed(
        "over than above exceed exceeds exceeded exceeding of least topped topping surpass surpassed surpassing beyond"
        " nearly almost to under below most about around approximately approx approx. roughly some circa ca. c."
        " broadly estimated ~ ≈ 逾 超 过 超了 过了 于 少 至少 破 近 不到 不足 多 约 约为 大概 大致 约合"
    ),
)
_BOUND_LAST = frozenset(one[-2:] for one in _BOUND_ENDS)
_ABOUT_AFTER = re.compile(r"\s?(?:左右|上下|or\sso\b)", re.IGNORECASE)
_OVER_AFTER = re.compile(r"\s?(?:以上|有余)|\+(?![0-9])")
_UNDER_AFTER = re.compile(r"\s?以下")
_AFTER_BEGINS = frozenset("左上oO以有+")
# words of comparison: the number behind them is often the thing compared with, told exactly
_COMPARES = re.compile(
    r"above|exceed|below|高于|低于|超|突破|than|surpass|beyond|under|over|大于|小于|up\sto", re.IGNORECASE
)
_RANGE = re.compile(r"\s?(?:-|to|~|至|到|—)\s?", re.IGNORECASE)
_BETWEEN = re.compile(r"(?:\bbetween|\bfrom|介于|在)\s?$", re.IGNORECASE)
_FROM = re.compile(r"(?:\bfrom|由|从|自)[^0-9]{0,12}$", re.IGNORECASE)
_GROWS = re.compile(r"(?:增加|增长|上升|提高|扩大|上涨|多出?|高出?)了?(?:近|约|逾|超过?)?$")
_ACCOUNTANT = re.compile(r"(?:\b(?:is|was|were|of|at|to|from|by|be|a)|[:=：]|[为是达至由到计])\s?$", re.IGNORECASE)


class Read(NamedTuple):
    """A number as written.

    `value` has sign and scale applied, a percentage stays as written. `half` is half a unit of the last digit and
    `step` a unit of the last digit that is not zero. `sign` is -1 or 1 where one is written, else 0. `bound` says
    what a word beside it makes of it: over, under, about. `ends` are the ends of the range it is part of. `tenor` is
    3 where 3m could be three months. `kind` tells years and dates; `ignored` says why it needs no evidence.
    """

    span: tuple[int, int]
    value: float
    half: float
    unit: str | None
    scale: float = 1.0
    currencies: frozenset[str] = frozenset()
    sign: int = 0
    tenor: float | None = None
    ignored: str | None = None
    kind: str = ""
    step: float = 0.0
    bound: str = ""
    compares: bool = False
    bracketed: bool = False
    ends: tuple[float, float] | None = None
    month: int = 0

    @property
    def low(self) -> float:
        """The smallest size that may be written so."""
        return self.interval()[0]

    @property
    def high(self) -> float:
        """The size from which on it may not be written so."""
        return self.interval()[1]

    def interval(self) -> tuple[float, float]:
        """`low` and `high`."""
        size = abs(self.value)
        slack = max(1e-13 * size, min(1e-9 * size, 0.01 * self.half)) if self.half else 1e-9 * size
        if self.bound == "over":
            return size - slack, size + max(self.half, min(self.step, 0.25 * size))
        if self.bound == "under":
            return size - max(self.half, min(self.step, 0.25 * size)), size + slack
        if self.bound == "about":
            loose = max(self.half, min(self.step, 0.05 * size))
            return size - loose - slack, size + loose + slack
        # just below the half is below it, however large the amount
        return size - self.half - slack, size + self.half + (slack if not self.half else -1e-15 * size)

    def states(self, size: float, exact: bool = False, halves: bool = False) -> bool:
        """Whether an amount of this size, told without its sign, may be written so.

        Args:
            size: the amount.
            exact: whether it may not be rounded.
            halves: whether an exact half may be rounded down, as binary arithmetic does to one just below.
        """
        gap = abs(abs(self.value) - size)
        if exact:
            return gap <= 1e-9 * max(1.0, size)
        if gap > 1.01 * (self.half + self.step) + 1e-8 * size:
            return False  # as most are, whatever word stands beside the number
        low, high = self.interval()
        if not low <= size <= high:
            # a half is rounded up, or to an even digit
            slack = max(1e-13 * size, min(1e-9 * size, 0.01 * self.half))
            half = self.half and not self.bound and abs(size - abs(self.value) - self.half) <= slack
            return bool(half) and (halves or round(abs(self.value) / (2 * self.half)) % 2 == 0)
        # "over 5.2m" is more than 5.2m, and "nearly 5.2m" is less
        return self.bound in ("", "about") or abs(abs(self.value) - size) > 1e-9 * size


def bounded(value: float) -> float:
    """`value`, no larger than the largest float."""
    return max(-sys.float_info.max, min(sys.float_info.max, value))


class _Plain(dict):
    """Full-width and foreign digits and signs -> ASCII, for str.translate; filled as characters come."""

    def __missing__(self, code: int) -> int:
        char = chr(code)
        if char.isdecimal():
            to = str(unicodedata.decimal(char))
        elif (
            "！" <= char <= "～" and char not in "，；：！？"
        ):  # a full-width comma separates clauses, never thousands
            to = chr(code - 0xFEE0)
        else:
            to = {"−": "-", "–": "-", "‑": "-", "‐": "-", "﹣": "-", "￥": "¥", "【": "[", "】": "]"}.get(char, char)
        self[code] = ord(to)
        return self[code]


_PLAIN = _Plain()
# between full-width digits a full-width comma does separate thousands
_WIDE_THOUSANDS = re.compile("，(?<=[０-９]，)(?=[０-９]{3}(?![０-９]))")


def normalise(text: str) -> str:
    """Full-width and foreign digits and signs as ASCII, character by character, so that spans stay true."""
    if text.isascii():
        return text
    return _WIDE_THOUSANDS.sub(",", text).translate(_PLAIN)


def lower(text: str) -> str:
    """The text in lower case, every character in its place."""
    small = text.lower()
    return small if len(small) == len(text) else "".join(one if len(one.lower()) > 1 else one.lower() for one in text)


def scan(text: str, words: Collection[str] | None = None, small: str | None = None) -> list[Read]:
    """The numbers of a normalised text whose ids are blanked, from left to right.

    Args:
        text: the text.
        words: its Latin words in lower case, where the caller has read them.
        small: the text in lower case, where the caller has it.
    """
    found: list[Read] = []
    small = lower(text) if small is None else small
    words = _LATIN.findall(small) if words is None else words
    if not _CALENDAR_WORDS.isdisjoint(words) or _CALENDAR_DIGITS.search(text):
        dates = [_calendar(one) for one in _CALENDAR.finditer(text)]
        if dates:
            found += dates
            text = _blank(text, dates)
    if not text.isascii() and _HAS_NUMERAL.search(text):
        numerals = [*_chinese(text)]
        found += numerals
        text = _blank(text, numerals)
    if not _COUNTING.isdisjoint(words) and (worded := [_worded(one, text) for one in _WORD_NUMBERS.finditer(text)]):
        found += worded
        text = _blank(text, worded)
    may_list = "\n" in text or text[:3].lstrip()[:1].isdigit()
    listed = {match.start(1) for match in _LIST_NUMBER.finditer(text)} if may_list else ()
    end = 0
    arabic: list[Read] = []
    for match in _NUMBER.finditer(lower(text) if found else small):
        if match.start() < end:
            continue
        read = _read(match, text, listed, end)
        if arabic and read.scale > 1.0 and (joined := _compound(arabic[-1], read, text)):
            read = joined
            arabic.pop()
        arabic.append(read)
        end = read.span[1]
    found += arabic
    if len(found) > 1:
        found.sort(key=lambda one: one.span)
        _ranges(found, text)
        _suspended(found, text)
    return found


_SUSPENDED = re.compile(r"-,?\s(?:(?:and|or|to)\s)?$")


def _suspended(found: list[Read], text: str) -> None:
    """Gives the numbers of "the 5-, 10- and 30-year bonds" the unit of the last."""
    for i in range(len(found) - 2, -1, -1):
        one, after = found[i], found[i + 1]
        between = text[one.span[1] : after.span[0]]
        if one.unit is None and after.unit in DURATIONS and len(between) < 8 and _SUSPENDED.match(between):
            found[i] = one._replace(unit=after.unit, ignored=None)


def _blank(text: str, reads: list[Read]) -> str:
    pieces, at = [], 0
    for one in reads:
        start, end = one.span
        pieces += [text[at:start], "\x00" * (end - start)]
        at = end
    return "".join([*pieces, text[at:]])


def read_unit(unit: str) -> Read | None:
    """A unit as a person writes it in a table ("%", "USD m", "$ millions", "亿元"), as one of it, or None."""
    plain = normalise(unit).strip()
    if not plain or any(one.isdigit() for one in plain):
        return None
    plain = re.sub(r"^(?:in\s|单位[:：]?\s*)|\(|\)", "", plain, flags=re.IGNORECASE).strip()
    plain = re.sub(r"\s(?:in|of)\s", " ", f" {plain} ").strip()
    words = plain.split()
    shapes = [f"1{plain}", f"1 {plain}", f"{plain[:1]}1{plain[1:]}", f"{plain} 1"]
    if len(words) == 2:
        shapes += [f"{words[0]} 1 {words[1]}", f"1 {words[1]} {words[0]}", f"{words[1]} 1 {words[0]}"]
    shapes += [f"{plain[:n]}1{plain[n:].strip()}" for n in (2, 3, 4) if n < len(plain)]
    for shape in shapes:
        found = scan(shape)
        if len(found) == 1 and found[0].span == (0, len(shape)) and not found[0].kind and not found[0].ignored:
            return found[0]
    return None


def _read(match: re.Match, text: str, listed: Container[int], previous_end: int) -> Read:
    """A match of _NUMBER with what stands before it: sign, currency, bracket, a word that moves its interval."""
    digits, exponent, close, scale_word, after = match.group("digits", "exponent", "close", "scale", "after")
    start, end = match.span()
    if end > match.end("digits") and text[end - 1] == " ":
        end -= 1
    clean = digits if digits.isdigit() else digits.translate(_GROUPING)
    scale = SCALES[scale_word] if scale_word else 1.0
    power = int(exponent[1:]) if exponent else 0
    if scale_word == "p" and text[match.start("scale") - 1] == " ":  # 95p is money, "95 p" is not
        scale, scale_word = 1.0, None
    size, half, step = _precision(clean, power, scale)
    unit = None
    if match.lastgroup in UNITS:
        unit = match.lastgroup
    if unit == "percent" and "pct" in match[unit].lower() and not text.isascii():
        unit = "points"  # Chinese notes write levels with a sign: 毛利率31.2%，提升1.4pct
    if scale_word and unit in DURATIONS and unit != "days":  # "5.2 million year over year"
        end, unit = match.start(unit), None
    first = max(previous_end, start - 30)
    head, before, head_sign, opened = _prefix(text[first:start])
    if head.endswith("百分之") and not (before or head_sign or opened or scale_word or unit):  # 百分之99.1
        head, before, unit = head[:-3], " ", "percent"
    begin = first + len(head) if (before or head_sign or opened) else start
    before = before.strip()
    if close and not opened:  # the bracket closes something else
        end = match.end("exponent") if exponent else match.end("digits")
        tail = _NUMBER.match(text[match.start("digits") : end])
        if tail is None or scale_word or after or match.lastgroup in UNITS:
            scale, scale_word, after, unit = 1.0, None, None, None
            size, half, step = _precision(clean, power, 1.0)
    closed = bool(opened and (close or text[end : end + 1] == ")"))
    end += closed and not close
    # an accountant's minus stands where an amount would; any other bracket is an aside, or holds more than the number
    outside = bool(before and not (opened and opened[1]))
    bracketed = (
        closed
        and not head_sign
        and bool(outside or (close and (scale_word or unit)) or _ACCOUNTANT.search(head) or not begin)
    )
    if opened and not bracketed:
        head, before, head_sign = opened
        begin = first + len(head) if (before or head_sign) else start
        end = end - 1 if closed and text[end - 1] == ")" else end
    currencies = frozenset()
    if unit is None or unit in MONEY:
        currencies = CURRENCIES.get(before or after, frozenset())
        if before and after:  # "¥5m yuan"
            currencies = (CURRENCIES[before] & CURRENCIES[after]) or CURRENCIES[after]
        unit = unit or ("money" if currencies or scale_word else None)
    kind = ""
    if clean.isdigit() and len(digits) == 4 and clean[:2] in ("19", "20") and not before and not scale_word:
        kind, unit = ("year", None) if unit in (None, "years") else ("", unit)  # 2024年, "at 2024 year end"
    tenor = float(clean) if scale_word == "m" and end - start <= 4 and len(clean) <= 3 and "." not in clean else None
    bound, compares = _bound(head, text, end)
    if unit == "ratio" and not text.isascii() and text[match.start("ratio")] == "倍" and _GROWS.search(head):
        size += 1.0  # 增加两倍 is three times
    ignored = None
    if unit not in ("points", "percent") and not before and not scale_word and clean.isdigit():
        ignored = _no_value(text, head, match, end, unit, listed)
    elif (
        not before
        and not scale_word
        and unit is None
        and text[start - 1 : start].isalpha()
        and text[start - 1].isascii()
    ):
        ignored = "part of a name"  # v1.2
    sign = head_sign or (-1 if bracketed else 0)
    return Read(
        (begin, end), -size if sign < 0 else size, half, unit, scale, currencies, sign, tenor, ignored, kind, step,
        bound, compares, bracketed,
    )  # fmt: skip


def _precision(clean: str, power: int, scale: float) -> tuple[float, float, float]:
    """The size of a number, half a unit of its last digit, and a unit of the last that is not zero."""
    whole, _, decimals = clean.partition(".")
    kept = decimals.rstrip("0")
    if kept or (decimals and not whole.strip("0")):
        zeros = -len(kept)
    else:
        zeros = min(300, len(whole) - len(whole.rstrip("0"))) if whole.strip("0") else 0
    last = power - len(decimals)
    found = float(clean) * 10.0**power * scale, 0.5 * 10.0 ** max(-300, last) * scale, 10.0 ** (power + zeros) * scale
    return found if max(found) < math.inf else tuple(map(bounded, found))


_SIGNS = {"+": 1, "-": -1}


def _prefix(head: str) -> tuple[str, str, int, tuple[str, str, int] | None]:
    """What is left of the text before a number without its currency, sign and opening bracket, then these three; the
    bracket as the first three inside it.
    """
    sign, opened = 0, None
    before = ""
    for _ in range(4):
        bare = head[:-1] if head.endswith(" ") else head
        last = bare[-1:]
        if last not in _PREFIX_ENDS and bare[-2:].lower() not in _PREFIX_ENDS:
            break
        if last in _SIGNS and not sign and (bare == head or before):
            previous = bare[-2:-1]
            if (previous.isalnum() and previous.isascii()) or previous in ("%", ")", "]", "\x00"):
                break
            sign, head = _SIGNS[last], bare[:-1]
        elif last == "(" and not opened and bare == head:
            opened, head = (head, before, sign), bare[:-1]
        elif last == "负" and not sign and bare == head:
            sign, head = -1, bare[:-1]
        elif not sign and bare != head and (word := bare[-9:].lower()).endswith(("minus", "negative")):
            n = 5 if word.endswith("minus") else 8
            if bare[-n - 1 : -n].isalpha():
                break
            sign, head = -1, bare[:-n]
        elif not before:
            for n in range(min(_LONGEST_BEFORE, len(bare)), 0, -1):
                word = bare[-n:].lower()
                if word in _BEFORE and not (
                    word[0].isascii()
                    and word[0].isalpha()
                    and bare[-n - 1 : -n].isalpha()
                    and bare[-n - 1 : -n].isascii()
                ):
                    before, head = word, bare[:-n]
                    break
            else:
                break
        else:
            break
    return head, before, sign, opened


def _bound(head: str, text: str, end: int) -> tuple[str, bool]:
    """Whether words beside a number say over, under or about; and whether they are words of comparison."""
    tail = head[-16:]
    last = tail.rstrip().lower()
    if (last[-1:] in _BOUND_LAST or last[-2:] in _BOUND_LAST) and last.endswith(_BOUND_ENDS):
        for name, pattern in (("over", _OVER), ("under", _UNDER), ("about", _ABOUT)):
            if match := pattern.search(tail):
                return name, bool(_COMPARES.search(match[0]))
    if text[end : end + 2].strip()[:1] in _AFTER_BEGINS:
        for name, pattern in (("about", _ABOUT_AFTER), ("over", _OVER_AFTER), ("under", _UNDER_AFTER)):
            if pattern.match(text, end):
                return name, False
    return "", False


def _no_value(text: str, head: str, match: re.Match, end: int, unit: str | None, listed: Container[int]) -> str | None:
    """Why digits are no number that needs evidence, or None."""
    start, stop = match.span("digits")
    before, after = text[max(0, start - 1) : start], text[stop : stop + 3]
    # PV01, FR007, SX5E; but VaR5m is a number, and so are five digits
    attached = before.isascii() and before.isalpha()
    if attached and stop - start <= 4 and (end == stop or after[0] in " /"):
        return "part of a name"
    if unit is None and before == "-" and text[start - 2 : start - 1].isalpha() and text[start - 2].isascii():
        return "part of a name"  # COVID-19
    if unit is None and after[:1].isascii() and after[:1].isalpha() and not attached:
        if _ORDINAL.match(after):
            return "ordinal"
        return "part of a name"  # 5G
    if unit is None and _FORM.match(after):
        return "part of a name"  # 10-K
    if before == "第":
        return "ordinal"
    if unit is None and (_AGES.match(text, stop) or _AGED.search(text, max(0, start - 16), start)):
        return "part of a name"
    if unit is None and _NAMING.search(text[max(0, start - 24) : start]):
        return "part of a name"
    return "list number" if start in listed else None


# where the year of a period stands, by its group in _CALENDAR
_YEAR_OF = {"part": "[0-9]{4}(?=年)", "period": "[0-9]{2,4}$", "yq": "^(?:20)?[0-9]{2}", "ji": "[0-9]{4}"}


def _calendar(match: re.Match) -> Read:
    """A match of _CALENDAR: a full date is the number yyyymmdd, a month yyyymm00, a day dd, a year yyyy."""
    group = match.groupdict()
    span = match.span()
    if group["time"]:
        return Read(span, 0.0, 0.0, None, ignored="time", kind="time")
    if name := next((one for one in _YEAR_OF if group[one]), ""):
        digits = re.search(_YEAR_OF[name], match[0])
        year = int(digits[0]) + (2000 if len(digits[0]) == 2 else 0) if digits else 0
        if name == "ji" and match.string[span[0] - 1 : span[0]] == "前":
            span = (span[0] - 1, span[1])
        return Read(span, float(year), 0.0, None, ignored="period", kind="period")
    year = next((int(group[f"y{i}"]) for i in (1, 2, 3, 4, 5, 8, 9) if group[f"y{i}"]), 0)
    if group["y8"] or group["y10"]:
        return Read(span, float(year or 2000 + int(match[0][:2])), 0.0, None, kind="year")
    month = next((group[f"m{i}"] for i in (1, 2, 3, 4, 5, 6, 7, 9) if group[f"m{i}"]), "0")
    number = int(month) if month.isdigit() else 1 + MONTHS.index(month[:3].lower())
    day = next((int(group[f"d{i}"]) for i in (1, 2, 3, 7, 8, 9) if group[f"d{i}"]), 0)
    return Read(span, float(year * 10000 + number * 100 + day), 0.0, "date", kind="date", month=number)


def _worded(match: re.Match, text: str) -> Read:
    bound, compares = _bound(text[max(0, match.start() - 30) : match.start()], text, match.end())
    group = match.lastgroup
    if group == "what":
        value, what = float(_SPELLED[match["spelled"].lower()]), match["what"].lower().split()[0]
        full = match["what"].lower()
        scale = SCALES.get(what, 1.0)
        unit = {"percent": "percent", "per": "percent", "times": "ratio", "basis": "bp"}.get(what, "money")
        unit = "points" if full.startswith("percentage") else unit
        return Read(match.span(), value * scale, 0.5 * scale, unit, scale, step=scale, bound=bound, compares=compares)
    name = next(one for one in _WORD_VALUES if match[one])
    value, half, unit = _WORD_VALUES[name]
    if bound == "about":
        half *= 2
    end = match.end() - 3 if match[0].lower().endswith(" of") else match.end()
    step = 0.5 * value if bound and unit == "ratio" and value > 1 else half * 4  # 2.4 times is more than doubled
    return Read((match.start(), end), value, half, unit, step=step, bound=bound, compares=compares)


def _chinese(text: str) -> Iterable[Read]:
    """Numbers in Chinese numerals; 十年期, 第二道防线 and 一季度 are none."""
    multiples = [*_CHINESE_MULTIPLES.finditer(text)]
    taken = {i for one in multiples for i in range(*one.span())}
    found = []
    for match in multiples:
        bound, compares = _bound(text[max(0, match.start() - 16) : match.start()], text, match.end())
        value, half, unit = 2.0, 0.1, "ratio"
        if match["times"]:
            value = 2.0 ** _DIGITS[match["times"]]
            half = 0.05 * value
        elif match["half"]:
            value, half = 0.5, 0.025
        elif match["part"]:
            value, half, unit = 50.0, 2.5, "percent"
        found.append(Read(match.span(), value, half, unit, step=2 * half, bound=bound, compares=compares))
    for match in _NUMERAL.finditer(text):
        start, end = match.span()
        before = text[start - 1 : start]
        if start in taken or before in ("第", "几") or before.isdigit() or (before == "."):
            continue
        unit = next((one for one in ("points", "bp", "tenths", "ratio", "days", "after") if match[one]), None)
        numeral = match["numeral"]
        if not unit and not match["part"]:
            numeral = numeral.rstrip("十百千") if numeral[-1:] in "百千" and len(numeral) == 1 else numeral
            if not re.search("[万亿]", numeral):
                continue
        if unit == "days" and numeral in ("一",) and before in ("某", "同", "每", "当", "上", "前", "下", "次"):
            continue
        value, last = _numeral(numeral)
        if value is None:
            continue
        scale, currencies, name = 1.0, frozenset(), "money"
        if match["part"]:
            last *= {"百": 1.0, "千": 0.1, "万": 0.01}[match["part"][0]]
            value *= {"百": 1.0, "千": 0.1, "万": 0.01}[match["part"][0]]
            name = "percent"
        elif unit == "tenths":
            more = match["more"]
            value, last, name = (
                10 * value + (5 if more == "半" else _DIGITS.get(more, 0)),
                1.0 if more else 10.0,
                "percent",
            )
        elif unit == "after":
            currencies = CURRENCIES[match["after"]]
        elif unit:
            name = unit
        head = text[max(0, start - 16) : start]
        if unit == "ratio" and _GROWS.search(head):
            value += 1.0
        bound, compares = _bound(head, text, end)
        value = -value if match["minus"] else value
        sign = -1 if match["minus"] else 0
        found.append(
            Read(
                (start, end),
                value,
                0.5 * last,
                name,
                scale,
                currencies,
                sign,
                step=last,
                bound=bound,
                compares=compares,
            )
        )
    return sorted(found, key=lambda one: one.span)


def _numeral(numeral: str) -> tuple[float | None, float]:
    """Value of a Chinese numeral and the unit of its last digit; (None, 0) where it is none."""
    whole, _, decimals = numeral.partition("点")
    scale = 1.0
    if decimals:
        for word in ("万亿", "亿", "万"):  # 三点五亿
            if decimals.endswith(word):
                decimals, scale = decimals[: -len(word)], SCALES[word]
                break
        digits = "".join(str(_DIGITS[one]) for one in decimals)
    total, section, number, last = 0.0, 0.0, 0.0, 1.0
    seen = False
    for char in whole:
        if char in _DIGITS:
            number = number * 10 + _DIGITS[char] if seen and number and char not in "零〇" else _DIGITS[char]
            seen, last = True, 1.0
        elif char in _TENS:
            section += (number if seen else 1.0) * _TENS[char]
            number, seen, last = 0.0, False, _TENS[char]
        else:
            size = 1e4 if char == "万" else 1e8
            part = section + number
            if part == 0 and total == 0:
                return None, 0.0
            total = (total + part) * size if size > last * 1e3 and total and total < size else total + part * size
            section, number, seen, last = 0.0, 0.0, False, last * size
    value = total + section + number
    if decimals:
        value += float(f"0.{digits}")
        last = 10.0 ** -len(digits)
    return value * scale, last * scale


def _compound(first: Read, second: Read, text: str) -> Read | None:
    """1亿2000万 as one number."""
    touches = first.span[1] == second.span[0] and first.scale > second.scale > 1.0
    if not touches or first.currencies or second.sign or not text[first.span[1] - 1 : first.span[1]] > "一":
        return None
    if abs(second.value) >= first.scale:
        return None
    value = first.value + (-second.value if first.value < 0 else second.value)
    return second._replace(
        span=(first.span[0], second.span[1]),
        value=value,
        sign=first.sign,
        bound=first.bound,
        compares=first.compares,
        currencies=second.currencies or first.currencies,
    )


def _ranges(found: list[Read], text: str) -> None:
    """Gives the first end of "5 to 6m" the scale of the second, and both their ends."""
    for i in range(len(found) - 1):
        one, two = found[i], found[i + 1]
        gap = two.span[0] - one.span[1]
        if not 0 <= gap <= 5 or one.kind or two.kind or one.ignored or two.ignored:
            continue
        between = text[one.span[1] : two.span[0]]
        head = text[max(0, one.span[0] - 14) : one.span[0]]
        joined = _RANGE.fullmatch(between) or (between == " and " and _BETWEEN.search(head))
        dash = gap == 0 and two.sign < 0 and text[two.span[0]] == "-"  # "5亿-6亿": no sign; but one in "3年-6.2万元"
        if dash and (one.unit not in DURATIONS or two.unit == one.unit):
            joined, two = True, two._replace(value=-two.value, sign=0, span=(two.span[0] + 1, two.span[1]))
        if not joined:
            continue
        scale = two.scale
        # "from 847,247 to 647.0k" shares nothing, nor does "from 2.00 to 1.0k": who shares a scale shares decimals
        if (
            one.unit is None
            and two.unit is not None
            and one.half * scale > two.half / 2
            and (scale == 1.0 or abs(one.value * scale) < 20 * abs(two.value))
        ):
            one = one._replace(
                value=bounded(one.value * scale), half=bounded(one.half * scale), step=bounded(one.step * scale),
                scale=scale, unit=two.unit, currencies=two.currencies,
            )  # fmt: skip
        elif (
            one.unit == "money"
            and two.unit == "money"
            and one.scale == 1.0 < two.scale
            and one.value < two.value / 100
        ):
            scale = two.scale  # "$5 to 6m"
            one = one._replace(
                value=bounded(one.value * scale), half=one.half * scale, step=one.step * scale, scale=scale
            )
        if two.unit == one.unit and not _FROM.search(head) and abs(one.value) < abs(two.value):
            ends = (min(one.value, two.value), max(one.value, two.value))
            one, two = one._replace(ends=ends), two._replace(ends=ends)
        found[i], found[i + 1] = one, two
