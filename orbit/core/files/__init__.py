"""Writing files that survive crashes, and locks that refuse a second writer."""
