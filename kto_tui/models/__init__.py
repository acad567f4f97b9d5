"""Base models before they are loaded: folder, hub or package, and whether they are whole. Free of torch."""
