"""Reading files that users bring, each format in a module of its own."""
