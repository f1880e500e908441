"""The schemas of report.json and metadata.json, which producers and readers share."""
