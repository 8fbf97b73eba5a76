"""Results of a workdir: its index, tables, verdicts, figures and reports.

Imports everything below but the study; nothing imports it but study and launch.
"""
