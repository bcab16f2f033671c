"""The lowest room: settings, telemetry, problems, deadlines, clock, health, failpoints."""
