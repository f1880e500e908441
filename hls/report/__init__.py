"""What a compilation found, as JSON and as Markdown."""
