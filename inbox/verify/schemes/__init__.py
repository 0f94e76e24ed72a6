"""One file per authentication scheme; each turns (request, secrets, time) into Verified or raises NotAuthentic."""
