"""Several processes that are one proxy: their supervision, their places, and one answer for all of them."""
