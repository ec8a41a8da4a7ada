"""What every import does with its numbers: short ids, merged data-quality lines, a book short enough to prompt."""

import hashlib
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

from riskscribe import policy as rules
from riskscribe.case import PREFIX, Case, DataQuality, Evidence, Issue, Language, Limit, Position, Sensitivity
from riskscribe.errors import InputError
from riskscribe.files import validate

# without I, O, 0 and 1: people confuse them
CODE = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
LETTERS = CODE[8:]
ID_LENGTH = (
    2  # as in the generated cases (books.py): a letter, so that no id looks like a running number, and one more
)
# above this the small trades are shown together: a longer prompt is unlike anything the model was tuned on
MAX_POSITIONS, SHOWN = 8, 6

_DETAILS: dict[Language, dict[str, str]] = {
    "en": {
        "book_npv": "book NPV is {a:.2f} in npv.csv, {b:.2f} in {file}; {count} of {of} trades differ",
        "trade_npv": "trade NPV {a:.2f} in npv.csv, {b:.2f} in {file}; {count} of {of} trades differ",
        "stress_sums": "stresstest.csv rows that are not scenario less base NPV: {count}",
        "rates": "{currency} rate is {a:.4f} by npv.csv, {b:.4f} by {other}",
        "components": "components add up to {a:.2f}, VaR is {b:.2f}",
        "stress_components": "components add up to {a:.2f}, stress loss is {b:.2f}",
        "no_mtm": "positions without mtm: {count}",
        "quantile": "{count} of {of} windows lose more than VaR {a:.2f}",
        "tail": "ES named {pct:g}% is {a:.2f}, below VaR; the loss tail is {b:.2f}",
        "no_es": "ES {a:.2f} is below VaR {b:.2f} and left out",
        "es_history": "ES is {a:.2f}, the windows give {b:.2f}",
        "converted": "NPV in {currencies}, reported in {base}",
        "unpriced": "trades with NPV {na}: {count} ({names})",
        "failed_trades": "trades that the engine could not build: {count} ({names})",
        "zero_npv": "NPV exactly 0: {count}",
        "unpriced_scenarios": "scenarios without a priced trade: {count} ({names})",
        "stressed_rows": "sensitivities of stress scenarios left out: {count} rows",
        "repeated": "rows that stand more than once, taken once: {count}",
        "no_currency": "no rate for {currency}",
        "hazard_shift": "zero rows move the hazard rate; par sensitivities are needed",
        "no_level": "no level of {factor}",
        "no_limit": "no limit asks for {classes}: {count} rows",
        "crif": "CRIF rows in {file}, used by no limit: {count}",
        "no_margin_total": "{file} has no total",
        "no_gamma": "rows with gamma {na}, used by no limit: {count}",
        "not_compared": "{limits} not compared: {why}",
        "zero_shifts": "zero shift with a delta in {count} rows",
        "unused_shifts": "zero shift with a delta in {count} rows, used by no limit",
        "odd_shifts": "volatility shifts {a:g} to {b:g} are not 1 vol point",
        "no_file": "no {file}",
        "empty_file": "nothing to compare in {file}",
        "no_factor": "no row for {factor}",
        "not_available": "{what} is {na}",
        "no_rate": "no rate for {first} or {second}",
        "other_horizon": "VaR is {held}, limit is {asked}",
        "no_trade": "no trade with {counterparty}",
        "stress_rows": "{scenario} has rows for {count} of {of} trades",
        "delta_rows": "sensitivity.csv has rows for {count} of {of} trades",
        "strangers": "trades of {file} that are not in npv.csv: {count}",
        "var_classes": "var.csv has no row for {classes}",
        "no_loss_tail": "var.csv has no loss quantile",
        "gains": "no loss in {count} scenarios",
        "var_gain": "the {pct:g}% quantile is a gain",
        "windows": "{count} windows of {days} days overlap",
        "as_of": "maturities imply {implied}, as-of is {as_of}",
        "owner": "limits without owner: {count}",
        "counterparty": "trades without counterparty: {count}",
        "others_unpriced": "{count} other trades, not priced",
        "others_up": "{count} other trades, MTM gains",
        "others_down": "{count} other trades, MTM losses",
    },
    "zh": {
        "book_npv": "账簿NPV：npv.csv为{a:.2f}，{file}为{b:.2f}；{of}笔中{count}笔不一致",
        "trade_npv": "交易NPV：npv.csv为{a:.2f}，{file}为{b:.2f}；{of}笔中{count}笔不一致",
        "stress_sums": "stresstest.csv有{count}行不等于情景NPV减基准NPV",
        "rates": "{currency}汇率：npv.csv为{a:.4f}，{other}为{b:.4f}",
        "components": "成分合计{a:.2f}，VaR为{b:.2f}",
        "stress_components": "成分合计{a:.2f}，压力损失为{b:.2f}",
        "no_mtm": "{count}个头寸没有市值",
        "quantile": "{of}个窗口中{count}个亏损超过VaR {a:.2f}",
        "tail": "名为{pct:g}%的ES为{a:.2f}，小于VaR；亏损尾部为{b:.2f}",
        "no_es": "ES {a:.2f}小于VaR {b:.2f}，未采用",
        "es_history": "ES为{a:.2f}，窗口计算为{b:.2f}",
        "converted": "NPV以{currencies}计，报告以{base}计",
        "unpriced": "{count}笔交易的NPV为{na}（{names}）",
        "failed_trades": "{count}笔交易引擎无法构建（{names}）",
        "zero_npv": "{count}笔NPV恰为0",
        "unpriced_scenarios": "{count}个情景没有已定价的交易（{names}）",
        "stressed_rows": "压力情景下的敏感度未采用：{count}行",
        "repeated": "{count}行重复，只计一次",
        "no_currency": "没有{currency}汇率",
        "hazard_shift": "零息行扰动的是违约强度；需要par敏感度",
        "no_level": "没有{factor}的水平值",
        "no_limit": "没有针对{classes}的限额：{count}行",
        "crif": "{file}有{count}行CRIF，无限额使用",
        "no_margin_total": "{file}没有合计行",
        "no_gamma": "{count}行Gamma为{na}，无限额使用",
        "not_compared": "{limits}未比较：{why}",
        "zero_shifts": "{count}行扰动为零但有Delta",
        "unused_shifts": "{count}行扰动为零但有Delta，无限额使用",
        "odd_shifts": "波动率扰动{a:g}至{b:g}，不是1个波动率点",
        "no_file": "没有{file}",
        "empty_file": "{file}没有可比较的数值",
        "no_factor": "没有{factor}行",
        "not_available": "{what}为{na}",
        "no_rate": "没有{first}或{second}汇率",
        "other_horizon": "VaR为{held}，限额为{asked}",
        "no_trade": "没有与{counterparty}的交易",
        "stress_rows": "{scenario}仅含{of}笔交易中的{count}笔",
        "delta_rows": "sensitivity.csv仅含{of}笔交易中的{count}笔",
        "strangers": "{file}有{count}笔交易不在npv.csv",
        "var_classes": "var.csv没有{classes}行",
        "no_loss_tail": "var.csv没有亏损分位数",
        "gains": "{count}个情景均无亏损",
        "var_gain": "{pct:g}%分位数为盈利",
        "windows": "{count}个{days}天窗口重叠",
        "as_of": "到期日推算估值日为{implied}，案例日期为{as_of}",
        "owner": "{count}个限额无负责人",
        "counterparty": "{count}笔交易无交易对手",
        "others_unpriced": "其余{count}笔未定价交易",
        "others_up": "其余{count}笔盈利交易",
        "others_down": "其余{count}笔亏损交易",
    },
}


