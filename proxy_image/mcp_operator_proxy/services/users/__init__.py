"""Users: who they are, their sessions, and the servers of which each has an instance of its own."""
