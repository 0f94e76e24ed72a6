"""The store, statement by statement."""
