"""The milter protocol, by which an MTA lets filters of others look at mail, as its MTA."""
