"""The fifth storey: tables, Markdown, HTML, plots. It computes no number."""
