"""Kills, pauses and cuts every part of the path while faces flow, and then counts the pictures in the bucket."""
