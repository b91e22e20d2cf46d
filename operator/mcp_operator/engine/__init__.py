"""A level-triggered controller core: store, work queue, workers, resync, leadership, periodic jobs.

It knows no resource kind, no API client and no watch library: observations come in as plain dicts, API access as small
protocols. Everything runs in one event loop and nothing here is thread-safe. What flows where:

    watch / resync ─▶ Store.observe ─▶ Change ─▶ (the caller maps it to keys) ─▶ WorkQueue ─▶ run_workers ─▶ reconcile(key)
"""
