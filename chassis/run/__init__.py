"""A service and its processes; dead letters; several services in one process for tests."""
