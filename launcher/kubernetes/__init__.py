"""Souk in a Kubernetes cluster: what the chart in k8s/chart/ takes from the code, its Secrets, and images made without an engine."""
