"""YAML files, found beside Orbit's own."""
