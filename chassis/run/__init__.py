"""A service and its processes: web, worker, Celery; its dead letters; a system of services for tests."""