def say(language: Language, key: str, **values: Any) -> str:
    """A short fixed wording in the case's language."""
    return _DETAILS[language][key].format(**values)


def code(length: int, *parts: str) -> str:
    """`length` characters (at most 32) that depend on `parts` alone."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return "".join(CODE[byte % len(CODE)] for byte in digest[:length])


def case_id(*parts: str) -> str:
    """An opaque case id that depends on what the case was made from."""
    return "c-" + code(8, *parts).lower()


class Ids:
    """Evidence ids, unique in a case: the prefix of the kind and a code made from the house's own name of a thing.

    A desk's trade keeps its id from day to day; another desk's has another one, so that no code becomes a word.
    """

    def __init__(self, desk: str):
        self.desk = desk
        self.used: set[str] = set()

    def keep(self, given: str) -> str:
        """Take an id that the house chose itself."""
        self.used.add(given)
        return given

    def __call__(self, kind: str, *name: str) -> str:
        for attempt in count():
            # a large book runs out of short codes and gets longer ones
            made = code(min(8, ID_LENGTH + attempt // 16), self.desk, kind, *name, str(attempt))
            made = f"{PREFIX[kind]}-{LETTERS[CODE.index(made[0]) % len(LETTERS)]}{made[1:]}"
            if made not in self.used:
                return self.keep(made)


class Flags:
    """Data-quality findings, merged to one line an issue and weight."""

    def __init__(self, language: Language):
        self.language = language
        # dicts, not lists: ordered, and each detail and id once
        self.found: dict[tuple[Issue, bool], tuple[dict[str, None], dict[str, None]]] = {}

    def add(self, issue: Issue, material: bool, affects: Iterable[str], wording: str, **values: Any) -> None:
        """Note a finding about the evidence `affects`; `wording` is a key of the fixed details."""
        details, ids = self.found.setdefault((issue, material), ({}, {}))
        details[say(self.language, wording, **values)] = None
        ids |= dict.fromkeys(affects)

    def spread(self, source: str, also: Iterable[str]) -> None:
        """What makes `source` doubtful makes `also` doubtful: a limit is no better than the line it compares."""
        for (_, material), (_, ids) in self.found.items():
            if material and source in ids:
                ids |= dict.fromkeys(also)

    def lines(self, ids: Ids, known: dict[str, str] | None = None) -> list[DataQuality]:
        """One evidence line an issue and weight; `known` gives the evidence id of a trade's name."""
        joint = "；" if self.language == "zh" else "; "
        return [
            DataQuality(
                id=ids("data_quality", issue, *details),
                issue=issue,
                material=material,
                affects=[(known or {}).get(one, one) for one in affects],
                detail=joint.join(details)[:2000],
            )
            for (issue, material), (details, affects) in self.found.items()
        ]


