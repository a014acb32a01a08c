"""What every program does around its work: settings, logs, metrics, health, start and end."""
