"""From a sweep's configuration to named runs, and which of them are to be submitted."""
