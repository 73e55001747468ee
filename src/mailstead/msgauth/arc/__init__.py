"""ARC: hosts that pass mail on say what they found, each vouching for those before (RFC 8617)."""
