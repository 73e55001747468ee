"""Who sent this? Signatures of messages: pure, given the bytes, the keys and the time."""
