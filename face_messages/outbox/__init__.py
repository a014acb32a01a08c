"""The outbox: messages on disk until the next keeper confirms them."""
