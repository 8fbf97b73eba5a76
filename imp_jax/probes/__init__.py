"""What is looked at around tickets, each probe whole in its file."""
