"""The morning bridge: what changed since yesterday in VaR, worst stress and hot limits, and what would clear it.

Every step is an evidence line (CHG-); what the steps do not explain is shown as the residual, zero or not.
"""

from dataclasses import dataclass

from markupsafe import Markup

from riskscribe import policy as rules
from riskscribe.case import Case, Change, DataQuality, Limit, Stress, ValueAtRisk
from riskscribe.page import charts
from riskscribe.page.words import WORDS
from riskscribe.prompt import amount, limit_name, utilisation
from riskscribe.yesterday import counterparts

FROM_UTILISATION = 75.0  # percent of hard from which a limit has a bridge of its own
STEPS = ("new_trades", "matured", "market", "model_or_data", "residual")


@dataclass(frozen=True)
class Step:
    """A row of a bridge: its name, its size in words, the evidence it rests on; `kind` is total, step or residual."""

    name: str
    size: str
    ids: list[str]
    kind: str


@dataclass(frozen=True)
class Bridge:
    """One measure from yesterday to today, its picture, what moved it most, and what would clear it."""

    name: str
    ids: list[str]
    unit: str
    steps: list[Step]
    picture: Markup
    cut: bool
    moved: str
    clear: list[str]


@dataclass(frozen=True)
class Morning:
    """What the page opens with: the level and the statuses that changed, and the bridges."""

    level: str
    changed: list[str]
    bridges: list[Bridge]
    without: list[str]


def morning(case: Case, official: rules.Assessment, yesterday: Case | None, policy: rules.Policy) -> Morning | None:
    """The morning bridge of an annotated case; None where nothing in it knows a yesterday."""
    words = WORDS[case.language]["bridge"]
    levels = WORDS[case.language]["levels"]
    targets = _targets(case)
    known = [one for one in targets if one.previous is not None]
    if not known and yesterday is None:
        return None
    today = levels[official.risk_level]
    if yesterday is None:
        level = words["level_today"].format(today=today)
    else:
        before = levels[rules.assess(yesterday, policy).risk_level]
        level = words["level_same" if before == today else "level_moved"].format(before=before, today=today)
    return Morning(
        level=level,
        changed=_changed(case, yesterday),
        bridges=[_bridge(case, one) for one in known],
        without=[f"{_name(case, one)} [{one.id}]" for one in targets if one.previous is None],
    )


def _targets(case: Case) -> list[ValueAtRisk | Stress | Limit]:
    """VaR, the worst stress, limits above 75 %, and whatever else has steps; a limit on VaR or stress only once."""
    stepped = {one.of for one in case.of_kind(Change)}
    var = [one for one in case.of_kind(ValueAtRisk) if one.measure == "VaR" and one.window == "recent"][:1]
    worst = rules.worst_stress(case)
    found = [*var, *([worst] if worst else [])]
    shown = {abs(_today(one)) for one in found}
    for one in rules.in_order(case):
        hot = rules.utilisation_pct(one) > FROM_UTILISATION
        same = one.measure in ("var", "stress") and abs(one.value) in shown
        if one.id in stepped or (hot and not same):
            found.append(one)
    rest = [one for one in case.evidence if one.id in stepped and one not in found]
    return [*found, *rest]


def _today(one: ValueAtRisk | Stress | Limit) -> float:
    return one.pnl if isinstance(one, Stress) else one.value


def _name(case: Case, one: ValueAtRisk | Stress | Limit) -> str:
    if isinstance(one, Limit):
        return limit_name(one, case.language)
    if isinstance(one, Stress):
        return f"{WORDS[case.language]['worst_stress']} ({one.scenario})"
    return f"{one.measure} {one.confidence_pct:g}% {one.horizon_days}d"


