"""Where cases come from: generated books priced by QuantLib, a house's own files, ORE output; splits and packing.

May use the domain only; imports neither torch nor llamafactory.
"""
