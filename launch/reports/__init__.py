"""Tables and reports of many runs."""
