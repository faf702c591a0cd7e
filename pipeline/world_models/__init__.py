"""World models: the symmetric embedding network of each domain, its encoder and transition."""
