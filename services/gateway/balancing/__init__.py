"""Choice of an upstream's target, and targets' health."""
