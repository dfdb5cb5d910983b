"""Reading: deliveries, history, long polls, and moments at which rows are consistent."""
