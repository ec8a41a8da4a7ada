"""The gold report of a case: the policy's findings in one of several wordings, English or Chinese."""

import random

from riskscribe import policy as rules
from riskscribe.case import Case, DataQuality, Limit, Stress, ValueAtRisk
from riskscribe.prompt import ISSUES, amount, limit_name, percent, utilisation
from riskscribe.report import Driver, RecommendedAction, Report

WORDINGS: dict[str, dict[str, list[str]]] = {
    "en": {
        "increases": [
            "{factor} adds {size}, {share} of VaR [{id}].",
            "{factor} contributes {size} ({share} of VaR) [{id}].",
            "{share} of VaR, {size}, comes from {factor} [{id}].",
        ],
        "offsets": [
            "{factor} offsets {size}, {share} of VaR [{id}].",
            "{factor} hedges {size} ({share} of VaR) [{id}].",
            "{factor} takes off {size}, {share} of VaR [{id}].",
        ],
        "limitation": [
            "{issue}: {detail} [{id}].",
            "Data quality, {issue}: {detail} [{id}].",
        ],
        "sqrt_of_time": ["The {days}-day VaR is scaled by the square root of time [{id}]."],
        "overlapping": ["The {days}-day VaR uses overlapping windows [{id}]."],
        "reduce_exposure": [
            "Cut {limit} by {size} to return below soft [{id}].",
            "Reduce {limit} by an indicative {size} to get below soft [{id}].",
            "An indicative {size} less {limit} returns it below soft [{id}].",
        ],
        "review_approval": [
            "{limit} runs on a temporary increase; renew or reduce before {expires} [{id}].",
            "Review the approved excess of {limit} before {expires} [{id}].",
        ],
        "monitor": [
            "Watch {limit} at {use} of hard [{id}].",
            "Monitor {limit}: {use} of hard is used [{id}].",
        ],
        "confirm_data": ["Confirm the data behind this flag [{id}].", "Have the flagged data confirmed [{id}]."],
        "no_action": ["No action is needed.", "Nothing to do beyond routine monitoring."],
        "level": [
            "Risk is {level}: {limit} uses {use} of hard [{id}].",
            "{limit} at {use} of hard [{id}] is the worst limit; the level is {level}.",
            "The level is {level}, led by {limit} at {use} of hard [{id}].",
        ],
        "level_only": ["Risk is {level}.", "The level is {level}."],
        "var": ["VaR is {size} [{id}]", "VaR stands at {size} [{id}]"],
        "no_var": ["no VaR is available"],
        "loss": ["the worst stress, {scenario}, loses {size} [{id}]", "{scenario} would lose {size} [{id}]"],
        "gain": ["no supplied scenario loses, so the worst case is untested [{id}]"],
        "no_stress": ["no stress result is supplied"],
    },
    "zh": {
        "increases": ["{factor}贡献{size}，占VaR的{share} [{id}]。", "{factor}带来{size}（{share}的VaR）[{id}]。"],
        "offsets": ["{factor}对冲{size}，占VaR的{share} [{id}]。", "{factor}抵减{size}（{share}的VaR）[{id}]。"],
        "limitation": ["{issue}：{detail} [{id}]。", "数据质量，{issue}：{detail} [{id}]。"],
        "sqrt_of_time": ["{days}天VaR按时间平方根换算 [{id}]。"],
        "overlapping": ["{days}天VaR使用重叠窗口 [{id}]。"],
        "reduce_exposure": ["建议减少{limit} {size}，降至软限以下 [{id}]。", "{limit}需减{size}以回到软限内 [{id}]。"],
        "review_approval": ["{limit}使用临时增额，须在{expires}前续批或减仓 [{id}]。"],
        "monitor": ["关注{limit}，限额使用率{use} [{id}]。", "监控{limit}：使用率{use} [{id}]。"],
        "confirm_data": ["确认该数据质量问题 [{id}]。", "请核实被标记的数据 [{id}]。"],
        "no_action": ["无需采取措施。"],
        "level": [
            "风险等级{level}：{limit}限额使用率{use} [{id}]。",
            "{limit}限额使用率{use} [{id}]，风险等级{level}。",
        ],
        "level_only": ["风险等级{level}。"],
        "var": ["VaR为{size} [{id}]"],
        "no_var": ["无VaR"],
        "loss": ["最差压力情景{scenario}亏损{size} [{id}]"],
        "gain": ["所给情景均无亏损，最差情形未经测试 [{id}]"],
        "no_stress": ["无压力测试结果"],
    },
}
LEVEL_WORDS = {
    "en": {one: one for one in ("low", "moderate", "high", "critical")},
    "zh": {"low": "低", "moderate": "中等", "high": "高", "critical": "严重"},
}


