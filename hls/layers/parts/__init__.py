"""What several layers share: memories, products, start values, windows."""
