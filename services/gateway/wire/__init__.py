"""HTTP/1.1 over sockets, to clients and to upstreams: bytes, framing and deadlines."""
