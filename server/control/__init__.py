"""The control process: health, readiness and metrics over HTTP, the knowledge base, the records."""
