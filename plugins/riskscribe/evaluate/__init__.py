"""Scoring and checking of reports: parse, grounding, verify, score, compare, and the optional judge.

Other people's code calls `riskscribe.evaluate.api` (score, compare, verify, ground; docs/evaluator.md).
Imports the domain (case, report, policy, prompt) only: no torch, no llamafactory, nothing of data or release.
"""
