"""What the agent says and does: deterministic control of the call, words by the language model only where needed."""
