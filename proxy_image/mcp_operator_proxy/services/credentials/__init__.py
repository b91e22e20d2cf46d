"""What users and the proxy itself show to backends: kept encrypted, renewed in time, obtained where it is missing."""
