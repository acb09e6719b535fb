"""The rules of session keys, their log and their tokens. Imports nothing else of Keyturn."""
