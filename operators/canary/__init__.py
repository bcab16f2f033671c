"""Canary: whether a new release may take over from the stable one."""
