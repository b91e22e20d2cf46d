"""Between the two protocol eras: the handshake revisions up to 2025-11-25 ("legacy"), and 2026-07-28 ("modern")."""
