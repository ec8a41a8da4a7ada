"""Personal data in desk texts, found by presidio-analyzer on a blank spaCy pipeline: patterns and check digits only.

No language model is loaded, so a name is found only where a title or a role introduces it.
"""

import ipaddress
import re
from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple, get_args

from riskscribe.case import ID_PATTERN

Languages = Literal["en", "zh", "both"]
Kind = Literal[
    "URL", "EMAIL", "CN_ID", "IBAN", "BANK_CARD", "CREDIT_CARD", "PHONE", "ACCOUNT", "TRADE_REF", "IP", "PERSON"
]
# kept apart consistently by a keyed hash: who holds the key can follow a trade or an account through a file
PSEUDONYMS = ("ACCOUNT", "TRADE_REF")
PLACEHOLDER = rf"<(?:{'|'.join(get_args(Kind))})_(?:[A-Z]{{1,4}}|[a-z]{{10}})>"
# a field that holds a name needs no word before it
NAME_FIELDS = ("author", "owner", "approved_by", "approver", "reviewed_by", "signed_by")


class Span(NamedTuple):
    """Characters `start` to `end` of a text, and what they are."""

    start: int
    end: int
    kind: Kind


# --- check digits


def _digits(text: str) -> str:
    return re.sub(r"[^0-9]", "", text)


