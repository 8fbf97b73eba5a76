"""Reports: tidy tables, figures, the summary a run prints."""
