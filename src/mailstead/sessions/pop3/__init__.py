"""One connection of a POP3 client: the dialogue, the log-in, the messages."""
