"""Ivories turns any piano into a MIDI instrument with a camera and a microphone."""
