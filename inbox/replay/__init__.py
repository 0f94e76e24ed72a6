"""Old events again: replays, actions and the release of held requests."""
