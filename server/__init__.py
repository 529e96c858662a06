"""The product and the only composer: configuration, turn taking, dialogue, tools, records, HTTP, commands."""
