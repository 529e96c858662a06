"""Documents in, passages with citations out: loaders, chunker, Chroma index, retriever, its evaluation.

Imports nothing else of the product; embeddings are handed in.
"""
