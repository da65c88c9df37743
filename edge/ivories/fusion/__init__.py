"""From evidence to notes."""
