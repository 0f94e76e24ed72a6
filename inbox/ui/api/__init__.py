"""The JSON endpoints for programs."""
