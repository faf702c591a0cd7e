"""Files and directories that survive crashes and refuse two writers."""
