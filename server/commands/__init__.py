"""The subcommands of ``landline``."""
