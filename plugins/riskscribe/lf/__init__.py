"""The only folder that imports llamafactory: what makes plain `llamafactory-cli` know risk reports.

`attach` is called by the post-import hook (plugins/riskscribe_hook.py) with each llamafactory module it extends.
Nothing outside may import from here at module level.
"""
