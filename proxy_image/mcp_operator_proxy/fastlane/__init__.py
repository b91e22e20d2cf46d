"""The fast lane: the hot methods as bytes, from the client's connection to the backend's and back, without a task.

Whatever it does not fully understand it leaves to the full path, untouched.
"""
