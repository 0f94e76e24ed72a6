"""Nouns, settings and log: no I/O beyond reading files, no clock."""
