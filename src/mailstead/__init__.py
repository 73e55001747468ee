"""Mailstead, a complete mail server.

The rooms, from the ground up: model, message, protocol, storage and net, services, sessions,
server, testing, cli. docs/architecture.md has the picture; a room imports only rooms below it.
"""

__version__ = "0.1.0"
