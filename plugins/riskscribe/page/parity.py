"""The parity page: what was tested beside what is served, every check with its limit, in English and in Chinese."""

import math
from pathlib import Path
from typing import Any

from markupsafe import Markup

from riskscribe.case import Language
from riskscribe.files import write_text
from riskscribe.page.render import html_page

_ROWS: dict[str, tuple[str, str]] = {
    "adapter": ("Base + adapter", "基础模型 + 适配器"),
    "nf4_adapter": ("NF4 base + adapter", "NF4 基础模型 + 适配器"),
    "merged": ("Merged", "合并模型"),
    "served": ("Served (HF engine)", "服务端（HF 引擎）"),
    "awq_autoawq": ("AWQ by AutoAWQ", "AWQ（AutoAWQ）"),
    "awq_llmcompressor": ("AWQ by llm-compressor", "AWQ（llm-compressor）"),
}
_CHECKS: dict[str, tuple[str, str]] = {
    "sound": ("files, architecture, template", "文件、架构与对话模板"),
    "prompts": ("same prompt tokens", "提示词 token 一致"),
    "helps": ("the adapter helps its base", "适配器对基础模型有帮助"),
    "kl": ("same distributions", "概率分布一致"),
    "answers": ("same greedy answers", "贪心解码答案一致"),
    "perplexity": ("perplexity of the gold answers", "标准答案困惑度"),
    "no_worse": ("rubric no worse", "评分指标不变差"),
}
_METRICS: dict[str, tuple[str, str]] = {
    "total": ("weighted total", "加权总分"),
    "schema_valid": ("schema valid", "格式有效"),
    "level_accuracy": ("level right", "风险等级正确"),
    "fatal_error_free": ("free of fatal errors", "无致命错误"),
    "grounded": ("numbers in the evidence", "数字有依据"),
    "breach_f1": ("breach F1", "超限 F1"),
}
_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "lang": "en", "title": "Parity: what is served is what was tested", "passed": "Passed", "failed": "Rejected",
        "passed_text": "Every gated row is within its limits.",
        "failed_text": "At least one artefact differs from what was tested; it is marked rejected and is not served.",
        "rows": "Rows",
        "row": "row",
        "verdict": "verdict",
        "reported": "reported, not gated",
        "perplexity": "perplexity",
        "ratio": "times the adapter's", "kl": "mean KL, nats", "kl_first": "first token", "answers": "equal answers",
        "diverges": "else from token (median)", "size": "weights", "load": "load", "memory": "peak memory",
        "speed": "tokens/s",
        "rubric": "rubric, % of the sample",
        "checks": "Checks",
        "check": "check",
        "found": "found",
        "sample": "Sample and limits", "cases": "cases", "other": "中文", "other_file": "zh",
        "weights_only": "weights only: de-quantized by the quantizer's own code, multiplied dense. Its tokens/s says "
        "nothing about INT4 kernels; on a CPU there are none to measure here.",
        "bars": "Perplexity against the adapter's, and size of the weights", "limit": "limit", "with": "with",
        "score_note": "KL and perplexity: gold answers, token by token, weights as stored, computed in float32. Base "
        "and adapter are scored apart (not merged); its answers are those of LLaMA-Factory's own loader in the stated "
        "type.",
        "log": "Log of the run",
        "colon": ": ",
        "seed_data": "data",
        "scored": "scored token by token",
        "served_n": "served",
        "why_same": "from messages of the measuring program, in English",
    },
    "zh": {
        "lang": "zh-CN", "title": "一致性检验：上线的就是测试过的", "passed": "通过", "failed": "拒绝",
        "passed_text": "所有受检项均在限值之内。",
        "failed_text": "至少有一个产物与测试过的模型不一致；已标记为拒绝，不予提供服务。",
        "rows": "各行", "row": "行", "verdict": "结论", "reported": "仅报告，不设门槛", "perplexity": "困惑度",
        "ratio": "相对适配器倍数", "kl": "平均 KL（nats）", "kl_first": "首个 token", "answers": "相同答案数",
        "diverges": "否则自第几个 token（中位数）", "size": "权重大小", "load": "加载", "memory": "峰值内存",
        "speed": "token/秒", "rubric": "评分指标，占样本 %", "checks": "检查项", "check": "检查", "found": "结果",
        "sample": "样本与限值", "cases": "个案例", "other": "English", "other_file": "en",
        "weights_only": "仅权重：由量化工具自身的代码反量化后按稠密矩阵计算。"
        "其速度不代表 INT4 算子，本机 CPU 无法测量。",
        "bars": "相对适配器的困惑度，以及权重大小", "limit": "限值", "with": "对照",
        "score_note": "KL 与困惑度：对标准答案逐 token 计算，权重按存储类型，以 float32 计算。"
        "基础模型与适配器分开计算（未合并）；"
        "其答案由 LLaMA-Factory 自身的加载器按声明的类型生成。",
        "log": "运行日志", "colon": "：", "seed_data": "数据", "scored": "逐 token 评分", "served_n": "经服务端",
        "why_same": "为测量程序的原始英文信息",
    },
}  # fmt: skip


