"""Sessions of the handshake eras: their ids, the table of those held here, and the way to those held elsewhere."""
