"""Shows people what the cameras saw, live and back in time, and whether all is well."""
