"""Dataflow hardware: layers, emitters, co-simulation, synthesis and reports."""
