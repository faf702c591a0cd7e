"""Bad files for every reader, the programs that meet them, and what came of it."""
