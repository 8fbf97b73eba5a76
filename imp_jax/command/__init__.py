"""The programs that users run: a study, its report; progress and printing.

It may import the study and what lies below.
"""
