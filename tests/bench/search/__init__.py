"""How well tools are found, how fast, and how many tokens that saves: `python -m bench.search` (`make bench-search`)."""
