"""Keyturn on the web. Each module stands by itself, and imports its framework."""
