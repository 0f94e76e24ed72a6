"""One request → one event on disk: the endpoint, the receiver, and what they need."""
