"""The commands from front to back: the only room that imports all others."""
