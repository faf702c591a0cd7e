"""Building the documentation site: pages made from code, pages that lie elsewhere, checks."""
