"""The processes of `inbox run`, their sockets and certificates."""
