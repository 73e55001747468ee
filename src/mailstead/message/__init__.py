"""A message at rest: header fields, MIME structure, addresses, dates, composing."""
