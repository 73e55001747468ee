"""A whole house in one process, with simulated clock, DNS, network, disk and chance."""
