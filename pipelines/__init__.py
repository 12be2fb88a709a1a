"""One thin command per stage: load its settings, call its package, write its folder."""
