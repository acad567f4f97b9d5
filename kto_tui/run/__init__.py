"""A run's life: its journal, its supervisor, and finding it again."""
