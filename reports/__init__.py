"""Arrays to files that people look at: figures, pages, exports. No torch."""
