"""Wire protocols as engines: bytes in, events out; replies in, bytes out. They never wait."""
