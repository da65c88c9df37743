"""The take recorder: the last minutes of sound, notes and pictures in memory, saved when asked to."""
