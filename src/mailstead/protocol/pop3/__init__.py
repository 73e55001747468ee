"""POP3 (RFC 1939) and its extensions, the server's side."""
