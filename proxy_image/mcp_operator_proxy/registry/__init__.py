"""What tools there are, and which of them fit what somebody wants to do. Nothing in here does I/O but the embedders."""
