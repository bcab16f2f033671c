"""The HTTP edge of a service: endpoints, schemas, errors, the OpenAPI document."""
