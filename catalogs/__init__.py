"""Files to arrays: find, read, refuse. No torch, no network."""
