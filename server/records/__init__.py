"""The record of every call: schema, migrations, one writer, readers."""
