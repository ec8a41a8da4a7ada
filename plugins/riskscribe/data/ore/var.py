"""VaR, ES and components from var.csv, checked against historical_PnL.csv.

Quantiles are of signed P&L and the names of the tails differ: the loss tail is told by its sign.
"""

from collections import defaultdict
from datetime import date, timedelta
from itertools import pairwise
from statistics import median

from riskscribe.case import Component, ValueAtRisk
from riskscribe.data import intake
from riskscribe.data.ore.reports import CENT, HISTORY, RELATIVE, VAR, Reports
from riskscribe.data.tables import Row
from riskscribe.errors import InputError


def _levels(row: Row, kind: str) -> dict[float, float]:
    """Signed P&L of the columns `kind_p`, by p."""
    found = {}
    for column in row.cells:
        if column.startswith(kind + "_"):
            try:
                found[round(float(column.removeprefix(kind + "_")), 9)] = row.number(column)
            except ValueError:
                raise InputError(f"{row.where(column)}: the name must end in a probability") from None
    return found


def _loss_tail(row: Row, kind: str, confidence_pct: float) -> float | None:
    """The loss at a confidence as a positive number, told by its sign: names differ between engines and versions.

    A negative result is a gain; None: the file holds only the tail of the gains.
    """
    levels = _levels(row, kind)
    tail = round(1 - confidence_pct / 100, 9)
    both = [levels[one] for one in (tail, round(1 - tail, 9)) if one in levels]
    if not both or (tail not in levels and min(both) >= 0):
        return None
    return -min(both)


def _select(rows: list[Row]) -> dict[str, Row]:
    """The rows by risk class: of portfolio All and risk type All, which DeltaGamma and the like repeat."""
    for column in ("Portfolio", "RiskType"):
        names = sorted({row.text(column) for row in rows})
        wanted = "All" if "All" in names else names[0]
        if wanted != "All" and len(names) > 1:
            raise InputError(f"{rows[0].path}: no {column} 'All' among {', '.join(names[:5])}; write its total")
        rows = [row for row in rows if row.text(column) == wanted]
    return {row.text("RiskClass"): row for row in rows}


_History = dict[str, dict[tuple[date, date], float]]  # risk class -> window -> P&L


def _read_history(reports: Reports) -> _History:
    rows = reports.read(HISTORY, "Portfolio", "RiskClass", "RiskType", "PLDate1", "PLDate2", "PLAmount")
    found: _History = defaultdict(dict)
    if rows:
        kept = {(row.cells["Portfolio"], row.cells["RiskType"]) for row in _select(rows).values()}
        for row in rows:
            if (row.cells["Portfolio"], row.cells["RiskType"]) in kept:
                window = row.day("PLDate1"), row.day("PLDate2")
                found[row.cells["RiskClass"]][window] = row.number("PLAmount")
    return found


def _business_days(start: date, end: date) -> int:
    return sum((start + timedelta(days=one)).weekday() < 5 for one in range((end - start).days))


def read_var(reports: Reports, ids: intake.Ids) -> list[ValueAtRisk | Component]:
    """The VaR line, the ES line and the components; empty where var.csv is absent or has no loss tail."""
    rows = reports.read(VAR, "Portfolio", "RiskClass", "RiskType")
    if not rows:
        return []
    terms, flags = reports.terms.var, reports.flags
    classes = _select(rows)
    if "All" not in classes:
        raise InputError(f"{rows[0].path}: no row with RiskClass 'All'; it is the book's VaR")
    total = classes["All"]
    confidence = terms.confidence_pct
    levels = _levels(total, "Quantile")
    held = sorted({round(100 * max(p, 1 - p), 6) for p in levels})
    if confidence not in held:
        stated = ", ".join(f"{one:g}" for one in held) or "none"
        raise InputError(
            f"{total.where()}: no quantile for {confidence:g} %; set var.confidence_pct in the limits file to one of "
            f"{stated}"
        )
    loss = _loss_tail(total, "Quantile", confidence)
    if loss is None:
        flags.add("partial_coverage", True, [], "no_loss_tail")
        return []
    history = _read_history(reports)
    windows = history.get("All", {})
    days, method = _horizon(reports, list(windows))
    shared = {"currency": reports.terms.base_currency, "confidence_pct": confidence, "horizon_days": days,
              "horizon_method": method, "windows": len(windows) or None,
              "method": "historical simulation" if windows else "as in var.csv"}  # fmt: skip
    line = ValueAtRisk(id=ids("var", "VaR"), value=max(0.0, loss), previous=terms.previous, **shared)
    reports.var = line
    if loss < 0:
        flags.add("untested_loss", True, [line.id], "var_gain", pct=100 - confidence)
    lines: list[ValueAtRisk | Component] = [line]
    es = _shortfall(reports, total, line)
    if es is not None:
        lines.append(ValueAtRisk(id=ids("var", "ES"), measure="ES", value=es, **shared))
    if method == "overlapping":
        flags.add(
            "overlapping_windows", False, [one.id for one in lines], "windows",
            count=len(windows) or "?", days=days,
        )  # fmt: skip
    _check_history(reports, list(windows.values()), line, es)
    _check_classes(reports, classes, line)
    return lines + _components(reports, classes, history, line, ids)


