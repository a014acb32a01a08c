"""A page that shows what the camera sees."""
