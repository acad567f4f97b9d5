"""Faults injected into real runs, and what has to hold after each of them. docs/faults.md tells how."""
