"""Image files and arrays: formats, folders, sheets and sample data."""
