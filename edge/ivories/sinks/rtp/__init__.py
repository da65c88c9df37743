"""RTP-MIDI (RFC 6295) and the sessions that macOS and iOS open for it, from packets up to the network."""