def write_parity(out: Path, found: dict[str, Any]) -> list[Path]:
    """Write the pages beside the JSON file `out`: the same name with .html and .zh.html. `found`: a gate's result."""
    paths = [out.with_suffix(".html"), out.with_suffix(".zh.html")]
    for path, language in zip(paths, ("en", "zh"), strict=True):
        view = View(found, language)
        values = {"v": view, "f": found, "w": view.words, "name": out.stem}
        write_text(path, html_page("parity.html.j2", **values))
    return paths


class View:
    """A gate's result in the words of one language."""

    def __init__(self, found: dict[str, Any], language: Language):
        self.found, self.place = found, ("en", "zh").index(language)
        self.words = _WORDS[language]

    def row(self, name: str) -> str:
        return _ROWS[name][self.place] if name in _ROWS else name

    def check(self, name: str) -> str:
        kind, _, metric = name.partition(":")
        text = _CHECKS[kind][self.place] if kind in _CHECKS else kind
        return f"{text}{self.words['colon']}{self.metric(metric)}" if metric else text

    def metric(self, key: str) -> str:
        return _METRICS[key][self.place] if key in _METRICS else key

    def verdict(self, row: dict[str, Any]) -> str:
        if not row["gated"]:
            return self.words["reported"]
        return self.words["passed" if row["passed"] else "failed"]

    @staticmethod
    def number(value: float | None, digits: int = 3) -> str:
        if value is None:
            return "–"
        if not math.isfinite(value):
            return "∞"
        return f"{value:.2e}" if value and abs(value) < 10**-digits else f"{value:,.{digits}f}"

    @staticmethod
    def megabytes(value: int | None) -> str:
        return "–" if value is None else f"{value / 1e6:,.0f} MB"

    def unit(self, value: float | None, unit: str, digits: int = 1) -> str:
        return "–" if value is None else f"{self.number(value, digits)} {unit}"

    def rubric(self, row: dict[str, Any]) -> list[str]:
        return [
            f"{language}{self.words['colon']}"
            + ", ".join(f"{self.metric(key)} {self.percent(value)}" for key, value in block.items())
            for language, block in row["rubric"].items()
        ]

    @staticmethod
    def percent(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.0f}"

    def bars(self) -> Markup:
        """Two bars a row: perplexity ratio with the limit of quantized rows, and size of the weights."""
        rows = [one for one in self.found["rows"] if one["perplexity_ratio"] is not None]
        if not rows:
            return Markup("")
        limit = self.found["limits"]["awq_perplexity_ratio"]
        # a ruined model's bar ends in an arrow instead of flattening the others
        top = max(1.6, *(min(one["perplexity_ratio"], 3.0) for one in rows))
        sizes = [one["weights_bytes"] or 0 for one in rows]
        step, label, wide = 44, 190, 420
        parts = []
        for i, (one, size) in enumerate(zip(rows, sizes, strict=True)):
            y, ratio = 8 + i * step, one["perplexity_ratio"]
            length = wide * min(ratio, top) / top
            parts.append(
                Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
                    label - 10, y + 16, self.row(one["row"])
                )
            )
            css = "bad" if one["passed"] is False else "ratio"
            parts.append(
                Markup('<rect class="{}" x="{}" y="{}" width="{:.1f}" height="14"/>').format(css, label, y, length)
            )
            text = f"{self.number(ratio)}{' →' if ratio > top else ''}"
            parts.append(Markup('<text x="{:.1f}" y="{}">{}</text>').format(label + length + 6, y + 12, text))
            if size:
                length = wide * size / max(sizes)
                parts.append(
                    Markup('<rect class="size" x="{}" y="{}" width="{:.1f}" height="8"/>').format(
                        label, y + 18, length
                    )
                )
                parts.append(
                    Markup('<text class="small" x="{:.1f}" y="{}">{}</text>').format(
                        label + length + 6, y + 26, self.megabytes(size)
                    )
                )
        height = 8 + step * len(rows)
        x = label + wide * limit / top
        parts.append(Markup('<line x1="{0:.1f}" x2="{0:.1f}" y1="2" y2="{1}"/>').format(x, height))
        parts.append(
            Markup('<text class="small" x="{:.1f}" y="{}">{} {}</text>').format(
                x + 4, height + 12, self.words["limit"], f"{limit:g}"
            )
        )
        return Markup('<svg class="bars" viewBox="0 0 760 {}" role="img" aria-label="{}">{}</svg>').format(
            height + 18, self.words["bars"], Markup("").join(parts)
        )
