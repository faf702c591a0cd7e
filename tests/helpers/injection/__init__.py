"""Making file-system calls of the programs fail, one at a time, and judging what came of it."""
