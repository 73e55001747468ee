"""DMARC: whether the author's domain stands behind a message, and what it asks for (RFC 9989)."""
