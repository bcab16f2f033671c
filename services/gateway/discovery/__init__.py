"""Which addresses stand behind the name of a target: given, asked from Consul, or from DNS; and kept true."""
