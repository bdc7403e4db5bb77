"""Random faults of a run: what is finished stays, what is left is computed, the result is the same.

``python -m tests.faults --count 300`` makes them and writes a table; ``make faults`` calls it.
"""
