"""Mail that goes out: the queue, the way to the next server, what came of it."""
