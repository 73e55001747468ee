"""A message at rest: header fields, MIME structure, addresses, dates, and the making of messages."""
