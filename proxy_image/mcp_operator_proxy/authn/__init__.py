"""Who calls, by tokens of issuers: their verification, the issuers' keys, and what a caller is told that has none."""