def check_limit(measure: str, side: str, value: float, where: str) -> None:
    """Refuse a limit whose sign convention would hide its use.

    Stress P&L is signed and only a loss uses the limit; VaR, exposure and concentration are positive uses.
    """
    if measure == "stress" and side != "lower":
        raise InputError(f"{where}: a stress limit has side 'lower' (signed P&L, a loss is negative), got {side!r}")
    if measure in ("var", "exposure", "concentration", "jump_to_default"):
        if side == "lower":
            raise InputError(f"{where}: a limit on {measure} has side 'upper', got 'lower'")
        if value < 0:
            raise InputError(f"{where}: {measure} is a positive number, got {value:g}")


def flag_owners(limits: list[Limit], flags: Flags) -> None:
    """A limit without an owner is a finding, not a refusal."""
    orphans = [one.id for one in limits if not one.owner]
    if orphans:
        flags.add("missing_owner", False, orphans, "owner", count=len(orphans))


def condense(
    positions: list[Position], flags: list[DataQuality], rates: dict[str, float], ids: Ids, language: Language
) -> tuple[list[Position], list[DataQuality]]:
    """Show the small trades of a large book together, and the flags on them too.

    Trades of one currency, sign and data-quality weight are summed, so that gross |MTM|, gross standalone VaR and
    coverage stay exact; trades without an MTM are summed by their previous one. Greeks are summed too.
    """
    if len(positions) <= MAX_POSITIONS:
        return positions, flags
    doubted = {one for flag in flags if flag.material for one in flag.affects}

    def worth(one: Position) -> float:
        return (one.mtm if one.mtm is not None else one.previous or 0.0) * rates.get(one.currency, 1.0)

    by_size = sorted(positions, key=lambda one: -abs(worth(one)))
    kept, groups = set(map(id, by_size[:SHOWN])), {}
    for one in by_size[SHOWN:]:
        priced = one.mtm is not None
        key = (one.currency, worth(one) >= 0, one.id in doubted, priced, priced or one.previous is not None)
        groups.setdefault(key, []).append(one)
    shown, now = [one for one in positions if id(one) in kept], {}
    for (_, up, _, priced, _), group in groups.items():
        if len(group) == 1:
            shown += group
            continue
        wording = "others_unpriced" if not priced else "others_up" if up else "others_down"
        made = _sum(group, ids, say(language, wording, count=len(group)))
        shown.append(made)
        now |= {one.id: made.id for one in group}
    moved = [
        flag.model_copy(update={"affects": list(dict.fromkeys(now.get(one, one) for one in flag.affects))})
        for flag in flags
    ]
    return shown, moved


def _sum(group: list[Position], ids: Ids, name: str) -> Position:
    """One line for several trades of one currency; a figure that one of them lacks is not available."""

    def total(field: str) -> float | None:
        values = [getattr(one, field) for one in group]
        return None if None in values else round(sum(values), 6)

    greeks: dict[tuple[str, str | None, str, str], float] = {}
    for one in group:
        for greek in one.sensitivities:
            key = (greek.measure, greek.factor, greek.bump, greek.currency)
            greeks[key] = greeks.get(key, 0.0) + greek.value
    return Position(
        id=ids("position", *sorted(one.id for one in group)),
        instrument=name,
        mtm=total("mtm"),
        currency=group[0].currency,
        previous=total("previous"),
        standalone_var=total("standalone_var"),
        sensitivities=[
            Sensitivity(measure=measure, factor=factor, bump=bump, currency=currency, value=round(value, 6))
            for (measure, factor, bump, currency), value in greeks.items()
        ],
    )


def finish(fields: dict[str, Any], evidence: list[Evidence], where: Path) -> Case:
    """The checked case with every limit's status filled in by the policy."""
    return rules.annotate(validate(Case, fields | {"evidence": evidence}, str(where)))
