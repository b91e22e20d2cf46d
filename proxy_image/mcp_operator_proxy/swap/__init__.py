"""From files to a configuration in use: watch, read in one consistent look, validate whole, hand over."""
