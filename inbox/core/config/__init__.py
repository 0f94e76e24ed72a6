"""The settings of `inbox.toml`, and the files that they name."""
