"""A piano on an MQTT broker: topics, messages, commands, and a connection that comes back."""
