"""Mail that comes in on port 25: one Visit a connection."""
