"""IMAP4rev1, the server's side (RFC 3501 and its extensions)."""
