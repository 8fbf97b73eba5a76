"""Charts: what each one shows, as tables, and one place that draws them all."""