def luhn(text: str) -> bool:
    """Whether the digits of a card number end in their check digit (ISO/IEC 7812-1)."""
    digits = [int(one) for one in reversed(_digits(text))]
    doubled = (sum(divmod(2 * one, 10)) for one in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def resident_id(text: str) -> bool:
    """Whether 18 characters end in the check character of a Chinese resident ID (GB 11643, ISO 7064 MOD 11-2)."""
    weighted = sum(int(one) * pow(2, 17 - i, 11) for i, one in enumerate(text[:17]))
    return "10X98765432"[weighted % 11] == text[17].upper()


def _address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


# --- patterns; texts are read with full-width characters as ASCII

_HAN = "\u4e00-\u9fff"
_NO_NUMBER_BEFORE = r"(?<![0-9A-Za-z])(?<![0-9][.,])(?<![$€£¥])"
_NO_NUMBER_AFTER = r"(?![0-9A-Za-z])(?![.,][0-9])"
_NAMELESS = (
    "All|Americas|Approv(?:al|ed)|Asia|Authority|Bank|Barclays|Board|Book|Breach|Business|CEO|CFO|CRO|Capital|Chief|"
    "China|Clearing|Colleagues?|Committee|Commodit(?:y|ies)|Compliance|Control|Copper|Credit|Deal|Delta|Department|"
    "Derivatives|Desk|Deutsche|Division|Equit(?:y|ies)|Europe|Excess|Exchange|Exotics|Exposure|Finance|Financial|"
    "Fixed|Front|Fund|Funding|Global|Gold|Goldman|Group|Hard|Head|Hedge|Holdings?|Income|Independent|Insurance|"
    "Internal|Investment|Level|Limited|Limits?|Line|London|Loss|Macro|Management|Manager|Market|Middle|Model|Morgan|"
    "New|Office|Officer|Operations|Options?|Policy|Portfolio|Product|Quant|Rates|Regional|Report|Review|Risk|Sachs|"
    "Sales|Second|Securities|Senior|Shanghai|Sirs?|Soft|Stanley|Street|Stress|Structured|Team|Technology|The|This|"
    "Dr|Miss|Mr|Mrs|Ms|Mx|Prof|Professor|Trader|Trading|Treasury|Trust|Validation|Value|Vega|Volatility|Warning|York"
)
_NAME = rf"(?!(?:{_NAMELESS})\b)\p{{Lu}}(?:\p{{Ll}}+|['’]\p{{Lu}}\p{{Ll}}+)(?:-\p{{Lu}}?\p{{Ll}}+)*\b"
_INITIAL = r"(?:\p{Lu}\.\s?)"
_TITLES = r"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Madam|Dear)\.?\s{1,2}"
_ROLES = (
    r"\b(?i:trader|dealer|salesperson|broker|analyst|manager,?|officer|CRO|CFO|CEO|desk head|head of [a-z ]{2,20},|"
    r"approved by|approver|reviewed by|reviewer|signed by|signed off by|prepared by|written by|reported by|"
    r"requested by|submitted by|confirmed by|agreed with|sent by|escalated to|client|spoke to|spoke with|author|owner|"
    r"contact|attn|signed|regards,?)(?i:\s(?:is|was))?\s?[:.,]?\s{1,2}"
)
# the hundred most frequent surnames and a few of two characters
_SURNAME = (
    "(?:欧阳|司马|诸葛|上官|司徒|东方|夏侯|皇甫|尉迟|令狐|"
    "[王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔"
    "钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤])"
)
# words that begin with a surname's character
_NO_NAME = (
    "(?!高级|高等|高度|高频|高管|高于|高位|高盛|金融|金属|金额|金价|金管|金瑞|方面|方向|方案|方法|方正|成本|万元|万手|万吨|"
    "向上|向下|任何|任务|任期|石油|石化|白银|白糖|黄金|马上|于是|于该|周期|周度|周一|周二|周三|周四|周五|严格|严重|毛利|钱款|"
    "江苏|江南|江西|史上|夏季|程序|程度|曾经|曾任|余额|余下|董事|顾问|顾客|段时|何时|龙头|付款|付息|许可|许多|谢谢|陈述|杜绝|"
    "林业|田间|丁二|陆续|陆股|汪洋|雷曼)"
)
_ZH_TITLES = (
    "(?:先生|女士|小姐|经理|总监|主任|博士|教授|行长|老师|处长|科长|主管|总(?![额计量体和数结部裁是共的敞值行经]))"
)
_ZH_LINK = r"[:为是\s]{0,3}"
_ZH_ROLES = (
    "(?:交易员|联系人|审批人|批准人|负责人|经办人|复核人|签字人|报告人|填报人|审核人|客户经理|风险经理|分析师|撰写人|"
    f"作者|姓名|致电|联系|询问|客户){_ZH_LINK}|(?:经办|复核|审核|审批|签发|签名):\\s?"
)
_ZH_AFTER = (
    f"(?=$|[^{_HAN}]|的|已|于|在|确|批|报|表|认|说|称|要|请|告|将|与|和|及|同意|平仓|执行|负责|提|签|审|复核|先生|女士|经理|"
    "反馈|建议|指出|发|未|也|对|按)"
)
# five digits that follow each other, hyphens between them or not
_FIVE = r"(?=[A-Z0-9-]*(?:[0-9]-?){5})"


def _reference(least: int) -> str:
    """A code of capitals and digits, at least one digit, in `least` + 1 characters or more."""
    code = rf"(?=[A-Z0-9/_-]*[0-9])[A-Z0-9](?:[A-Z0-9]|[/_-](?=[A-Z0-9])){{{least},40}}"
    return rf"{code}(?![.,]?[0-9A-Za-z])"


class _Rule(NamedTuple):
    kind: Kind
    pattern: str
    language: Literal["any", "en", "zh"] = "any"
    check: Callable[[str], bool] | None = None


_END = "(?![0-9A-Za-z])"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
_CARD = r"[0-9]{4}(?:[ -]?[0-9]{4}){2}[ -]?[0-9]{1,4}(?:[ -]?[0-9]{1,3})?"
_CHINA = r"(?:(?:\+|00)?86[ -]?)?"
_RULES = (
    _Rule(
        "EMAIL",
        r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![A-Za-z0-9-])",
    ),
    _Rule(
        "URL",
        r"(?<![A-Za-z0-9])(?:(?i:https?|ftp)://|(?i:www)\.)[A-Za-z0-9._~:/?#@!$&*+,;=%-]*[A-Za-z0-9/_=&#%-]",
    ),
    _Rule(
        "IP",
        r"(?<![0-9A-Za-z_.])(?<!\b(?i:version|ver|v)\.?\s?)"
        rf"(?:{_OCTET}\.){{3}}{_OCTET}(?![0-9A-Za-z_%]|\.[0-9])",
    ),
    _Rule(
        "IP",
        r"(?<![0-9A-Za-z_:.])(?=[0-9A-Fa-f]*:[0-9A-Fa-f]*:)[0-9A-Fa-f:]{4,39}(?![0-9A-Za-z_:])",
        check=_address,
    ),
    _Rule("CN_ID", rf"(?<![0-9A-Za-z.,])[1-9][0-9]{{5}}(?:18|19|20)[0-9]{{9}}[0-9Xx]{_END}", check=resident_id),
    _Rule("CN_ID", rf"(?<=身份证(?:号码?|件号码?)?{_ZH_LINK})[0-9]{{15}}(?:[0-9]{{2}}[0-9Xx])?{_END}", "zh"),
    _Rule("BANK_CARD", rf"{_NO_NUMBER_BEFORE}(?=62){_CARD}{_NO_NUMBER_AFTER}", check=luhn),
    _Rule(
        "BANK_CARD",
        rf"(?<=(?:卡号|银行卡|借记卡|储蓄卡|信用卡){_ZH_LINK})[0-9](?:[ -]?[0-9]){{11,18}}{_END}",
        "zh",
    ),
    _Rule(
        "CREDIT_CARD", rf"{_NO_NUMBER_BEFORE}(?=4|5[1-5]|2[2-7]|35|6011|64|65){_CARD}{_NO_NUMBER_AFTER}", check=luhn
    ),
    _Rule(
        "CREDIT_CARD",
        rf"{_NO_NUMBER_BEFORE}3[47][0-9]{{2}}[ -]?[0-9]{{6}}[ -]?[0-9]{{5}}{_NO_NUMBER_AFTER}",
        check=luhn,
    ),
    _Rule(
        "PHONE",
        rf"{_NO_NUMBER_BEFORE}{_CHINA}1[3-9][0-9](?:[0-9]{{8}}|(?:[ -][0-9]{{4}}){{2}}){_NO_NUMBER_AFTER}",
        "zh",
    ),
    _Rule(
        "PHONE",
        rf"{_NO_NUMBER_BEFORE}{_CHINA}\(?0(?:10|2[0-9]|[3-9][0-9]{{2}})(?:\)[ -]?|-)"
        rf"[2-8][0-9]{{3}}[ -]?[0-9]{{3,4}}{_NO_NUMBER_AFTER}",
        "zh",
    ),
    _Rule("PHONE", rf"{_NO_NUMBER_BEFORE}[48]00-[0-9]{{3,4}}-[0-9]{{3,4}}{_NO_NUMBER_AFTER}", "zh"),
    _Rule(
        "ACCOUNT",
        r"(?<=\b(?<!into )(?i:account|acct|a/c)(?i:\s?(?:no|number|num|id|nr))?\.?\s?[:#]?\s{0,2})"
        + _FIVE
        + _reference(4),
        "en",
    ),
    _Rule("ACCOUNT", rf"(?<=[账帐][号户]号?码?{_ZH_LINK}){_FIVE}{_reference(5)}", "zh"),
    _Rule(
        "TRADE_REF",
        r"(?<=\b(?i:trade|deal|ticket|transaction|confirmation|order|contract|booking|UTI|USI)\s?"
        r"(?i:ref(?:erence)?|id|no|number|nr)\.?\s?[:#]?\s{0,2})" + _reference(3),
        "en",
    ),
    _Rule(
        "TRADE_REF",
        r"(?<=\b(?i:trade|deal|ticket|order|ref(?:erence)?|UTI|USI)\.?(?:\s?[:#]\s?|\s))" + _FIVE + _reference(4),
        "en",
    ),
    _Rule(
        "TRADE_REF",
        r"(?<![A-Za-z0-9-])(?:TRD|TRADE|DEAL|TKT|TICKET|MX|UTI|CONF)[-_]?(?=[0-9]|[A-Z]{1,4}[-_]?[0-9])"
        + _reference(3),
    ),
    _Rule(
        "TRADE_REF",
        "(?<=(?:交易|成交|合同|流水|订单|委托|确认书|指令)(?:编号|号码|流水号|参考号|单号|号)"
        rf"{_ZH_LINK}){_reference(3)}",
        "zh",
    ),
    _Rule("PERSON", rf"(?<={_TITLES}){_INITIAL}{{0,2}}{_NAME}(?:\s{_INITIAL}?{_NAME}){{0,2}}", "en"),
    _Rule("PERSON", rf"(?<={_ROLES})(?:{_INITIAL}{{1,2}}{_NAME}|{_NAME}\s{_INITIAL}?{_NAME}(?:\s{_NAME})?)", "en"),
    _Rule(
        "PERSON",
        rf"(?<=^|[^{_HAN}]|[请由与和致对给经及是为]){_NO_NAME}{_SURNAME}[{_HAN}]{{0,2}}?(?={_ZH_TITLES})",
        "zh",
    ),
    _Rule("PERSON", rf"(?<={_ZH_ROLES}){_NO_NAME}{_SURNAME}[{_HAN}]{{1,2}}?{_ZH_AFTER}", "zh"),
)

