"""Scoring and checking of reports: parse, grounding, verify; later fields, aggregate, compare.

Imports the domain (case, report, policy, prompt) only: no torch, no llamafactory, nothing of data or release.
"""
