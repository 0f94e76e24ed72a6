"""Where events are kept: the protocols in `base`, one package per backend; backends do not know each other."""