# --- what stays, whatever a pattern says

_CURRENCY = "USD|EUR|GBP|JPY|CNY|CNH|HKD|CHF|AUD|CAD|NZD|SGD|KRW|TWD|INR|SEK|NOK|BRL|MXN|RMB|US\\$|HK\\$|[$€£¥]"
_AMOUNT = r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?"
_UNIT = (
    rf"(?:(?:{_CURRENCY}|%|bps?|basis points?|percent|m|mn|mm|bn|k|tn|million|billion|thousand|lots?|contracts?|"
    "shares?|bbl|barrels?|oz|tonnes?|mt|vol|days?)(?![A-Za-z0-9])|"
    "[万亿千百元股手张吨桶点天日年月个笔份倍]|美元|欧元|英镑|日元|港元|人民币|基点)"
)
_IDS = re.compile(rf"(?<![A-Za-z0-9./@-])(?:{ID_PATTERN}|c-[a-z0-9]{{6,16}})(?![A-Za-z0-9-])|{PLACEHOLDER}")
_KEPT = (
    re.compile(r"(?<![A-Za-z0-9_-])[0-9]{4}([-/.])[0-9]{1,2}\1[0-9]{1,2}(?![A-Za-z0-9_-])"),
    re.compile(rf"(?<![A-Za-z0-9])(?:{_CURRENCY})\s?{_AMOUNT}(?![0-9])"),
    re.compile(rf"(?<![0-9A-Za-z.,]){_AMOUNT}\s?{_UNIT}"),
    re.compile(r"(?<![0-9A-Za-z.,])[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?(?![0-9])"),
    re.compile(r"(?<![0-9A-Za-z.,])[+-]?[0-9]+\.[0-9]+(?![0-9.])"),
)
_REGIONS = ("US", "GB", "HK", "SG", "CN", "JP", "DE", "FR", "CH", "AU")
_PHONE_CUE = re.compile(
    r"(?:\b(?:tel|telephone|phone|mobile|cell|fax|whatsapp|(?:ring|call (?:me|him|her|them|us))(?: (?:on|at))?)"
    r"(?:\s?(?:no|number))?\b|电话|手机号?码?|传真|座机|联系方式)[.:为是\s]{0,3}",
    re.IGNORECASE,
)
# strings without any of these hold nothing that a rule looks for
_MAYBE = re.compile(rf"[0-9@]|://|:.*:|(?i:www\.)|{_TITLES}|{_ROLES}|[{_HAN}]".replace(r"\p{Lu}", "[A-Z]"))


