"""The toy of symmetric embeddings: which places of a sinusoid are its peaks?"""
