"""Spoken telephone English, as speech recognition writes it, to values. Sans-I/O."""
