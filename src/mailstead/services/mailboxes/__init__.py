"""Mailboxes and the messages in them, for every protocol that reads mail."""
