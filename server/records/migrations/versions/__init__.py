"""Alembic migrations of the records."""
