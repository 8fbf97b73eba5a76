"""The programs that users run: a study, its report; progress and printing."""
