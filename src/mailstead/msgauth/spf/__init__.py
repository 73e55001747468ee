"""SPF: which hosts may send mail that names a domain as its sender (RFC 7208)."""
