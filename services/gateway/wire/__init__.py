"""HTTP/1.1 over sockets, towards clients and towards upstreams: bytes, framing, deadlines, and nothing of what a request is for."""
