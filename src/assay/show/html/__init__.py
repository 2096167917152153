"""The report as one HTML file. Nothing here is imported before a report is asked for."""
