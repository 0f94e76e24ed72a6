"""Alarms for owners without Prometheus: numbers → readings → starts and ends → messages.

`conditions` and `silence` (pure) say what is bad, `hysteresis` (pure) what that changes, `watchman` does it every
minute, and `ways` tells people. What was told, and what is still to be told, is in the store.
"""
