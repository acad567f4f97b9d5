"""The dashboard: reads a run's journal, shows it, and passes on its user's requests. Needs Textual."""