_WIDE = {"\u3000": " ", "–": "-", "—": "-"}


def _plain(text: str) -> str:
    """Full-width characters and dashes as ASCII, character by character, so that spans stay true."""
    return "".join(chr(ord(char) - 0xFEE0) if "！" <= char <= "～" else _WIDE.get(char, char) for char in text)


@cache
def _engine(language: Languages):
    """The presidio analyzer with the rules of a language; its own language is spaCy's `xx`, which has no model."""
    import regex
    import spacy
    from presidio_analyzer import AnalyzerEngine, EntityRecognizer, Pattern, PatternRecognizer, RecognizerResult
    from presidio_analyzer.nlp_engine import SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import IbanRecognizer
    from presidio_analyzer.recognizer_registry import RecognizerRegistry

    class Checked(PatternRecognizer):
        def __init__(self, rule: _Rule, number: int):
            name = f"{rule.kind}-{number}"
            super().__init__(
                supported_entity=rule.kind,
                name=name,
                supported_language="xx",
                patterns=[Pattern(name, rule.pattern, 0.8)],
                global_regex_flags=regex.MULTILINE,
            )
            self.check = rule.check

        def validate_result(self, pattern_text: str) -> bool | None:
            return self.check(pattern_text) if self.check else None

    class Phones(EntityRecognizer):
        """Numbers with a country code, and national ones behind a word that says what they are."""

        def load(self) -> None:
            pass

        def analyze(self, text: str, entities: list[str], nlp_artifacts=None) -> list:
            return [RecognizerResult("PHONE", *span, 0.7) for span in _phones(text)]

    class Blank(SpacyNlpEngine):
        def __init__(self):
            super().__init__(models=[{"lang_code": "xx", "model_name": "blank"}])
            self.nlp = {"xx": spacy.blank("xx")}

    recognizers = [
        Checked(rule, number)
        for number, rule in enumerate(_RULES)
        if language == "both" or rule.language in ("any", language)
    ]
    recognizers.append(Phones(supported_entities=["PHONE"], name="phones", supported_language="xx"))
    recognizers.append(IbanRecognizer(supported_language="xx", supported_entity="IBAN"))
    registry = RecognizerRegistry(recognizers=recognizers, supported_languages=["xx"])
    return AnalyzerEngine(registry=registry, nlp_engine=Blank(), supported_languages=["xx"])


