"""Artefacts that leave a run: the embedded base checkpoint, merged models, what serves them.

May use torch and transformers; reaches llamafactory only through `riskscribe.lf` or its command line.
"""
