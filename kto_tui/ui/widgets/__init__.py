"""The panes of the dashboard, one a file. Each is given values and opens no file."""
