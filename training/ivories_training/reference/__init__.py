"""Plain networks of the kinds that others have published, to train beside Ivories' own."""
