"""The agents of a session: what a child inherits."""
