"""Objects on a grid: embeddings are maps of objects, latents their positions (and headings)."""
