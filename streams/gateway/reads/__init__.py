"""Reading: deliveries, history, long polls, row counts, and rows at an exact position."""
