"""What is printed without a dashboard: the metrics table, the list of runs and the plan."""
