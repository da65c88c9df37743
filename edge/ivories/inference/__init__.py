"""Running the int8 networks: manifest, runtimes, and the two model stages."""
