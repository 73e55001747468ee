"""A server that takes everything."""

import ssl

from mailstead.protocol.smtp.server import ServerOptions
from mailstead.testing.cast.remote import Remote, Script


def sink(tls: ssl.SSLContext | None = None, options: ServerOptions | None = None) -> Remote:
    """Takes everything; with `tls`, offers STARTTLS; with other options, limits of its own."""
    return Remote(Script(tls=tls, options=options or ServerOptions("sink.example")))
