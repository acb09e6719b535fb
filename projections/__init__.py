"""What is read from the log: the current key, and the history of its changes."""
