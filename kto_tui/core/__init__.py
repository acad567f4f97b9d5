"""What every part of the program agrees on: settings, events, commands and the run directory."""
