"""Where values come from, how Keyturn speaks, and how a log is opened."""
