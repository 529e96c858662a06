"""How soon to answer: recorded turns replayed under many settings, and the curve of latency against early cut-offs."""
