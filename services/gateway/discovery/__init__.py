"""The current addresses of a target's name: literal, from Consul, or from DNS."""
