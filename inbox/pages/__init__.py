"""The pages under `/inbox/`: server-rendered, for the owner, off until an admin password is set."""