class _Writer:
    """Fills wordings for one case; the choice of wording is seeded by the case id, or always the first."""

    def __init__(self, case: Case, varied: bool):
        self.case = case
        self.language = case.language
        self.random = random.Random(case.case_id) if varied else None
        self.by_id = {one.id: one for one in case.evidence}

    def say(self, key: str, **values: str) -> str:
        wordings = WORDINGS[self.language][key]
        wording = self.random.choice(wordings) if self.random else wordings[0]
        text = wording.format(**values)
        return text[0].upper() + text[1:] if self.language == "en" and text.endswith(".") else text

    def size(self, value: float, **options) -> str:
        return amount(abs(value), self.language, **options)

    def driver(self, evidence_id: str) -> Driver:
        one = self.by_id[evidence_id]
        direction = "increases" if one.contribution >= 0 else "offsets"
        statement = self.say(
            direction,
            factor=one.factor,
            size=self.size(one.contribution),
            share=percent(abs(one.share_pct)),
            id=one.id,
        )
        return Driver(driver=one.factor, direction=direction, statement=statement, evidence=[one.id])

    def limitation(self, evidence_id: str) -> str:
        one: DataQuality = self.by_id[evidence_id]
        issue = ISSUES[self.language].get(one.issue, one.issue.replace("_", " "))
        return self.say("limitation", issue=issue, detail=one.detail.rstrip(".。"), id=one.id)

    def assumption(self, evidence_id: str) -> str:
        one: ValueAtRisk = self.by_id[evidence_id]
        return self.say(one.horizon_method, days=str(one.horizon_days), id=one.id)

    def action(self, one: rules.PolicyAction) -> RecommendedAction:
        values = {"id": one.evidence[0] if one.evidence else ""}
        cited = self.by_id.get(values["id"])
        if isinstance(cited, Limit):
            values |= {"limit": limit_name(cited, self.language), "use": utilisation(rules.utilisation_pct(cited))}
            values["size"] = self.size(one.size or 0.0, unit=cited.unit)
            if cited.temporary_increase:
                values["expires"] = cited.temporary_increase.expires.isoformat()
        statement = self.say(one.action, **values)
        return RecommendedAction(action=one.action, priority=one.priority, statement=statement, evidence=one.evidence)

    def summary(self, level: str) -> str:
        zh = self.language == "zh"
        word = LEVEL_WORDS[self.language][level]
        limits = rules.in_order(self.case)
        if limits:
            worst = limits[0]
            opening = self.say(
                "level",
                level=word,
                limit=limit_name(worst, self.language),
                use=utilisation(rules.utilisation_pct(worst)),
                id=worst.id,
            )
        else:
            opening = self.say("level_only", level=word)
        lines = [one for one in self.case.of_kind(ValueAtRisk) if one.measure == "VaR"]
        lines.sort(key=lambda one: one.horizon_days)
        var = self.say("var", size=self.size(lines[0].value), id=lines[0].id) if lines else self.say("no_var")
        scenarios = self.case.of_kind(Stress)
        if scenarios:
            worst = min(scenarios, key=lambda one: self.case.in_base(one.pnl, one.currency))
            key = "loss" if worst.pnl < 0 else "gain"
            stress = self.say(key, scenario=worst.scenario, size=self.size(worst.pnl), id=worst.id)
        else:
            stress = self.say("no_stress")
        return f"{opening}{var}；{stress}。" if zh else f"{opening} {var[0].upper()}{var[1:]}; {stress}."


def gold_report(case: Case, policy: rules.Policy | None = None, *, varied: bool = True) -> Report:
    """The report the policy gives for a case.

    `varied=False` is the policy with one fixed template: the ceiling column of a comparison.
    """
    case = rules.annotate(case)
    found = rules.assess(case, policy)
    writer = _Writer(case, varied)
    breaches = [
        one.model_copy(update={"utilisation_pct": float(utilisation(one.utilisation_pct).rstrip("%"))})
        for one in found.limit_breaches
    ]
    return Report(
        schema_version="1",
        limit_breaches=breaches,
        key_drivers=[writer.driver(one) for one in found.driver_ids],
        limitations=[writer.limitation(one) for one in found.limitation_ids],
        assumptions=[writer.assumption(one) for one in found.assumption_ids],
        assessment_status=found.assessment_status,
        level_basis=found.level_basis,
        risk_level=found.risk_level,
        escalate=found.escalate,
        recommended_actions=[writer.action(one) for one in found.actions],
        summary=writer.summary(found.risk_level),
    )
