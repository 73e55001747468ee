"""DKIM: a domain answers for a message with a signature over its header and body (RFC 6376)."""
