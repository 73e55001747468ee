"""The nouns of the house, as frozen values, and the windows to the world."""
