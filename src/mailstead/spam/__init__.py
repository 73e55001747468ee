"""Is this message spam? Pure: tokens and counts in, a judgement with its reasons out."""
