"""The real sides of the windows to the world: sockets, TLS, DNS, time."""
