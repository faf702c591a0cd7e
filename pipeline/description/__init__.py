"""A trained run in plain words: sizes, costs, what the mask does, how exact it is."""
