"""What every room stands on: settings, logs, problems, deadlines, clock, health, failpoints."""
