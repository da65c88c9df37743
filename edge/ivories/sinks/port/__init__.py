"""A MIDI port that is held by a process of its own, so that no note outlives the application."""
