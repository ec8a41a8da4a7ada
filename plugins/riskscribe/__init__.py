"""RiskScribe: derivatives risk reports by fine-tuned open models, every number with its evidence.

The domain lives beside this file (case, report, policy, prompt, manifest) and imports neither torch nor llamafactory.
"""
