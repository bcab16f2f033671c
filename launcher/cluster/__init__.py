"""A real Kubernetes on this machine, built from Go modules: no container engine, no image registry. See k8s/cluster/."""
