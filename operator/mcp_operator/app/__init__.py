"""The operator as a process: `run` puts the parts together, `endpoints` and `metrics` show how it is."""
