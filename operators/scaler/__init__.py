"""ConsumerScaler: as many consumers of a queue as its messages need."""
