"""ORE's report files: what they say, and what a limit can take from them; import_ore.py makes the case.

Knows CSV columns and their traps; decides nothing that is the policy's.
"""
