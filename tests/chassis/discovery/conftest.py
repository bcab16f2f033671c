from tests.consul import consul, consul_binary

__all__ = ["consul", "consul_binary"]
