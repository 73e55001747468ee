"""Remote mail systems for the simulated world: each serves a Stream, and remembers what came."""
