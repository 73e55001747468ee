"""Configuration, wiring, listeners, certificates, logs: a house put together and running."""
