from tests.consul import _shared_consul, consul, consul_binary

__all__ = ["_shared_consul", "consul", "consul_binary"]
