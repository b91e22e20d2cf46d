"""`services.inspector`: the page at `/ui`, and the JSON at `/ui/api` that it reads."""
