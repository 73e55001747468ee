"""`mailstead NOUN VERB`: one file per noun."""
