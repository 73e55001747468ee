"""What is kept: one interface, one door (read, write, apply). Only this room speaks SQL."""