def _horizon(reports: Reports, windows: list[tuple[date, date]]) -> tuple[int, str]:
    """Horizon in business days and how it was reached, by the P&L windows or else by the limits file."""
    terms = reports.terms.var
    if not windows:
        if terms.horizon_days is None:
            raise InputError(
                f"{reports.folder / VAR}: does not say its horizon and there is no {HISTORY}; set var.horizon_days "
                "in the limits file"
            )
        return terms.horizon_days, terms.horizon_method
    days = max(1, round(median(_business_days(*one) for one in windows)))
    overlap = any(after[0] < before[1] for before, after in pairwise(sorted(windows)))
    return days, "overlapping" if overlap else "direct"


def _shortfall(reports: Reports, total: Row, line: ValueAtRisk) -> float | None:
    """ES of the loss tail; the column of the same name as the confidence averages nearly everything."""
    es = _loss_tail(total, "ExpectedShortfall", line.confidence_pct)
    if es is None:
        return None
    if es < line.value - CENT:
        reports.flags.add("contradictory_totals", True, [line.id], "no_es", a=es, b=line.value)
        return None
    by_name = _levels(total, "ExpectedShortfall").get(round(line.confidence_pct / 100, 9))
    if by_name is not None and abs(by_name) < line.value and by_name != -es:
        reports.flags.add(
            "contradictory_totals", False, [line.id], "tail", pct=line.confidence_pct, a=abs(by_name), b=es
        )
    return max(0.0, es)


def _check_history(reports: Reports, pnls: list[float], line: ValueAtRisk, es: float | None) -> None:
    """VaR and ES against the P&L windows they should come from."""
    if not pnls:
        return
    tail = [one for one in pnls if one <= -line.value + CENT]
    expected = len(pnls) * (1 - line.confidence_pct / 100)
    if abs(len(tail) - expected) > 2:
        reports.flags.add(
            "contradictory_totals", True, [line.id], "quantile", a=line.value, count=len(tail), of=len(pnls)
        )
    elif es is not None and abs(-sum(tail) / max(1, len(tail)) - es) > RELATIVE * es:
        reports.flags.add(
            "contradictory_totals", True, [line.id], "es_history", a=es, b=-sum(tail) / max(1, len(tail))
        )


_CLASS_OF = {
    "Fx": "FX", "Commodity": "Commodity", "Equity": "Equity", "Swap": "InterestRate", "CapFloor": "InterestRate",
    "ForwardRateAgreement": "InterestRate", "Credit": "Credit", "IndexCredit": "Credit",
}  # fmt: skip


def _check_classes(reports: Reports, classes: dict[str, Row], line: ValueAtRisk) -> None:
    """An "All" row can leave trades out: a trade whose risk class has no row is not in the VaR."""
    if len(classes) == 1:
        return
    absent: dict[str, list[str]] = defaultdict(list)
    for one in reports.trades.values():
        own = next((name for prefix, name in _CLASS_OF.items() if one.kind.startswith(prefix)), None)
        if own and own not in classes:
            absent[own].append(one.name)
    if absent:
        affects = [line.id, *(name for names in absent.values() for name in names)]
        reports.flags.add("partial_coverage", True, affects, "var_classes", classes=", ".join(sorted(absent)))


def _components(
    reports: Reports, classes: dict[str, Row], history: _History, line: ValueAtRisk, ids: intake.Ids
) -> list[Component]:
    """Contributions of the risk classes, which add up to the VaR.

    From the P&L windows: the mean of each class over the five windows around the quantile, scaled to the VaR. Without
    windows: standalone VaRs, and the diversification between them as a line of its own.
    """
    names = [one for one in classes if one != "All"]
    if not names or line.value <= 0:
        return []
    total = history.get("All", {})
    if total and all(total.keys() <= history.get(one, {}).keys() for one in names):
        order = sorted(total, key=total.__getitem__)
        rank = min(range(len(order)), key=lambda one: abs(total[order[one]] + line.value))
        tail = order[max(0, rank - 2) : rank + 3]
        parts = {one: -sum(history[one][window] for window in tail) / len(tail) for one in names}
        whole = -sum(total[window] for window in tail) / len(tail)
        parts = {one: part * line.value / whole for one, part in parts.items()}
        rest = "other"
    else:
        losses = {one: _loss_tail(classes[one], "Quantile", line.confidence_pct) for one in names}
        parts = {f"{one} standalone": max(0.0, loss or 0.0) for one, loss in losses.items()}
        rest = "diversification"
    residual = line.value - sum(parts.values())
    if abs(residual) > 0.005 * line.value:
        parts[rest] = residual
    else:  # revaluation by class never adds up to the last cent
        parts = {one: part * line.value / (line.value - residual) for one, part in parts.items()}
    return [
        Component(
            id=ids("component", name), factor=name, contribution=round(part, 2), currency=line.currency, of=line.id,
            share_pct=round(100 * part / line.value, 4),
        )
        for name, part in parts.items()
    ]  # fmt: skip