def _bridge(case: Case, line: ValueAtRisk | Stress | Limit) -> Bridge:
    words = WORDS[case.language]["bridge"]
    unit = line.unit if isinstance(line, Limit) else "money"

    # yesterday and today never read the same where they are not
    middle = (line.previous + _today(line)) / 2

    def told(value: float, *, signed: bool = False) -> str:
        text = amount(value, case.language, *(() if signed else (middle,)), unit=unit)
        return f"+{text}" if signed and value > 0 else text

    own = sorted((one for one in case.of_kind(Change) if one.of == line.id), key=lambda one: STEPS.index(one.step))
    steps = [Step(words["yesterday"], told(line.previous), [line.id], "total")]
    levels, at = [charts.Level(0.0, line.previous, True)], line.previous
    sizes: dict[str, float] = {}
    for step in STEPS[:-1]:
        lines = [one for one in own if one.step == step]
        if not lines:
            continue
        size = sum(one.value for one in lines)
        sizes[words["steps"][step]] = size
        steps.append(Step(words["steps"][step], told(size, signed=True), [one.id for one in lines], "step"))
        levels.append(charts.Level(at, at + size, False))
        at += size
    # what the engine itself calls residual, and whatever its steps leave over
    given = [one for one in own if one.step == "residual"]
    left = _today(line) - at
    left = 0.0 if abs(left) < 0.005 else left
    name = words["steps"]["residual"] if own else words["no_steps"]
    steps.append(Step(name, told(left, signed=True), [one.id for one in given], "residual"))
    levels += [charts.Level(at, at + left, False), charts.Level(0.0, _today(line), True)]
    steps.append(Step(words["today"], told(_today(line)), [line.id], "total"))
    if left:
        sizes[name] = left
    label = words["picture"].format(name=_name(case, line), before=steps[0].size, today=steps[-1].size)
    picture, cut = charts.waterfall(levels, label)
    limits = _limits_on(case, line)
    currency = line.currency if unit != "percent" else "%"
    return Bridge(
        name=_name(case, line),
        ids=list(dict.fromkeys([line.id, *(one.id for one in limits)])),
        unit=currency,
        steps=steps,
        picture=picture,
        cut=cut,
        moved=_moved(words, told, _today(line) - line.previous, sizes),
        clear=[_clears(case, one) for one in limits] or [words["no_limit"]],
    )


def _moved(words: dict, told, total: float, sizes: dict[str, float]) -> str:
    """One sentence: how much in all, and which step moved it most."""
    if not any(sizes.values()):
        return words["unmoved"]
    name = max(sizes, key=lambda one: abs(sizes[one]))
    return words["moved"].format(total=told(total, signed=True), step=name, size=told(sizes[name], signed=True))


def _limits_on(case: Case, line: ValueAtRisk | Stress | Limit) -> list[Limit]:
    """The limits that a line uses: itself, or the limits on VaR or stress that carry its value."""
    if isinstance(line, Limit):
        return [line]
    measure = "var" if isinstance(line, ValueAtRisk) else "stress"
    return [one for one in rules.in_order(case) if one.measure == measure and abs(one.value) == abs(_today(line))]


def _clears(case: Case, limit: Limit) -> str:
    """What would bring a limit back below soft, as the policy sees it."""
    words = WORDS[case.language]["bridge"]
    status = rules.limit_status(case, limit)
    use = f"{limit_name(limit, case.language)} [{limit.id}] {utilisation(rules.utilisation_pct(limit))}"

    def told(value: float) -> str:
        return amount(value, case.language, unit=limit.unit)

    soft = told(limit.soft)
    if status == "within":
        return words["room"].format(use=use, room=told(limit.soft - rules.exposure(limit)), soft=soft)
    text = words["clears"].format(use=use, size=told(rules.reduction_to_soft(limit)), soft=soft)
    if status == "breach_within_approved_excess":
        extra = limit.temporary_increase
        text += words["approved"].format(size=told(extra.amount), until=extra.expires)
    if status == "unconfirmed":
        flags = [one.id for one in case.of_kind(DataQuality) if one.material and limit.id in one.affects]
        text += words["confirm"].format(flags=" ".join(f"[{one}]" for one in flags))
    if status == "breach" and (pushed := rules.pushed_over_soft(case, limit)):
        text += words["pushes"].format(limits=" ".join(f"[{one}]" for one in pushed))
    return text


def was(limit: Limit, yesterday: Limit | None) -> tuple[float, float] | None:
    """Yesterday's value of a limit and its use in percent of yesterday's hard limit (of today's where unknown)."""
    if limit.previous is None:
        return None
    then = yesterday or limit
    return limit.previous, rules.utilisation_pct(then.model_copy(update={"value": limit.previous}))


def _changed(case: Case, yesterday: Case | None) -> list[str]:
    """Limits whose status is another one than yesterday, in words; only where yesterday's case is given."""
    if yesterday is None:
        return []
    statuses, before = WORDS[case.language]["statuses"], counterparts(case, yesterday)
    words, found = WORDS[case.language]["bridge"], []
    for limit in rules.in_order(case):
        then = before.get(limit.id)
        if not isinstance(then, Limit):
            continue
        was_status, status = rules.limit_status(yesterday, then), rules.limit_status(case, limit)
        if was_status != status:
            name = f"{limit_name(limit, case.language)} [{limit.id}]"
            found.append(words["status"].format(name=name, before=statuses[was_status], today=statuses[status]))
    return found
