"""Status as pure functions of what was observed: first gather, then decide.

Each kind has a chain of checks; every check gives a condition with a reason of `reasons.Reason` and a message that says
what to do. `Ready` sums them up: its reason is that of the first condition that does not hold.
"""
