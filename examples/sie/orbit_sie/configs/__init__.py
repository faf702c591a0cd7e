"""YAML files that choose the method and its runs."""
