"""The pages under `/inbox/`: server-rendered, for the owner, off until a password is set."""
