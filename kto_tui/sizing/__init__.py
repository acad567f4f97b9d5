"""How much memory a run takes, reckoned from the model's config before anything is loaded. Free of torch."""
