"""The two actors, their messages, and how to ask them."""
