"""Every integer of the hardware against exact arithmetic."""