def _phones(text: str) -> list[tuple[int, int]]:
    import phonenumbers

    found = []
    if "+" in text:
        found += [(one.start, one.end) for one in phonenumbers.PhoneNumberMatcher(text, None)]
    for cue in _PHONE_CUE.finditer(text):
        window = text[cue.end() : cue.end() + 30]
        if any(pattern.match(window) for pattern in _KEPT):
            continue  # a date or an amount, and whatever digits come after it
        for region in _REGIONS:
            first = next(iter(phonenumbers.PhoneNumberMatcher(window, region)), None)
            if first is not None and first.start <= 1:
                found.append((cue.end() + first.start, cue.end() + first.end))
                break
    return found


# where two of one length meet, the one with more structure
_RANK = {kind: rank for rank, kind in enumerate(get_args(Kind))}


def find(text: str, language: Languages = "both", field: str | None = None) -> list[Span]:
    """Personal data in `text`, left to right, without overlaps; the longest wins.

    Evidence ids, placeholders, dates and amounts (with a currency, a unit, decimals or thousands separators) stay.

    Args:
        text: English or Chinese prose, or the value of a field.
        language: whose rules apply; e-mail, URL, IP, cards, IBAN and numbers with a country code are of no language.
        field: the name of the field; in `NAME_FIELDS` a name stands without a word that introduces it.
    """
    if field in NAME_FIELDS:
        cue = "审批人:" if re.match(f"[{_HAN}]", text) else "approved by: "
        moved = [Span(start - len(cue), end - len(cue), kind) for start, end, kind in find(cue + text, language)]
        return [one for one in moved if one.start >= 0]
    if not _MAYBE.search(text):
        return []
    plain = _plain(text)
    ids = [one.span() for one in _IDS.finditer(plain)]
    kept = ids + [one.span() for pattern in _KEPT for one in pattern.finditer(plain)]
    if any(span == (0, len(plain)) for span in kept):
        return []
    hits = [Span(one.start, one.end, one.entity_type) for one in _engine(language).analyze(plain, "xx")]
    chosen: list[Span] = []
    for hit in sorted(hits, key=lambda one: (one.start - one.end, _RANK[one.kind], one.start)):
        inside = any(start <= hit.start and hit.end <= end for start, end in kept)
        touches = [*ids, *((one.start, one.end) for one in chosen)]
        if not inside and not any(start < hit.end and hit.start < end for start, end in touches):
            chosen.append(hit)
    return sorted(chosen)
