"""The promise, put to the test on the owner's own disk: real processes, signed traffic, kill -9, and a strict reading.

`run.torture` does all of it; `invariants.check` reads what is left and names what was broken, also for other tests.
"""
