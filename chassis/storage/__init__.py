"""Where a service keeps its data: the only commit, its inbox and outbox, migrations."""
