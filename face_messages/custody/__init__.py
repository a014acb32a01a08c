"""Custody: sends from an outbox until receipts come back, takes into safety and gives receipts."""
