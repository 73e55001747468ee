"""IMAP4rev1 sessions: one file for each group of commands."""
