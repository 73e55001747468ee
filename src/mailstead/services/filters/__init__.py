"""Other programs that are asked about mail: milters, Rspamd, clamd, HTTP hooks."""
