"""One connection each: read an event, call one service, send the reply."""
