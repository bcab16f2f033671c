"""Operators for a Kubernetes cluster: README.md says what each does. Their laws know no Kubernetes."""
