"""Events → handlers."""
