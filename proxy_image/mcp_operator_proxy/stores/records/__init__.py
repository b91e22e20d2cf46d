"""Durable records in SQLite or PostgreSQL: one set of models, one chain of migrations."""
