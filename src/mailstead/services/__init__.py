"""What the house does. The only place where rooms meet."""
