"""What a caller may use, by Cedar policies over the claims of its token and what is known of tools, prompts and resources."""
