"""Makes the world as the resources want it: one file a kind, each called with a key and nothing else.

A reconciler reads the store, plans with pure functions (`compile`, `desired`, `conditions`), applies what drifted, prunes
what is no longer wanted, and writes the status when it says something new.
"""
